//! What the stock means for those who wait.

use flashsale_errors::Reason;
use flashsale_proto::waitingroom::Outlook;
use flashsale_testing::{assert_failure, eventually};

use crate::world::World;

#[tokio::test]
async fn while_everything_is_taken_the_head_waits_and_goes_on_when_something_comes_back() {
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
async fn when_everything_is_sold_everyone_is_told_and_nobody_joins() {
    let world = World::paused(1_000.0).await;
    let (anna, bert) = (world.join("anna").await, world.join("bert").await);
    let watched = world.watch(&anna.token).await;
    world.inventory.set(0, 0, 0, 10);
    watched.ends_with(Outlook::SoldOut).await;
    world.set_open().await;
    assert_eq!(world.position(&bert.token).await.outlook(), Outlook::SoldOut);
    // Whoever has a place keeps it.
    assert_eq!(world.join("bert").await.token, bert.token);
    let refused = world.try_join("carla").await.unwrap_err();
    assert_failure(&refused, Reason::SaleNotOpen);
    let room = world.room().await;
    assert_eq!((room.issued, room.head), (2, 0));
}

#[tokio::test]
async fn an_inventory_that_does_not_answer_does_not_stop_the_head() {
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
async fn while_checkout_lets_no_orders_in_the_head_stands_still() {
    let world = World::paused(1_000.0).await;
    let joined = world.join("anna").await;
    let watched = world.watch(&joined.token).await;
    world.checkout.set(false);
    let asked = async |times: u64| {
        let before = world.checkout.asked();
        let more = async || (world.checkout.asked() > before + times).then_some(());
        eventually("checkout is asked again", more).await;
    };
    asked(1).await;
    world.set_open().await;
    // Far longer than a tick.
    asked(30).await;
    assert_eq!(world.room().await.head, 0);
    world.checkout.set(true);
    watched.ends_with(Outlook::Admitted).await;
}
