//! How placed holds end.

use flashsale_inventory::domain::{HoldState, Outcome, Settled};
use uuid::Uuid;

use crate::world::{SaleSpec, place_lines, release, reserve, world};

#[tokio::test]
async fn settling_answers_every_case() {
    use Outcome::{Claimed, Released, Sold};
    use Settled::{Already, Conflict, Done, Unknown};
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 99, 0, 700)]).await;
    // Each outcome in turn on one placed hold, with the result of each.
    let stories: &[&[(Outcome, Settled)]] = &[
        &[
            (Claimed, Done),
            (Claimed, Already),
            (Sold, Done),
            (Sold, Already),
            (Released, Conflict),
            (Claimed, Already),
        ],
        &[
            (Claimed, Done),
            (Released, Done),
            (Released, Already),
            (Sold, Conflict),
            (Claimed, Already),
        ],
        &[(Sold, Done), (Claimed, Already), (Sold, Already)],
        &[(Released, Done), (Claimed, Already), (Released, Already)],
    ];
    for story in stories {
        let before = world.books(sale, "a").await;
        let hold = world.ask(&place_lines(sale, "ada", &[("a", 2)])).await.unwrap().hold;
        for (outcome, expected) in *story {
            let dump = world.dump().await;
            let results = world.inventory.settle(sale, &[(hold.hold_id, *outcome)]).await.unwrap();
            assert_eq!(results, [*expected], "{outcome:?} in {story:?}");
            assert_eq!(world.dump().await == dump, *expected != Done, "{outcome:?} in {story:?}");
        }
        let sold = story.contains(&(Sold, Done));
        let state = if sold { HoldState::Sold } else { HoldState::Released };
        let end = world.hold(sale, hold.hold_id).await;
        assert_eq!((end.state, end.details.as_str()), (state, ""));
        let moved = if sold { 2 } else { 0 };
        let after = [before[0] - moved, before[1], before[2], before[3] + moved];
        assert_eq!(world.books(sale, "a").await, after);
    }
    assert!(
        world
            .inventory
            .list_placed(sale, i64::MAX / 1_000_000, 10)
            .await
            .unwrap()
            .placed
            .is_empty()
    );

    // A hold without an order, and an unknown one.
    let held = world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap().hold;
    let released = world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap().hold;
    world.ask(&release(sale, "ada", released.hold_id)).await.unwrap();
    for outcome in [Claimed, Sold, Released] {
        let asked =
            [(held.hold_id, outcome), (Uuid::new_v4(), outcome), (released.hold_id, outcome)];
        let results = world.inventory.settle(sale, &asked).await.unwrap();
        assert_eq!(results, [Conflict, Unknown, Conflict]);
    }
    assert_eq!(world.hold(sale, held.hold_id).await.state, HoldState::Held);
}

#[tokio::test]
async fn claimed_hold_drops_only_details() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 9, 0, 700)]).await;
    let hold = world.ask(&place_lines(sale, "ada", &[("a", 2)])).await.unwrap().hold;
    world.inventory.settle(sale, &[(hold.hold_id, Outcome::Claimed)]).await.unwrap();
    let claimed = world.hold(sale, hold.hold_id).await;
    assert_eq!((claimed.state, claimed.details.as_str()), (HoldState::Placed, ""));
    assert_eq!(claimed.order_id, hold.order_id);
    assert_eq!(world.books(sale, "a").await, [7, 0, 2, 0]);
}

#[tokio::test]
async fn settlements_keep_request_order() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 500, 0, 700)]).await;
    let mut asked = Vec::new();
    let mut expected = Vec::new();
    for number in 0..230 {
        if number % 3 == 0 {
            asked.push((Uuid::new_v4(), Outcome::Sold));
            expected.push(Settled::Unknown);
        } else {
            let hold = world.ask(&place_lines(sale, "ada", &[("a", 1)])).await.unwrap().hold;
            asked.push((hold.hold_id, Outcome::Sold));
            expected.push(Settled::Done);
        }
    }
    assert_eq!(world.inventory.settle(sale, &asked).await.unwrap(), expected);
    let done = expected.iter().filter(|result| **result == Settled::Done).count() as i64;
    assert_eq!(world.books(sale, "a").await, [500 - done, 0, 0, done]);
}

#[tokio::test]
async fn unpaid_units_can_be_bought_again() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 2, 2, 700)]).await;
    let hold = world.ask(&place_lines(sale, "ada", &[("a", 2)])).await.unwrap().hold;
    assert!(world.ask(&place_lines(sale, "ada", &[("a", 2)])).await.is_err());
    world.inventory.settle(sale, &[(hold.hold_id, Outcome::Released)]).await.unwrap();
    world.ask(&place_lines(sale, "ada", &[("a", 2)])).await.unwrap();
}
