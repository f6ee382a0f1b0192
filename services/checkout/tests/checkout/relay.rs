//! Placed orders roll forward, whatever happened between the stock store and the queue.

use flashsale_checkout::Config;
use flashsale_proto::checkout::OrderState;
use flashsale_queue::{ORDERS, QueueMessage};
use flashsale_testbed::eventually;
use futures::future::join_all;

use crate::{
    forward::{Target, forward},
    world::{World, tee, world},
};

/// Polls often, and publishes again what has waited for a second.
fn relaying(config: &mut Config) {
    config.relay.poll_ms = 20;
    config.relay.republish_after_ms = 1_000;
}

async fn order_ids(world: &World) -> Vec<String> {
    let queued = world.queued().await.into_iter();
    queued.map(|message| message.order().unwrap().order_id.to_string()).collect()
}

async fn queued(world: &World, count: usize) {
    eventually("the placed orders are in the queue", async || {
        (world.queued().await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn unpublished_order_is_published() {
    let world = world(relaying).await;
    let sale = world.sale(10).await;
    let hold = world.place_only(sale, "ada").await;
    // It reads as an order already.
    let order = world.get(sale, &hold.order_id).await.unwrap();
    assert_eq!(order.state(), OrderState::Accepted);
    queued(&world, 1).await;
    let QueueMessage::Place { order: message } = world.queued().await.remove(0) else {
        panic!("a cancellation")
    };
    assert_eq!(message, world.placed_message(&order).await);
    assert_eq!(message.hold_id.to_string(), hold.hold_id);
    assert_eq!((message.details.email.as_str(), message.lines.len()), ("ada@example.org", 1));
    assert_eq!((message.total_minor, message.epoch), (1_999, 1));
    // Carried until it is recorded.
    assert_eq!(world.carried(sale).await, [hold.order_id]);
}

#[tokio::test]
async fn queued_order_is_not_queued_again() {
    let world = world(relaying).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    // The unpublished order comes after the queued one: once it is there, the other has been
    // published again.
    let hold = world.place_only(sale, "bob").await;
    queued(&world, 2).await;
    assert_eq!(order_ids(&world).await, [order.order_id, hold.order_id]);
}

#[tokio::test]
async fn unacked_publish_takes_effect_once() {
    let world = world(|config| config.nats.publish_timeout_ms = 300).await;
    let sale = world.sale(10).await;
    // Placed while the queue hangs: the message is on its way, and its ack does not come in time.
    world.nats.server.pause();
    let ask = tee(sale, "ada");
    let pending = world.place(&ask).await.unwrap();
    world.nats.server.resume();
    assert_eq!(pending.state(), OrderState::AcceptancePending);
    assert_eq!(world.books(sale).await, [9, 0, 1, 0]);
    let order = eventually("the queue answers", async || {
        Some(world.place(&ask).await.unwrap()).filter(|order| order.state() == OrderState::Accepted)
    })
    .await;
    assert_eq!(order.order_id, pending.order_id);
    queued(&world, 1).await;
    assert_eq!(world.books(sale).await, [9, 0, 1, 0]);
}

#[tokio::test]
async fn order_is_queued_after_queue_outage() {
    let mut world = world(|config| {
        relaying(config);
        config.nats.publish_timeout_ms = 300;
    })
    .await;
    let sale = world.sale(10).await;
    let first = world.order(&tee(sale, "ada")).await;
    world.nats.server.kill().await;
    let second = world.place(&tee(sale, "bob")).await.unwrap();
    assert_eq!(second.state(), OrderState::AcceptancePending);
    let third = world.place_only(sale, "cem").await;
    world.nats.server.restart().await.unwrap();
    eventually("all three are in the queue", async || {
        let stream = world.jetstream.get_stream(ORDERS).await.ok()?;
        (stream.cached_info().state.messages >= 3).then_some(())
    })
    .await;
    let mut queued = order_ids(&world).await;
    queued.sort_unstable();
    let mut placed = [first.order_id, second.order_id, third.order_id];
    placed.sort_unstable();
    assert_eq!(queued, placed);
}

#[tokio::test]
async fn lost_messages_are_published_again() {
    let world = world(relaying).await;
    let sale = world.sale(10).await;
    let lost = world.order(&tee(sale, "ada")).await;
    let safe = world.recorded(&tee(sale, "bob"), "CLAIMED").await;
    world.jetstream.delete_stream(ORDERS).await.unwrap();
    eventually("the stream is made again and has the order", async || {
        let stream = world.jetstream.get_stream(ORDERS).await.ok()?;
        (stream.cached_info().state.messages == 1).then_some(())
    })
    .await;
    assert_eq!(order_ids(&world).await, [lost.order_id]);
    assert_eq!(world.get(sale, &safe.order_id).await.unwrap().state(), OrderState::Claimed);
}

#[tokio::test]
async fn recorded_order_is_dropped_from_hold() {
    let world = world(|config| config.relay.poll_ms = 20).await;
    let sale = world.sale(10).await;
    let recorded = world.recorded(&tee(sale, "ada"), "CLAIMED").await;
    let waiting = world.order(&tee(sale, "bob")).await;
    let young = world.place_only(sale, "cem").await;
    eventually("the recorded order is let go of", async || {
        let carried = world.carried(sale).await;
        (!carried.contains(&recorded.order_id)).then_some(())
    })
    .await;
    assert_eq!(world.carried(sale).await, [waiting.order_id, young.order_id]);
    assert_eq!(world.books(sale).await, [7, 0, 3, 0]);
    // The relay has passed, and left alone what may still be on its way.
    assert_eq!(world.queued().await.len(), 2);
}

#[tokio::test]
async fn orders_beyond_one_page_are_relayed() {
    let world = world(|config| {
        relaying(config);
        config.relay.batch = 2;
    })
    .await;
    let sale = world.sale(10).await;
    for buyer in ["ada", "bob", "cem", "dan", "eve"] {
        world.recorded(&tee(sale, buyer), "CLAIMED").await;
    }
    let hold = world.place_only(sale, "fay").await;
    queued(&world, 6).await;
    assert_eq!(world.carried(sale).await, [hold.order_id]);
}

#[tokio::test]
async fn orders_of_ended_sale_roll_forward() {
    let world = world(relaying).await;
    let sale = world.sale(10).await;
    world.place_only(sale, "ada").await;
    sqlx::query("UPDATE sales SET state = 'ENDED', updated_at = now() WHERE sale_id = $1")
        .bind(sale)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    queued(&world, 1).await;
}

/// Makes the message of an order a dead letter, as the claims do.
async fn dead_letter(world: &World, order_id: &str, seq: i64) {
    sqlx::query(
        "INSERT INTO dead_letters (stream, stream_created, seq, payload, reason, order_id)
         VALUES ($1, now(), $2, '', 'unreadable', $3)",
    )
    .bind(ORDERS)
    .bind(seq)
    .bind(order_id.parse::<uuid::Uuid>().unwrap())
    .execute(&world.pg.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn dead_letters_are_skipped_and_hide_nothing() {
    let world = world(|config| {
        relaying(config);
        config.relay.batch = 2;
    })
    .await;
    let sale = world.sale(10).await;
    let mut dead = Vec::new();
    for (seq, buyer) in ["ada", "bob", "cem", "dan", "eve"].into_iter().enumerate() {
        let hold = world.place_only(sale, buyer).await;
        dead_letter(&world, &hold.order_id, i64::try_from(seq).unwrap()).await;
        dead.push(hold.order_id);
    }
    let live = world.place_only(sale, "fay").await;
    queued(&world, 1).await;
    assert_eq!(order_ids(&world).await, std::slice::from_ref(&live.order_id));
    // An operator finds all of them where they were. One that was given up without a row was placed
    // nevertheless. Orders of one millisecond are in no defined order.
    let mut carried = world.carried(sale).await;
    let mut placed = [&dead[..], std::slice::from_ref(&live.order_id)].concat();
    carried.sort_unstable();
    placed.sort_unstable();
    assert_eq!(carried, placed);
    sqlx::query(
        "UPDATE dead_letters SET resolved_at = now(), resolution = 'DROPPED' WHERE order_id = $1",
    )
    .bind(dead[0].parse::<uuid::Uuid>().unwrap())
    .execute(&world.pg.pool)
    .await
    .unwrap();
    queued(&world, 2).await;
    assert_eq!(order_ids(&world).await, [live.order_id, dead[0].clone()]);
}

#[tokio::test]
async fn dead_letter_is_published_again_on_retry() {
    let world = world(relaying).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let message = world.placed_message(&order).await;
    world.record(&message, "DEAD_LETTER").await;
    dead_letter(&world, &order.order_id, 1).await;
    // An unpublished order: once it is there, the other would have been published too.
    let hold = world.place_only(sale, "bob").await;
    queued(&world, 2).await;
    assert_eq!(world.carried(sale).await, [order.order_id.clone(), hold.order_id.clone()]);

    sqlx::query("UPDATE dead_letters SET retry_at = now()").execute(&world.pg.pool).await.unwrap();
    // The queue remembers the first message by its id, and accepts one more.
    queued(&world, 3).await;
    let first = order.order_id.clone();
    assert_eq!(order_ids(&world).await, [first.clone(), hold.order_id, first]);
    let again = world.queued().await.remove(2);
    assert_eq!(again, QueueMessage::Place { order: message });
    assert_eq!(world.books(sale).await, [8, 0, 2, 0]);
}

#[tokio::test]
async fn second_hold_of_order_is_released() {
    let world = world(|config| config.relay.poll_ms = 20).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let mut message = world.placed_message(&order).await;
    message.hold_id = uuid::Uuid::new_v4();
    world.record(&message, "CLAIMED").await;
    eventually("its units are back", async || {
        (world.books(sale).await == [10, 0, 0, 0]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn stuck_sales_delay_no_others() {
    let target = Target::default();
    let between = forward(&target).await;
    let world = world(|config| {
        relaying(config);
        config.peers.inventory.url.clone_from(&between.grpc_url);
        config.peers.inventory.timeout_ms = 600_000;
    })
    .await;
    let (closed, open) = (world.sale(10).await, world.sale(10).await);
    // Each takes as long as a call may: in sequence that is a minute.
    let hanging = join_all((0..6).map(|_| world.sale(10))).await;
    target.set((world.inventory.channel().await, hanging.clone())).unwrap();
    for sale in hanging.into_iter().chain([closed]) {
        world.place_only(sale, "ada").await;
    }
    world.spoil(closed, "meta", "run_id", Some("another")).await;
    // In sequence, so that the relay has met the hanging ones before.
    for placed in 1..=3 {
        world.place_only(open, &format!("buyer-{placed}")).await;
        queued(&world, placed).await;
    }
    let sales = world.queued().await.into_iter();
    assert!(sales.map(|message| message.order().unwrap().sale_id).all(|sale| sale == open));
}
