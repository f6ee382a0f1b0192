//! The claimer, from a real stream into a real record.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream;
use flashsale_order_worker::{
    app::Wakeups,
    metrics::Metrics,
    store::position,
    tasks::claimer::{ClaimPace, Claimer},
};
use flashsale_queue::{
    NatsConfig, ORDERS, OrderMessage, QueueMessage, ensure_orders_stream, place_subject,
    publish_order,
};
use flashsale_service::Drain;
use flashsale_testbed::{TestNats, eventually, grants::as_user};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::task::JoinHandle;

use crate::shop::{REVIEW, Shop, cancel, place};

pub(crate) fn nats_config(nats: &TestNats) -> NatsConfig {
    NatsConfig {
        publish_timeout_ms: 2_000,
        orders_max_bytes: 16 * 1_048_576,
        events_max_bytes: 16 * 1_048_576,
        ..NatsConfig::at(&nats.url)
    }
}

/// The same for order-worker, with its grants and no more.
pub(crate) fn own_config(nats: &TestNats) -> NatsConfig {
    NatsConfig { url: as_user(&nats.url, "order-worker").into(), ..nats_config(nats) }
}

pub(crate) struct Queue {
    nats: TestNats,
    jetstream: jetstream::Context,
    /// As the claimer reaches it.
    own: jetstream::Context,
}

impl Queue {
    pub(crate) async fn open() -> Self {
        let nats = flashsale_testbed::nats().await;
        let client = flashsale_queue::connect(&nats_config(&nats), "test").await.unwrap();
        let jetstream = jetstream::new(client);
        let client = flashsale_queue::connect(&own_config(&nats), "order-worker").await.unwrap();
        let queue = Self { nats, jetstream, own: jetstream::new(client) };
        queue.make_stream().await;
        queue
    }

    async fn make_stream(&self) {
        let config = nats_config(&self.nats);
        eventually("ORDERS is made", || async {
            ensure_orders_stream(&self.jetstream, &config).await.ok()
        })
        .await;
    }

    pub(crate) async fn publish(&self, message: &QueueMessage) -> u64 {
        eventually("a message is published", || async {
            publish_order(&self.jetstream, message, Duration::from_secs(2)).await.ok()
        })
        .await
    }

    /// Publishes without a message id, so that JetStream does not recognise what comes twice.
    pub(crate) async fn publish_raw(&self, shop: &Shop, body: Vec<u8>) {
        let subject = place_subject(shop.sale);
        self.jetstream.publish(subject, body.into()).await.unwrap().await.unwrap();
    }

    async fn messages(&self) -> u64 {
        self.jetstream.get_stream(ORDERS).await.unwrap().cached_info().state.messages
    }
}

pub(crate) fn pace() -> ClaimPace {
    ClaimPace {
        review: REVIEW,
        batch: 50,
        fill: Duration::from_millis(5),
        idle: Duration::from_millis(100),
        purge_messages: 100,
        purge_interval: Duration::from_secs(60),
        purge_after: Duration::from_millis(10),
    }
}

fn start(
    shop: &Shop,
    queue: &Queue,
    pace: ClaimPace,
    drain: &Drain,
) -> JoinHandle<anyhow::Result<()>> {
    start_with(shop, queue, pace, &Arc::new(Wakeups::new().0), drain)
}

pub(crate) fn start_with(
    shop: &Shop,
    queue: &Queue,
    pace: ClaimPace,
    wakeups: &Arc<Wakeups>,
    drain: &Drain,
) -> JoinHandle<anyhow::Result<()>> {
    let claimer = Claimer {
        pool: shop.record().clone(),
        jetstream: queue.own.clone(),
        pace,
        wakeups: Arc::clone(wakeups),
        metrics: Metrics::default(),
    };
    tokio::spawn(claimer.run(drain.clone()))
}

pub(crate) async fn claimed_upto(shop: &Shop, seq: u64) {
    eventually("the position has come this far", || async {
        let position = position::read(shop.record(), ORDERS).await.unwrap()?;
        (position.seq >= seq).then_some(())
    })
    .await;
}

pub(crate) async fn recorded(shop: &Shop, order: &OrderMessage) -> String {
    eventually("the order is recorded", || shop.state(order.order_id)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_claimers_record_each_order_once() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (shop, queue) = (Shop::open(&[("A", 150), ("B", 400)]).await, Queue::open().await);
    let drain = Drain::new();
    let claimers: Vec<_> = (0..3).map(|_| start(&shop, &queue, pace(), &drain)).collect();

    let orders: Vec<OrderMessage> = (0..300)
        .map(|_| match random.random_range(0..3) {
            0 => shop.order(&[("A", 1)]),
            1 => shop.order(&[("B", 2), ("A", 1)]),
            _ => shop.order(&[("B", 1)]),
        })
        .collect();
    let mut bodies: Vec<Vec<u8>> = orders.iter().map(|order| place(order).encode()).collect();
    bodies.extend(orders.iter().take(100).map(|order| place(order).encode()));
    bodies.extend(orders.iter().skip(250).map(|order| cancel(order).encode()));
    bodies.extend((0..10).map(|_| b"not an order".to_vec()));
    bodies.shuffle(&mut random);
    for body in &bodies {
        queue.publish_raw(&shop, body.clone()).await;
    }
    claimed_upto(&shop, bodies.len() as u64).await;
    drain.start();
    for claimer in claimers {
        claimer.await.unwrap().unwrap();
    }

    let (recorded, first_entries): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_transitions WHERE from_state IS NULL)",
    )
    .fetch_one(shop.pool())
    .await
    .unwrap();
    assert_eq!((recorded, first_entries), (300, 300));
    assert_eq!(shop.dead().await.len(), 10);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn only_claimed_messages_are_purged() {
    let (shop, queue) = (Shop::open(&[("A", 1_000)]).await, Queue::open().await);
    let drain = Drain::new();
    let claimer = start(&shop, &queue, pace(), &drain);
    for _ in 0..150 {
        queue.publish(&place(&shop.order(&[("A", 1)]))).await;
    }
    claimed_upto(&shop, 150).await;
    eventually("claimed messages are purged", || async {
        (queue.messages().await < 100).then_some(())
    })
    .await;
    drain.start();
    claimer.await.unwrap().unwrap();

    let waiting = shop.order(&[("A", 1)]);
    queue.publish(&place(&waiting)).await;
    let drain = Drain::new();
    let often = ClaimPace { purge_messages: 1, ..pace() };
    let claimer = start(&shop, &queue, often, &drain);
    assert_eq!(recorded(&shop, &waiting).await, "CLAIMED");
    assert_eq!(shop.units_claimed("A").await, 151);
    drain.start();
    claimer.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_recreated_stream_is_read_from_its_start() {
    let (shop, queue) = (Shop::open(&[("A", 1_000)]).await, Queue::open().await);
    let drain = Drain::new();
    let claimer = start(&shop, &queue, pace(), &drain);
    let old: Vec<_> = (0..20).map(|_| shop.order(&[("A", 1)])).collect();
    for order in &old {
        queue.publish(&place(order)).await;
    }
    claimed_upto(&shop, 20).await;

    queue.jetstream.delete_stream(ORDERS).await.unwrap();
    queue.make_stream().await;
    // One that was recorded before, and one that was not; both have lower numbers than the
    // position.
    queue.publish(&place(&old[3])).await;
    let new = shop.order(&[("A", 1)]);
    assert!(queue.publish(&place(&new)).await < 20);
    assert_eq!(recorded(&shop, &new).await, "CLAIMED");
    assert_eq!(shop.units_claimed("A").await, 21);
    drain.start();
    claimer.await.unwrap().unwrap();
}

#[tokio::test]
async fn claiming_resumes_when_the_queue_returns() {
    let (shop, mut queue) = (Shop::open(&[("A", 1_000)]).await, Queue::open().await);
    let drain = Drain::new();
    let claimer = start(&shop, &queue, pace(), &drain);
    let before = shop.order(&[("A", 1)]);
    queue.publish(&place(&before)).await;
    recorded(&shop, &before).await;

    queue.nats.server.kill().await;
    queue.nats.server.restart().await.unwrap();
    let after = shop.order(&[("A", 1)]);
    queue.publish(&place(&after)).await;
    assert_eq!(recorded(&shop, &after).await, "CLAIMED");
    assert_eq!(shop.units_claimed("A").await, 2);
    drain.start();
    claimer.await.unwrap().unwrap();
}

#[tokio::test]
async fn claimed_messages_are_kept_a_while() {
    let (shop, queue) = (Shop::open(&[("A", 1_000)]).await, Queue::open().await);
    let drain = Drain::new();
    let eager = ClaimPace { purge_messages: 1, purge_interval: Duration::from_millis(1), ..pace() };
    let patient = ClaimPace { purge_after: Duration::from_secs(3_600), ..eager };
    let claimer = start(&shop, &queue, patient, &drain);
    for claimed in 1..=20 {
        queue.publish(&place(&shop.order(&[("A", 1)]))).await;
        claimed_upto(&shop, claimed).await;
    }
    assert_eq!(queue.messages().await, 20);
    drain.start();
    claimer.await.unwrap().unwrap();

    let drain = Drain::new();
    let claimer = start(&shop, &queue, eager, &drain);
    queue.publish(&place(&shop.order(&[("A", 1)]))).await;
    eventually("what is old enough is purged", || async {
        (queue.messages().await == 0).then_some(())
    })
    .await;
    drain.start();
    claimer.await.unwrap().unwrap();
}
