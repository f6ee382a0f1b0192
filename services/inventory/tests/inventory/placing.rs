//! Holds that carry an order.

use flashsale_inventory::domain::{HoldId, HoldState, Refusal};
use flashsale_testbed::eventually;

use crate::world::{DETAILS, SaleSpec, extend, none, place, place_lines, release, reserve, world};

#[tokio::test]
async fn placed_hold_carries_order() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 5, 0, 700)]).await;
    let hold = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold;
    let request = place(sale, "ada", hold.hold_id);
    let placed = world.ask(&request).await.unwrap();
    assert!(!placed.replayed);
    let placed = placed.hold;
    assert_eq!((placed.state, placed.hold_id), (HoldState::Placed, hold.hold_id));
    assert_eq!(placed.order_id, Some(request.key()));
    assert_eq!(placed.details, DETAILS);
    assert_eq!(placed.request_id, Some(request.request_id.to_string()));
    assert_eq!(placed.request_hash, Some(request.hash()));
    assert!(placed.placed_ms.is_some());
    assert_eq!(world.books(sale, "a").await, [3, 0, 2, 0]);
    let by_order = world.inventory.hold(sale, HoldId::Order(request.key()), Some("ada")).await;
    assert_eq!(by_order.unwrap(), placed);
    let foreign = world.inventory.hold(sale, HoldId::Order(request.key()), Some("eve")).await;
    assert_eq!(foreign, Err(Refusal::HoldUnknown));
    let again = world.ask(&request).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.hold, placed);
}

#[tokio::test]
async fn lines_are_placed_in_one_step() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 5, 0, 700)]).await;
    let request = place_lines(sale, "ada", &[("a", 2)]);
    let placed = world.ask(&request).await.unwrap().hold;
    assert_eq!((placed.hold_id, placed.order_id), (request.key(), Some(request.key())));
    assert_eq!(placed.details, DETAILS);
    assert_eq!(world.books(sale, "a").await, [3, 0, 2, 0]);
    assert_eq!(world.inventory.sweep(sale, 1, 10).await.unwrap().ended, 0);
    assert!(world.ask(&request).await.unwrap().replayed);
    assert_eq!(world.books(sale, "a").await, [3, 0, 2, 0]);
}

#[tokio::test]
async fn held_units_can_be_placed_after_window() {
    let world = world().await;
    for set in ["state = 'PAUSED'", "state = 'ENDED'", "ends_at = starts_at + interval '1 ms'"] {
        let sale = world.sale(SaleSpec::default(), &[("a", 5, 0, 700)]).await;
        let hold = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold;
        world.change_sale(sale, set).await;
        let refusal = world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap_err();
        assert!(matches!(refusal, Refusal::NotOpen { .. }), "{refusal:?}");
        let placed = world.ask(&place(sale, "ada", hold.hold_id)).await.unwrap().hold;
        assert_eq!(placed.state, HoldState::Placed);
    }
}

#[tokio::test]
async fn hold_is_placed_by_one_order() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 5, 0, 700)]).await;
    let hold = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold;
    world.ask(&place(sale, "ada", hold.hold_id)).await.unwrap();
    let resolved = Refusal::HoldResolved { state: HoldState::Placed };
    for request in [
        place(sale, "ada", hold.hold_id),
        extend(sale, "ada", hold.hold_id),
        release(sale, "ada", hold.hold_id),
    ] {
        world.refused(&request, &none(), resolved.clone()).await;
    }
}

#[tokio::test]
async fn ended_hold_cannot_be_placed() {
    let world = world().await;
    let spec = SaleSpec { hold_ms: 50, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 5, 0, 700)]).await;
    let hold = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold;
    world.change_sale(sale, "hold_ms = 600000").await;
    let other = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold;
    world.ask(&release(sale, "ada", other.hold_id)).await.unwrap();
    let resolved = Refusal::HoldResolved { state: HoldState::Released };
    world.refused(&place(sale, "ada", other.hold_id), &none(), resolved.clone()).await;
    world.refused(&extend(sale, "ada", other.hold_id), &none(), resolved).await;
    eventually("the hold is swept", async || {
        (world.inventory.sweep(sale, 1, 10).await.unwrap().ended == 1).then_some(())
    })
    .await;
    let expired = Refusal::HoldExpired { deadline_ms: hold.deadline_ms };
    world.refused(&place(sale, "ada", hold.hold_id), &none(), expired.clone()).await;
    world.refused(&extend(sale, "ada", hold.hold_id), &none(), expired).await;
    assert_eq!(world.books(sale, "a").await, [5, 0, 0, 0]);
}

#[tokio::test]
async fn unrecorded_placed_holds_are_listed() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 99, 0, 700)]).await;
    let mut placed = Vec::new();
    for buyer in ["ada", "bob", "cem"] {
        placed.push(world.ask(&place_lines(sale, buyer, &[("a", 2)])).await.unwrap().hold);
        // So that the next one is placed in another millisecond.
        let at = placed[placed.len() - 1].placed_ms.unwrap();
        eventually("a millisecond passes", async || {
            let view = world.inventory.read(sale, &["a".to_owned()]).await.unwrap();
            (view.read_ms > at).then_some(())
        })
        .await;
    }
    let listed = world.inventory.list_placed(sale, i64::MAX / 1_000_000, 10).await.unwrap();
    assert_eq!(listed.placed, placed);
    let listed = world.inventory.list_placed(sale, i64::MAX / 1_000_000, 2).await.unwrap();
    assert_eq!(listed.placed, placed[..2]);
    let before_ms = placed[1].placed_ms.unwrap();
    let listed = world.inventory.list_placed(sale, before_ms, 10).await.unwrap();
    assert_eq!(listed.placed, placed[..1]);
}
