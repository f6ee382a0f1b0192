//! How the stock and checkout affect those who wait.

use flashsale_errors::Reason;
use flashsale_proto::waitingroom::Outlook;
use flashsale_testbed::{assert_failure, eventually};

use crate::world::World;

#[tokio::test]
async fn head_waits_while_all_units_are_taken() {
    let world = World::new(&[]).await;
    world.inventory.set(0, 6, 4, 0);
    world.configure(1_000.0, 60).await;
    world.set_paused().await;
    let joined = world.join("anna").await;
    let mut watched = world.watch(&joined.token).await;
    world.set_open().await;
    let position = watched.until(Outlook::SoldOutForNow).await;
    assert_eq!((position.ahead, position.expected_wait), (0, None));
    assert_eq!(world.room().await.head, 0);
    assert_eq!(world.try_join("bert").await.unwrap().position.unwrap().ahead, 1);

    world.inventory.set(1, 5, 4, 0);
    watched.ends_with(Outlook::Admitted).await;
}

#[tokio::test]
async fn sold_out_notifies_watchers_and_refuses_joins() {
    let world = World::paused(1_000.0).await;
    let (anna, bert) = (world.join("anna").await, world.join("bert").await);
    let watched = world.watch(&anna.token).await;
    world.inventory.set(0, 0, 0, 10);
    watched.ends_with(Outlook::SoldOut).await;
    world.set_open().await;
    assert_eq!(world.position(&bert.token).await.outlook(), Outlook::SoldOut);
    // A buyer with a place keeps it.
    assert_eq!(world.join("bert").await.token, bert.token);
    let refused = world.try_join("carla").await.unwrap_err();
    assert_failure(&refused, Reason::SaleNotOpen);
    let room = world.room().await;
    assert_eq!((room.issued, room.head), (2, 0));
}

#[tokio::test]
async fn head_moves_without_inventory() {
    let world = World::new(&[]).await;
    world.inventory.set(0, 1, 0, 0);
    world.configure(100.0, 60).await;
    world.set_paused().await;
    let joined = world.join("anna").await;
    let mut watched = world.watch(&joined.token).await;
    world.set_open().await;
    watched.until(Outlook::SoldOutForNow).await;
    world.inventory.fail();
    watched.ends_with(Outlook::Admitted).await;
}

#[tokio::test]
async fn head_stops_while_checkout_refuses_orders() {
    let world = World::paused(1_000.0).await;
    let joined = world.join("anna").await;
    let watched = world.watch(&joined.token).await;
    world.checkout.set(false);
    let calls = async |times: u64| {
        let before = world.checkout.calls();
        let more = async || (world.checkout.calls() > before + times).then_some(());
        eventually("checkout is asked again", more).await;
    };
    calls(1).await;
    world.set_open().await;
    // Far longer than a tick.
    calls(30).await;
    assert_eq!(world.room().await.head, 0);
    world.checkout.set(true);
    watched.ends_with(Outlook::Admitted).await;
}
