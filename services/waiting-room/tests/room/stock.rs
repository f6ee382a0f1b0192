//! How the stock and checkout affect those who wait.

use flashsale_errors::Reason;
use flashsale_proto::waitingroom::Outlook;
use flashsale_testbed::{assert_failure, eventually};
use fred::interfaces::{ClientLike as _, HashesInterface as _};

use crate::{
    inventory::{Checkout, Inventory},
    world::{Watched, World},
};

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

/// A world with a paused room in which an answer counts for 300 ms.
async fn impatient() -> World {
    let world = World::new(&[("UNKNOWN_MS", "300")]).await;
    world.configure(1_000.0, 60).await;
    world.set_paused().await;
    world
}

/// Waits until the head of the open room holds for want of an answer, and checks that a buyer is
/// told to wait, and not for how long.
async fn holds(world: &World, buyer: &str, hold: &str) -> Watched {
    eventually("the head holds", || async {
        let now: Option<String> = world.redis().hget(world.key("room"), "hold").await.unwrap();
        (now.as_deref() == Some(hold)).then_some(())
    })
    .await;
    let joined = world.join(buyer).await;
    let mut watched = world.watch(&joined.token).await;
    let (head, mut position) = (world.room().await.head, watched.next().await.unwrap());
    // The watcher may have read the room between two ticks.
    while position.expected_wait.is_some() {
        position = watched.next().await.unwrap();
    }
    for position in [position, world.position(&joined.token).await] {
        assert_eq!((position.outlook(), position.expected_wait), (Outlook::Waiting, None));
    }
    world.let_time_pass(300).await;
    assert_eq!(world.room().await.head, head);
    watched
}

#[tokio::test]
async fn head_holds_once_inventory_is_silent() {
    let world = impatient().await;
    world.set_open().await;
    let anna = world.join("anna").await;
    world.watch(&anna.token).await.ends_with(Outlook::Admitted).await;
    world.inventory.fail();
    let watched = holds(&world, "bert", "INVENTORY").await;
    world.inventory.set(10, 0, 0, 0);
    watched.ends_with(Outlook::Admitted).await;
}

#[tokio::test]
async fn head_holds_once_checkout_is_silent() {
    let world = impatient().await;
    world.set_open().await;
    let anna = world.join("anna").await;
    world.watch(&anna.token).await.ends_with(Outlook::Admitted).await;
    world.checkout.fail();
    let watched = holds(&world, "bert", "CHECKOUT").await;
    world.checkout.set(true);
    watched.ends_with(Outlook::Admitted).await;
}

#[tokio::test]
async fn head_waits_for_the_first_answer() {
    let world = World::new(&[]).await;
    world.inventory.fail();
    world.configure(1_000.0, 60).await;
    world.set_open().await;
    let watched = holds(&world, "anna", "INVENTORY").await;
    world.inventory.set(10, 0, 0, 0);
    watched.ends_with(Outlook::Admitted).await;
}

#[tokio::test]
async fn taken_units_are_told_until_inventory_is_silent_too_long() {
    let world = impatient().await;
    world.inventory.set(0, 10, 0, 0);
    let joined = world.join("anna").await;
    let mut watched = world.watch(&joined.token).await;
    world.set_open().await;
    watched.until(Outlook::SoldOutForNow).await;
    world.inventory.fail();
    let position = watched.until(Outlook::Waiting).await;
    assert_eq!((position.ahead, position.expected_wait), (0, None));
    assert_eq!(world.room().await.head, 0);
}

#[tokio::test]
async fn room_without_stock_needs_neither_inventory_nor_checkout() {
    let world = World::new(&[]).await;
    world.inventory.fail();
    world.checkout.fail();
    assert!(world.configure_watching(20.0, None).await.watches_stock);
    assert!(!world.configure_watching(20.0, Some(false)).await.watches_stock);
    // Unset keeps what it was.
    assert!(!world.configure_watching(1_000.0, None).await.watches_stock);
    assert!(!world.set_open().await.watches_stock);
    let joined = world.join("anna").await;
    world.watch(&joined.token).await.ends_with(Outlook::Admitted).await;

    // It is kept where Redis is lost, and repaired where an older version has copied the room.
    world.set_paused().await;
    let () = world.redis().flushall(false).await.unwrap();
    assert!(!world.room().await.watches_stock);
    let _: i64 = world.redis().hdel(world.key("room"), "watches").await.unwrap();
    eventually("the setting is back", || async {
        (!world.room().await.watches_stock).then_some(())
    })
    .await;
    let watching = world.configure_watching(1_000.0, Some(true)).await;
    assert!(watching.watches_stock);
    world.set_open().await;
    holds(&world, "bert", "INVENTORY").await;
}

#[tokio::test]
async fn instance_cut_off_from_inventory_burns_no_budget() {
    const RATE: f64 = 100.0;
    let world = World::paused(RATE).await;
    let (inventory, checkout) = (Inventory::default(), Checkout::default());
    inventory.set(0, 10, 0, 0);
    let (_two, _fakes) = world.instance_beside(&inventory, &checkout).await;
    eventually("the other instance has said that all is taken", || async {
        let stock: Option<String> = world.redis().hget(world.key("room"), "stock").await.unwrap();
        (stock.as_deref() == Some("TAKEN")).then_some(())
    })
    .await;
    inventory.fail();
    for buyer in 0..500 {
        world.join(&format!("buyer {buyer}")).await;
    }
    let opened_ms = world.now_ms().await;
    world.set_open().await;
    world.let_time_pass(2_000).await;
    let due = (world.now_ms().await - opened_ms) / 10;
    let head = world.room().await.head;
    assert!(head >= due * 3 / 4, "{head} of {due} were admitted");
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
