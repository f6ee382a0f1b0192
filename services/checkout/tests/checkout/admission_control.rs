//! Admission control: orders beyond what the claims keep up with are refused before any stock is
//! taken.

use std::time::Duration;

use flashsale_checkout::Config;
use flashsale_errors::{Failure, Reason};
use flashsale_proto::checkout::OrderState;
use flashsale_queue::{ORDERS, QueueMessage, bytes_for_orders, publish_order};
use flashsale_testbed::eventually;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::world::{World, cancel, failure, tee, world};

const BOUND: u64 = 5;

fn bounded(config: &mut Config) {
    config.intake.max_backlog = BOUND;
    config.intake.measure_ms = 20;
}

/// Places orders until one is refused, and returns the refusal.
async fn fill(world: &World, sale: Uuid) -> Failure {
    let mut buyer = 0;
    loop {
        buyer += 1;
        match failure(world.place(&tee(sale, &format!("buyer-{buyer}"))).await) {
            Ok(order) => assert_eq!(order.state(), OrderState::Accepted),
            Err(failure) => return failure,
        }
    }
}

/// Records the position of the claims as they do: Postgres keeps microseconds.
pub(crate) async fn claimed_up_to(world: &World, seq: u64) {
    let stream = world.jetstream.get_stream(ORDERS).await.unwrap();
    let created = stream.cached_info().created;
    let micros = created.replace_nanosecond(created.nanosecond() / 1_000 * 1_000).unwrap();
    record_position(world, micros, seq).await;
}

async fn record_position(world: &World, created: OffsetDateTime, seq: u64) {
    sqlx::query(
        "INSERT INTO queue_positions (stream, stream_created, seq) VALUES ($1, $2, $3)
         ON CONFLICT (stream) DO UPDATE SET stream_created = $2, seq = $3",
    )
    .bind(ORDERS)
    .bind(created)
    .bind(i64::try_from(seq).unwrap())
    .execute(&world.pg.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn excess_orders_are_refused_without_trace() {
    let world = world(bounded).await;
    let sale = world.sale(100_000).await;
    let refused = fill(&world, sale).await;
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert_eq!(refused.reason().code(), tonic::Code::ResourceExhausted);
    let delay = refused.delay().expect("a delay");
    assert!((Duration::from_millis(500)..=Duration::from_secs(45)).contains(&delay), "{delay:?}");
    assert_eq!(refused.metadata()["max_backlog"], BOUND.to_string());
    assert!(refused.metadata()["backlog"].parse::<u64>().unwrap() >= BOUND);

    let before = world.snapshot().await;
    let late = tee(sale, "late");
    for _ in 0..3 {
        let refused = failure(world.place(&late).await).unwrap_err();
        assert_eq!(refused.reason(), Reason::QueueFull);
    }
    assert_eq!(world.snapshot().await, before);
    // Reserving units and reading orders still work.
    let ask = crate::world::begin(sale, "late", &[("tee", 1)], "");
    world.checkout.clone().begin_checkout(ask).await.unwrap();

    // Once the claims have caught up, the same request is accepted.
    claimed_up_to(&world, before.last_order()).await;
    let order =
        eventually("orders are accepted again", async || world.place(&late).await.ok()).await;
    assert_eq!(order.state(), OrderState::Accepted);
}

#[tokio::test]
async fn claims_of_another_stream_do_not_count() {
    let world = world(bounded).await;
    let sale = world.sale(100_000).await;
    record_position(&world, OffsetDateTime::UNIX_EPOCH, 1_000_000).await;
    let refused = fill(&world, sale).await;
    assert_eq!(refused.reason(), Reason::QueueFull);
}

#[tokio::test]
async fn full_stream_leaves_order_pending_and_refuses_next() {
    let world = world(|config| {
        config.nats.orders_max_bytes = 1_048_576;
        // Never measured again, so that only the refusal itself can close it.
        config.intake.measure_ms = 600_000;
        config.relay.poll_ms = 20;
        config.relay.republish_after_ms = 1_000;
    })
    .await;
    let sale = world.sale(10).await;
    for size in [60_000, 5_000, 200, 1] {
        let filler = "x".repeat(size);
        loop {
            let ack =
                world.jetstream.publish("orders.filler", filler.clone().into()).await.unwrap();
            if ack.await.is_err() {
                break;
            }
        }
    }
    let order = world.place(&tee(sale, "ada")).await.unwrap();
    assert_eq!(order.state(), OrderState::AcceptancePending);
    assert_eq!(world.books(sale).await, [9, 0, 1, 0]);
    let before = world.snapshot().await;
    let refused = failure(world.place(&tee(sale, "bob")).await).unwrap_err();
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert!(refused.delay().is_some());
    assert_eq!(world.snapshot().await, before);
    // The placed order is queued as soon as there is room.
    world.jetstream.get_stream(ORDERS).await.unwrap().purge().await.unwrap();
    eventually("the placed order is queued", async || {
        (world.queued().await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(world.queued().await[0].order().unwrap().order_id.to_string(), order.order_id);
}

/// Sets a new bound of the queue and fills it, past checkout, with orders that no buyer placed,
/// until it has `bytes`.
async fn fill_past(world: &World, max_bytes: i64, bytes: u64) {
    let mut config = world.jetstream.get_stream(ORDERS).await.unwrap().cached_info().config.clone();
    config.max_bytes = max_bytes;
    world.jetstream.update_stream(config).await.unwrap();
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "filler")).await;
    let mut order = world.placed_message(&order).await;
    order.details.contact_name = "x".repeat(20_000);
    let mut stream = world.jetstream.get_stream(ORDERS).await.unwrap();
    while stream.info().await.unwrap().state.bytes < bytes {
        order.order_id = Uuid::new_v4();
        let message = QueueMessage::Place { order: order.clone() };
        publish_order(&world.jetstream, &message, Duration::from_secs(5)).await.unwrap();
    }
}

const SMALL: i64 = 1_048_576;

#[tokio::test]
async fn full_queue_takes_markers_and_cancellations() {
    let world = world(|config| config.intake.measure_ms = 20).await;
    fill_past(&world, SMALL, 800_000).await;
    let sale = world.sale(100_000).await;
    let first = world.order(&tee(sale, "first")).await;
    let bound = bytes_for_orders(SMALL);
    // A refusal counts orders twice that were stored during a measurement: the next measurement
    // lets some more in.
    let (refused, stored) = eventually("orders fill their part of the queue", async || {
        let refused = fill(&world, sale).await;
        let stored = world.jetstream.get_stream(ORDERS).await.unwrap().cached_info().state.bytes;
        (stored >= bound - 70_000).then_some((refused, stored))
    })
    .await;
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert_eq!(refused.metadata()["max_queue_bytes"], bound.to_string());
    assert!(stored <= bound, "{stored}");
    // The first refusal counted publishes under way, some of which may not have been stored.
    let (late, books, refused) = eventually("orders stay refused", async || {
        let books = world.books(sale).await;
        let late = tee(sale, &Uuid::new_v4().to_string());
        let refused = failure(world.place(&late).await).err()?;
        Some((late, books, refused))
    })
    .await;
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert_eq!(world.books(sale).await, books);

    let marker = QueueMessage::Fence { sale_id: sale, epoch: 2 };
    publish_order(&world.jetstream, &marker, Duration::from_secs(5)).await.unwrap();
    assert!(world.cancel(&cancel(&first)).await.unwrap().cancel_requested);
    let [.., fence, cancellation] = &world.queued().await[..] else { panic!("nothing is queued") };
    assert_eq!(*fence, marker);
    assert!(matches!(cancellation, QueueMessage::Cancel { target, .. }
        if target.order_id().to_string() == first.order_id));
    world.jetstream.get_stream(ORDERS).await.unwrap().purge().await.unwrap();
    eventually("orders are accepted again", async || world.place(&late).await.ok()).await;
}

#[tokio::test]
async fn relay_keeps_to_room_for_orders() {
    let world = world(|config| {
        // The admission control does not measure.
        config.intake.measure_ms = 600_000;
        config.relay.poll_ms = 20;
        config.relay.republish_after_ms = 1_000;
    })
    .await;
    let (sale, other) = (world.sale(10).await, world.sale(100_000).await);
    fill_past(&world, SMALL, bytes_for_orders(SMALL)).await;
    let hold = world.place_only(sale, "ada").await;
    // The relay has measured by the time it reaches an order, which the admission control sees too.
    let refused = eventually("orders are refused", async || {
        failure(world.place(&tee(other, &Uuid::new_v4().to_string())).await).err()
    })
    .await;
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert!(world.queued().await.iter().all(|message| {
        message.order().is_none_or(|order| order.order_id.to_string() != hold.order_id)
    }));
    world.jetstream.get_stream(ORDERS).await.unwrap().purge().await.unwrap();
    eventually("the placed order is queued", async || {
        let queued = world.queued().await;
        queued
            .iter()
            .any(|message| message.order().unwrap().order_id.to_string() == hold.order_id)
            .then_some(())
    })
    .await;
}
