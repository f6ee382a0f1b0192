//! Sweeping expired holds.

use flashsale_inventory::domain::HoldState;
use flashsale_testbed::eventually;

use crate::world::{SaleSpec, place, release, reserve, world};

#[tokio::test]
async fn sweep_ends_only_expired_holds() {
    let world = world().await;
    let spec = SaleSpec { hold_ms: 150, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 9, 4, 1)]).await;
    let abandoned = world.ask(&reserve(sale, "ada", &[("a", 4)])).await.unwrap().hold;
    let placed = world.ask(&reserve(sale, "bob", &[("a", 2)])).await.unwrap().hold;
    world.ask(&place(sale, "bob", placed.hold_id)).await.unwrap();
    world.change_sale(sale, "hold_ms = 600000").await;
    let held = world.ask(&reserve(sale, "cem", &[("a", 1)])).await.unwrap().hold;
    eventually("the abandoned hold is swept", async || {
        (world.inventory.sweep(sale, 1, 10).await.unwrap().ended == 1).then_some(())
    })
    .await;
    assert_eq!(world.inventory.sweep(sale, 1, 10).await.unwrap().ended, 0);
    assert_eq!(world.books(sale, "a").await, [6, 1, 2, 0]);
    assert_eq!(world.hold(sale, abandoned.hold_id).await.state, HoldState::Expired);
    assert_eq!(world.hold(sale, held.hold_id).await.state, HoldState::Held);
    // The buyer's limit counts them no longer.
    world.ask(&reserve(sale, "ada", &[("a", 4)])).await.unwrap();
}

#[tokio::test]
async fn concurrent_sweep_and_release_return_units_once() {
    let world = world().await;
    let spec = SaleSpec { hold_ms: 30, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 1_000, 0, 1), ("b", 1_000, 0, 1)]).await;
    let mut holds = Vec::new();
    for number in 0..100 {
        let buyer = format!("buyer-{number}");
        let hold = world.ask(&reserve(sale, &buyer, &[("a", 2), ("b", 1)])).await.unwrap().hold;
        holds.push((buyer, hold.hold_id));
    }
    let releases = async {
        for (buyer, hold_id) in &holds {
            world.ask(&release(sale, buyer, *hold_id)).await.unwrap();
        }
    };
    let sweeps = || async {
        for _ in 0..100 {
            world.inventory.sweep(sale, 1, 3).await.unwrap();
        }
    };
    tokio::join!(releases, sweeps(), sweeps());
    assert_eq!(world.books(sale, "a").await, [1_000, 0, 0, 0]);
    assert_eq!(world.books(sale, "b").await, [1_000, 0, 0, 0]);
    assert!(world.hash(sale, 7).await.values().all(|units| units == "0"));
}

#[tokio::test]
async fn ended_sale_needs_no_sweep() {
    let world = world().await;
    let spec = SaleSpec { hold_ms: 30, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 9, 0, 1)]).await;
    assert!(!world.inventory.sweep(sale, 1, 10).await.unwrap().over);
    world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap();
    world.change_sale(sale, "state = 'ENDED'").await;
    let ended = std::cell::Cell::new(0);
    eventually("the sweep is over", async || {
        let swept = world.inventory.sweep(sale, 1, 10).await.unwrap();
        ended.set(ended.get() + swept.ended);
        assert_eq!(swept.over, ended.get() == 1);
        swept.over.then_some(())
    })
    .await;
}
