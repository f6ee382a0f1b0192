//! The outbox handlers: consequences are carried out until they are confirmed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_nats::jetstream;
use flashsale_errors::Reason;
use flashsale_order_worker::{
    app::Wakeups,
    domain::{Backoff, Kind},
    metrics::Metrics,
    peers::{inventory::Inventory, payment::Payments},
    store::{events_stream::EventsStream, outbox, settlements::follow_payments},
    tasks::outbox::{
        CancelCharge, Charge, CloseHold, DispatchPace, Dispatcher, Handler, HeldOff, PublishEvent,
        Refund,
    },
};
use flashsale_proto::inventory::{HoldOutcome, SettleResult};
use flashsale_queue::{NatsConfig, ORDER_EVENTS, OrderEvent, OrderMessage, ensure_events_stream};
use flashsale_service::Drain;
use flashsale_testbed::eventually;
use futures::StreamExt as _;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    claimer::{nats_config, own_config},
    peers::{Peers, channel},
    shop::{Shop, cancel, place},
};

pub(crate) fn pace() -> DispatchPace {
    DispatchPace {
        batch: 10,
        concurrency: 2,
        lease: Duration::from_secs(20),
        poll: Duration::from_millis(20),
        backoff: Backoff { first: Duration::from_millis(10), ceiling: Duration::from_millis(50) },
    }
}

pub(crate) fn start<H: Handler>(
    shop: &Shop,
    handler: H,
    drain: &Drain,
) -> JoinHandle<anyhow::Result<()>> {
    let dispatcher = Dispatcher {
        handler: Arc::new(handler),
        pool: shop.record().clone(),
        pace: pace(),
        wakeups: wakeups(),
        metrics: Metrics::default(),
    };
    tokio::spawn(dispatcher.run(drain.clone()))
}

fn wakeups() -> Arc<Wakeups> {
    Arc::new(Wakeups::new().0)
}

/// Waits until nothing of `kind` is owed any more, and ends the dispatcher.
pub(crate) async fn carried(
    shop: &Shop,
    kind: Kind,
    running: JoinHandle<anyhow::Result<()>>,
    drain: &Drain,
) {
    let prefix = format!("{}/", kind.as_str());
    eventually("everything is confirmed", || async {
        let undone = shop.undone().await;
        (!undone.iter().any(|row| row.starts_with(&prefix))).then_some(())
    })
    .await;
    drain.start();
    running.await.unwrap().unwrap();
}

fn ids(orders: &[OrderMessage]) -> Vec<String> {
    let mut ids: Vec<String> = orders.iter().map(|order| order.order_id.to_string()).collect();
    ids.sort();
    ids
}

async fn attempts(shop: &Shop, kind: Kind) -> i32 {
    sqlx::query_scalar("SELECT max(attempts) FROM outbox WHERE kind = $1")
        .bind(kind.as_str())
        .fetch_one(shop.pool())
        .await
        .unwrap()
}

/// Why the one consequence of `kind` that is not carried out was not, if it was attempted.
async fn last_error(shop: &Shop, kind: Kind) -> Option<String> {
    sqlx::query_scalar("SELECT last_error FROM outbox WHERE done_at IS NULL AND kind = $1")
        .bind(kind.as_str())
        .fetch_one(shop.pool())
        .await
        .unwrap()
}

fn charge(shop: &Shop, server: &flashsale_testbed::TestServer) -> Charge {
    Charge {
        pool: shop.record().clone(),
        payments: Payments::new(channel("payment", server)),
        wakeups: wakeups(),
    }
}

#[tokio::test]
async fn claimed_orders_are_charged_in_batches() {
    let (shop, peers) = (Shop::open(&[("A", 100)]).await, Peers::default());
    let server = peers.serve().await;
    let orders = shop.claimed_orders("A", 25).await;
    peers.lock().failures.extend([Reason::StoreUnavailable, Reason::Overloaded]);
    let drain = Drain::new();
    let running = start(&shop, charge(&shop, &server), &drain);
    carried(&shop, Kind::Charge, running, &drain).await;

    for order in &orders {
        assert_eq!(shop.state(order.order_id).await.as_deref(), Some("PAYING"));
        assert_eq!(
            shop.history(order.order_id).await,
            [">CLAIMED:claimed", "CLAIMED>PAYING:payment_recorded"]
        );
    }
    let known = peers.lock();
    assert!(known.created.iter().all(|batch| batch.len() <= 10), "{:?}", known.created);
    let recorded: Vec<String> = known.recorded.iter().cloned().collect();
    assert_eq!(recorded, ids(&orders));
}

#[tokio::test]
async fn a_refused_charge_delays_no_other() {
    let (shop, peers) = (Shop::open(&[("A", 100)]).await, Peers::default());
    let server = peers.serve().await;
    let orders = shop.claimed_orders("A", 5).await;
    peers.lock().refused_order = Some(orders[2].order_id.to_string());
    let drain = Drain::new();
    let running = start(&shop, charge(&shop, &server), &drain);
    for (at, order) in orders.iter().enumerate().filter(|(at, _)| *at != 2) {
        eventually("the others are charged", || async {
            (shop.state(order.order_id).await? == "PAYING").then_some(at)
        })
        .await;
    }
    assert_eq!(shop.state(orders[2].order_id).await.as_deref(), Some("CLAIMED"));
    let error = eventually("the failure is noted", || last_error(&shop, Kind::Charge)).await;
    assert_eq!(error, "ORDER_NOT_PAYABLE");
    drain.start();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn broken_constraint_is_noted_as_internal() {
    let (shop, peers) = (Shop::open(&[("A", 1)]).await, Peers::default());
    let server = peers.serve().await;
    shop.claimed_orders("A", 1).await;
    sqlx::query("ALTER TABLE orders ADD CONSTRAINT stuck CHECK (state <> 'PAYING')")
        .execute(&shop.pg.pool)
        .await
        .unwrap();
    let drain = Drain::new();
    let running = start(&shop, charge(&shop, &server), &drain);
    let error = eventually("the failure is noted", || last_error(&shop, Kind::Charge)).await;
    assert_eq!(error, "INTERNAL");
    sqlx::query("ALTER TABLE orders DROP CONSTRAINT stuck").execute(&shop.pg.pool).await.unwrap();
    carried(&shop, Kind::Charge, running, &drain).await;
}

#[tokio::test]
async fn a_cancellation_reaches_payment_after_failures() {
    let (shop, peers) = (Shop::open(&[("A", 5)]).await, Peers::default());
    let server = peers.serve().await;
    let order = shop.order(&[("A", 1)]);
    shop.claim(&[place(&order), cancel(&order)]).await;
    peers.lock().failures.extend([Reason::StoreUnavailable; 3]);
    let payments = Payments::new(channel("payment", &server));
    let handler = CancelCharge { payments, wakeups: wakeups() };
    let drain = Drain::new();
    let running = start(&shop, handler, &drain);
    carried(&shop, Kind::CancelCharge, running, &drain).await;
    assert_eq!(peers.lock().cancelled, [order.order_id.to_string()]);
    assert_eq!(attempts(&shop, Kind::CancelCharge).await, 4);
}

/// An order that was cancelled and then paid, so that its money has to go back.
async fn paid_after_its_end(shop: &Shop) -> OrderMessage {
    let order = shop.order(&[("A", 1)]);
    shop.claim(&[cancel(&order)]).await;
    shop.pay(&order, "SUCCEEDED", None).await;
    follow_payments(shop.record(), &[order.order_id]).await.unwrap();
    order
}

#[tokio::test]
async fn refunds_are_repeated_until_confirmed() {
    let (shop, peers) = (Shop::open(&[("A", 5)]).await, Peers::default());
    let server = peers.serve().await;
    let order = paid_after_its_end(&shop).await;
    // Even what reads like a final refusal is asked again: the money has to go back.
    peers.lock().failures.extend([Reason::PaymentNotRefundable; 12]);
    let drain = Drain::new();
    let running =
        start(&shop, Refund { payments: Payments::new(channel("payment", &server)) }, &drain);
    carried(&shop, Kind::Refund, running, &drain).await;
    assert_eq!(peers.lock().refunded, [order.order_id.to_string()]);
    // Each time it is the same request, also after a restart.
    let request_id = Uuid::new_v5(&order.order_id, b"paid-after-end").to_string();
    assert_eq!(peers.lock().refund_requests, BTreeSet::from([request_id]));
}

#[tokio::test]
async fn refund_of_later_version_is_carried_out() {
    let (shop, peers) = (Shop::open(&[("A", 5)]).await, Peers::default());
    let server = peers.serve().await;
    let order = paid_after_its_end(&shop).await;
    sqlx::query("UPDATE outbox SET about = 'DISPUTED' WHERE kind = 'refund'")
        .execute(&shop.pg.pool)
        .await
        .unwrap();
    let drain = Drain::new();
    let running =
        start(&shop, Refund { payments: Payments::new(channel("payment", &server)) }, &drain);
    carried(&shop, Kind::Refund, running, &drain).await;
    assert_eq!(peers.lock().refunded, [order.order_id.to_string()]);
}

fn close_hold(shop: &Shop, server: &flashsale_testbed::TestServer) -> CloseHold {
    CloseHold {
        pool: shop.record().clone(),
        inventory: Inventory::new(channel("inventory", server)),
        held_off: HeldOff::new(Duration::from_millis(10), Duration::from_millis(50)),
        metrics: Metrics::default(),
    }
}

#[tokio::test]
async fn holds_are_closed_as_their_orders_ended() {
    let (shop, peers) = (Shop::open(&[("A", 50)]).await, Peers::default());
    let server = peers.serve().await;
    let orders = shop.claimed_orders("A", 12).await;
    for (at, order) in orders.iter().enumerate() {
        shop.pay(order, if at % 2 == 0 { "SUCCEEDED" } else { "FAILED" }, None).await;
        follow_payments(shop.record(), &[order.order_id]).await.unwrap();
    }
    peers.lock().failures.push_back(Reason::StockFenced);
    peers.lock().settle_result = Some(SettleResult::Unknown);
    let drain = Drain::new();
    let running = start(&shop, close_hold(&shop, &server), &drain);
    carried(&shop, Kind::CloseHold, running, &drain).await;

    let known = peers.lock();
    let settled: Vec<_> = known.settled.iter().flatten().collect();
    assert_eq!(settled.len(), 12);
    for (at, order) in orders.iter().enumerate() {
        let outcome = if at % 2 == 0 { HoldOutcome::Sold } else { HoldOutcome::Released };
        let expected = (shop.sale.to_string(), order.hold_id.to_string(), outcome);
        assert!(settled.contains(&&expected), "{expected:?}");
    }
}

/// Has `count` orders end unpaid, so that their holds are to be closed.
async fn ended(shop: &Shop, count: usize) -> Vec<OrderMessage> {
    let orders: Vec<OrderMessage> = (0..count).map(|_| shop.order(&[("A", 1)])).collect();
    shop.claim(&orders.iter().map(cancel).collect::<Vec<_>>()).await;
    orders
}

#[tokio::test]
async fn a_closed_sale_delays_no_other() {
    let shop = Shop::open(&[("A", 100)]).await;
    let other = shop.another(&[("A", 100)]).await;
    let (peers, closed) = (Peers::default(), shop.sale.to_string());
    let server = peers.serve().await;
    peers.lock().closed.insert(closed.clone(), Reason::StockFenced);
    // Several times what is under way at once, all of it due before the other sale's.
    let waiting = ended(&shop, 8 * pace().batch).await;
    let free = ended(&other, 1).await.remove(0);
    // As often as anything is tried before it is given up, and more.
    sqlx::query("UPDATE outbox SET attempts = 50").execute(shop.pool()).await.unwrap();
    let pause = Duration::from_secs(1);
    let handler = CloseHold { held_off: HeldOff::new(pause, pause), ..close_hold(&shop, &server) };
    let drain = Drain::new();
    let running = start(&shop, handler, &drain);
    eventually("the other sale's hold is closed", || async {
        peers
            .lock()
            .settled
            .iter()
            .flatten()
            .any(|(_, hold, _)| *hold == free.hold_id.to_string())
            .then_some(())
    })
    .await;
    // Not behind all that is due of the closed one.
    let refused = peers.lock().refused_settlements.len();
    assert!(refused <= 2 * pace().concurrency, "{refused} batches of the closed sale came first");
    eventually("the closed sale is asked again", || async {
        (peers.lock().refused_settlements.len() > refused + 2).then_some(())
    })
    .await;
    let given_up: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE done_at IS NOT NULL")
        .fetch_one(shop.pool())
        .await
        .unwrap();
    assert_eq!(given_up, 1);

    peers.lock().closed.remove(&closed);
    carried(&shop, Kind::CloseHold, running, &drain).await;
    let known = peers.lock();
    let closed: Vec<_> = known.settled.iter().flatten().map(|(_, hold, _)| hold.clone()).collect();
    assert!(waiting.iter().all(|order| closed.contains(&order.hold_id.to_string())));
}

#[tokio::test]
async fn a_hold_of_an_ended_sale_counts_as_closed() {
    let (shop, peers) = (Shop::open(&[("A", 100)]).await, Peers::default());
    let server = peers.serve().await;
    peers.lock().closed.insert(shop.sale.to_string(), Reason::SaleNotOpen);
    ended(&shop, 3).await;
    let drain = Drain::new();
    let running = start(&shop, close_hold(&shop, &server), &drain);
    carried(&shop, Kind::CloseHold, running, &drain).await;
    assert!(peers.lock().settled.is_empty());
}

#[tokio::test]
async fn a_conflicting_hold_is_tried_again() {
    let (shop, peers) = (Shop::open(&[("A", 5)]).await, Peers::default());
    let server = peers.serve().await;
    let order = shop.claimed_orders("A", 1).await.remove(0);
    shop.pay(&order, "SUCCEEDED", None).await;
    follow_payments(shop.record(), &[order.order_id]).await.unwrap();
    peers.lock().settle_result = Some(SettleResult::Conflict);
    let drain = Drain::new();
    let running = start(&shop, close_hold(&shop, &server), &drain);
    eventually("it is tried several times", || async {
        (attempts(&shop, Kind::CloseHold).await >= 3).then_some(())
    })
    .await;
    assert!(shop.undone().await.contains(&"close_hold/SOLD".to_owned()));
    peers.lock().settle_result = None;
    carried(&shop, Kind::CloseHold, running, &drain).await;
}

#[tokio::test]
async fn events_wait_for_their_stream() {
    let shop = Shop::open(&[("A", 5)]).await;
    let nats = flashsale_testbed::nats().await;
    let config = NatsConfig { publish_timeout_ms: 1_000, ..own_config(&nats) };
    let client = flashsale_queue::connect(&nats_config(&nats), "test").await.unwrap();
    let own = flashsale_queue::connect(&config, "order-worker").await.unwrap();
    let jetstream = jetstream::new(client.clone());
    let mut heard = client.subscribe(flashsale_queue::ORDER_EVENT_SUBJECTS).await.unwrap();
    let order = shop.claimed_orders("A", 1).await.remove(0);
    let handler = PublishEvent {
        pool: shop.record().clone(),
        events: EventsStream::new(jetstream::new(own), config.clone()),
    };
    let drain = Drain::new();
    let running = start(&shop, handler, &drain);
    eventually("it is tried in vain", || async {
        (attempts(&shop, Kind::Event).await >= 2).then_some(())
    })
    .await;
    ensure_events_stream(&jetstream, &config).await.unwrap();
    carried(&shop, Kind::Event, running, &drain).await;

    let stored = jetstream.get_stream(ORDER_EVENTS).await.unwrap().cached_info().state.messages;
    assert!(stored >= 1);
    let message = heard.next().await.unwrap();
    assert_eq!(message.subject.as_str(), format!("events.order.{}", order.order_id));
    let event: OrderEvent = serde_json::from_slice(&message.payload).unwrap();
    let expected =
        OrderEvent { order_id: order.order_id, sale_id: shop.sale, state: "CLAIMED".to_owned() };
    assert_eq!(event, expected);
}

#[tokio::test]
async fn a_row_has_one_lease_at_a_time() {
    let shop = Shop::open(&[("A", 100)]).await;
    shop.claimed_orders("A", 40).await;
    let short = Duration::from_millis(200);
    let (one, other) = tokio::join!(
        outbox::lease(shop.record(), Kind::Charge, 25, short, &[]),
        outbox::lease(shop.record(), Kind::Charge, 25, short, &[])
    );
    let mut taken: Vec<i64> =
        one.unwrap().iter().chain(&other.unwrap()).map(|row| row.outbox_id).collect();
    let count = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), count, "two instances took the same row");
    // None is confirmed, as if the instance that took them had died.
    let again = eventually("the leases end", || async {
        let rows = outbox::lease(shop.record(), Kind::Charge, 100, Duration::from_secs(60), &[])
            .await
            .unwrap();
        let again: Vec<_> = rows.into_iter().filter(|row| row.attempts == 2).collect();
        (!again.is_empty()).then_some(again)
    })
    .await;
    assert!(again.iter().all(|row| taken.contains(&row.outbox_id)));
}
