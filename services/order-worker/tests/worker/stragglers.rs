//! Orders of an older epoch behind the marker of a rebuild: they are parked, and no other order
//! waits for them.

use std::{sync::Arc, time::Duration};

use flashsale_errors::Reason;
use flashsale_order_worker::{
    app::Wakeups,
    domain::{Answers, Backoff, Kind, Retaken},
    metrics::Metrics,
    peers::inventory::Inventory,
    store::{
        claims::claim,
        dead_letters, outbox,
        parked::{DueSale, ParkedOrder, backlog, due_sales, lease, put_off, read},
        parked_claims::record,
    },
    tasks::parked::{ParkedOrders, ParkedPace},
};
use flashsale_proto::inventory::RetakeResult;
use flashsale_queue::{ORDERS, OrderMessage};
use flashsale_service::Drain;
use flashsale_testing::{TestServer, eventually};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    claimer::{self, Queue, claimed_upto, recorded},
    peers::{Peers, channel},
    shop::{EPOCH, REVIEW, Shop, batch, cancel, done, place},
};

/// The epoch of the first rebuild.
const NEXT: i64 = EPOCH + 1;
const CANCELLED: [&str; 3] = ["close_hold/RELEASED", "event/CANCELLED", "mail/CANCELLED"];

fn pace() -> ParkedPace {
    ParkedPace {
        sales: 2,
        batch: 3,
        lease: Duration::from_secs(20),
        poll: Duration::from_millis(20),
        backoff: Backoff { first: Duration::from_millis(10), ceiling: Duration::from_millis(50) },
    }
}

struct Scene {
    shop: Shop,
    queue: Queue,
    peers: Peers,
    server: TestServer,
    wakeups: Arc<Wakeups>,
    drain: Drain,
}

type Running = Vec<JoinHandle<anyhow::Result<()>>>;

impl Scene {
    /// A sale of 10 A, nothing claimed, no claimer running yet.
    async fn open() -> Self {
        let peers = Peers::default();
        let server = peers.serve().await;
        Self {
            shop: Shop::open(&[("A", 10)]).await,
            queue: Queue::open().await,
            peers,
            server,
            wakeups: Arc::new(Wakeups::new().0),
            drain: Drain::new(),
        }
    }

    fn start(&self) -> Running {
        let pace = claimer::pace();
        let claimer =
            claimer::start_with(&self.shop, &self.queue, pace, &self.wakeups, &self.drain);
        vec![claimer, self.start_parked()]
    }

    fn start_parked(&self) -> JoinHandle<anyhow::Result<()>> {
        let parked = ParkedOrders {
            pool: self.shop.pool().clone(),
            inventory: Inventory::new(channel("inventory", &self.server)),
            pace: pace(),
            wakeups: Arc::clone(&self.wakeups),
            metrics: Metrics::default(),
        };
        tokio::spawn(parked.run(self.drain.clone()))
    }

    /// Begins the next epoch and publishes its marker, behind it a straggler and then an order of
    /// that epoch.
    async fn rebuild(&self) -> (OrderMessage, OrderMessage) {
        self.shop.begin_epoch(NEXT).await;
        self.queue.publish(&self.shop.marker(NEXT)).await;
        let straggler = self.shop.order(&[("A", 1)]);
        self.queue.publish(&place(&straggler)).await;
        let next = OrderMessage { epoch: NEXT, ..self.shop.order(&[("A", 1)]) };
        self.queue.publish(&place(&next)).await;
        (straggler, next)
    }

    async fn asked(&self, times: usize) {
        eventually("inventory is asked", async || {
            (self.peers.lock().retaken.len() >= times).then_some(())
        })
        .await;
    }

    async fn end(self, running: Running) {
        self.drain.start();
        for task in running {
            task.await.unwrap().unwrap();
        }
        self.shop.assert_books_balance().await;
    }
}

/// A sale of 10 A past the marker of its first rebuild, with these orders parked behind it.
async fn past_a_marker(units: &[i64]) -> (Shop, Vec<OrderMessage>) {
    let shop = Shop::open(&[("A", 10)]).await;
    shop.begin_epoch(NEXT).await;
    let orders: Vec<_> = units.iter().map(|units| shop.order(&[("A", *units)])).collect();
    let mut messages = vec![shop.marker(NEXT)];
    messages.extend(orders.iter().map(place));
    shop.claim(&messages).await;
    assert_eq!(shop.parked().await, ids(&orders));
    (shop, orders)
}

fn ids(orders: &[OrderMessage]) -> Vec<Uuid> {
    orders.iter().map(|order| order.order_id).collect()
}

/// The parked orders of the sale, taken as the task takes them.
async fn taken(shop: &Shop) -> Vec<ParkedOrder> {
    let sale = DueSale { sale_id: shop.sale, marker_ahead: true, passed: Some(NEXT) };
    let rows = lease(shop.pool(), sale, 100, Duration::from_secs(20)).await.unwrap();
    rows.iter().map(|row| read(row).unwrap()).collect()
}

fn all(orders: &[OrderMessage], answer: Retaken) -> Answers {
    orders.iter().map(|order| (order.order_id, answer)).collect()
}

#[tokio::test]
async fn a_straggler_retakes_its_units() {
    let scene = Scene::open().await;
    let (straggler, next) = scene.rebuild().await;
    let running = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
    assert_eq!(scene.shop.fence().await, Some(NEXT));
    assert!(scene.shop.parked().await.is_empty());
    let owed = scene.shop.owed(straggler.order_id).await;
    assert_eq!(owed, ["charge/CLAIMED", "event/CLAIMED"]);

    let calls = scene.peers.lock().retaken.clone();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!((call.min_epoch, &call.sale_id), (NEXT, &straggler.sale_id.to_string()));
    assert_eq!(call.holds.len(), 1);
    let hold = &call.holds[0];
    assert_eq!(hold.hold_id, straggler.hold_id.to_string());
    assert_eq!(hold.order_id, straggler.order_id.to_string());
    assert_eq!(hold.request_hash, straggler.request_hash);
    assert_eq!((hold.lines[0].sku.as_str(), hold.lines[0].quantity), ("A", 1));
    assert_eq!(hold.lines[0].unit_price.as_ref().unwrap().units, 1);
    assert_eq!(
        hold.order_details,
        r#"{"email":"buyer@example.com","contact_name":"Bea Buyer","payment_method":"pm_card_visa"}"#
    );
    scene.end(running).await;
}

#[tokio::test]
async fn a_straggler_without_units_ends() {
    let scene = Scene::open().await;
    let (straggler, next) = scene.rebuild().await;
    let hold = straggler.hold_id.to_string();
    scene.peers.lock().retake_results.insert(hold, RetakeResult::Refused);
    let running = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CANCELLED/stock_rebuilt");
    assert_eq!(scene.shop.owed(straggler.order_id).await, CANCELLED);
    assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
    assert_eq!(scene.shop.units_claimed("A").await, 1);
    scene.end(running).await;
}

#[tokio::test]
async fn an_uncovered_straggler_gives_back_its_units() {
    let scene = Scene::open().await;
    scene.shop.begin_epoch(NEXT).await;
    scene.queue.publish(&scene.shop.marker(NEXT)).await;
    let straggler = scene.shop.order(&[("A", 11)]);
    scene.queue.publish(&place(&straggler)).await;
    let running = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CANCELLED/allotment_exhausted");
    assert_eq!(scene.shop.owed(straggler.order_id).await, CANCELLED);
    scene.end(running).await;
}

#[tokio::test]
async fn claims_go_on_without_inventory() {
    for reason in [Reason::PeerUnavailable, Reason::StockFenced, Reason::StoreUnavailable] {
        let scene = Scene::open().await;
        let other = scene.shop.another(&[("A", 10)]).await;
        scene.peers.lock().retake_failure = Some(reason);
        let (straggler, next) = scene.rebuild().await;
        let elsewhere = other.order(&[("A", 1)]);
        let seq = scene.queue.publish(&place(&elsewhere)).await;
        let running = scene.start();
        scene.asked(3).await;
        claimed_upto(&scene.shop, seq).await;
        assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
        assert_eq!(recorded(&other, &elsewhere).await, "CLAIMED");
        assert_eq!(scene.shop.state(straggler.order_id).await, None);
        assert_eq!(scene.shop.parked().await, [straggler.order_id]);
        let waiting = backlog(scene.shop.pool()).await.unwrap();
        assert!(waiting.orders == 1 && waiting.oldest_s > 0.0, "{waiting:?}");

        scene.peers.lock().retake_failure = None;
        assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
        assert_eq!(scene.shop.history(straggler.order_id).await, [">CLAIMED:claimed"]);
        assert_eq!(scene.shop.units_claimed("A").await, 2);
        assert_eq!(backlog(scene.shop.pool()).await.unwrap().oldest_s, 0.0);
        scene.end(running).await;
    }
}

#[tokio::test]
async fn a_rebuild_under_way_counts_stragglers() {
    let scene = Scene::open().await;
    scene.peers.lock().retake_failure = Some(Reason::StockFenced);
    let (straggler, _) = scene.rebuild().await;
    let running = scene.start();
    // The stock of the marker is not there yet: it may still be able to take them.
    scene.asked(2).await;
    assert_eq!(scene.shop.state(straggler.order_id).await, None);
    // It never will be, and the next one counts what is claimed before its own marker.
    scene.shop.begin_epoch(NEXT + 1).await;
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    let asked = scene.peers.lock().retaken.len();
    let late = scene.shop.order(&[("A", 1)]);
    scene.queue.publish(&place(&late)).await;
    assert_eq!(recorded(&scene.shop, &late).await, "CLAIMED");
    assert_eq!(scene.peers.lock().retaken.len(), asked);
    scene.end(running).await;
}

#[tokio::test]
async fn units_taken_in_another_epoch_do_not_count() {
    for (answer, end) in
        [(RetakeResult::Taken, "CLAIMED"), (RetakeResult::Refused, "CANCELLED/stock_rebuilt")]
    {
        let scene = Scene::open().await;
        let (straggler, _) = scene.rebuild().await;
        let hold = straggler.hold_id.to_string();
        scene.peers.lock().retake_results.insert(hold, answer);
        scene.peers.lock().retake_epoch = Some(EPOCH);
        let running = scene.start();
        scene.asked(3).await;
        assert_eq!(scene.shop.parked().await, [straggler.order_id]);
        scene.peers.lock().retake_epoch = None;
        assert_eq!(recorded(&scene.shop, &straggler).await, end);
        scene.end(running).await;
    }
}

#[tokio::test]
async fn the_next_worker_asks_again_after_a_drain() {
    let scene = Scene::open().await;
    scene.peers.lock().retake_failure = Some(Reason::StoreUnavailable);
    let (straggler, _) = scene.rebuild().await;
    let running = scene.start();
    scene.asked(1).await;
    scene.drain.start();
    for task in running {
        task.await.unwrap().unwrap();
    }
    assert_eq!(scene.shop.parked().await, [straggler.order_id]);

    // The units were taken and the answer got lost: taking them again is harmless.
    scene.peers.lock().retake_failure = None;
    let scene = Scene { drain: Drain::new(), ..scene };
    let running = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    scene.end(running).await;
}

#[tokio::test]
async fn a_rejected_straggler_ends_alone() {
    for reason in
        [Reason::ArgumentInvalid, Reason::QuantityInvalid, Reason::SkuNotFound, Reason::SaleNotOpen]
    {
        let scene = Scene::open().await;
        scene.peers.lock().retake_failure = Some(reason);
        let (straggler, next) = scene.rebuild().await;
        let running = scene.start();
        assert_eq!(recorded(&scene.shop, &straggler).await, "CANCELLED/stock_rebuilt");
        assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
        scene.end(running).await;
    }
}

#[tokio::test]
async fn a_recorded_order_retakes_nothing() {
    let scene = Scene::open().await;
    scene.shop.begin_epoch(NEXT).await;
    let known = scene.shop.order(&[("A", 1)]);
    scene.queue.publish(&place(&known)).await;
    scene.queue.publish(&scene.shop.marker(NEXT)).await;
    let wished_away = scene.shop.order(&[("A", 1)]);
    scene.queue.publish(&cancel(&wished_away)).await;
    scene.queue.publish(&place(&wished_away)).await;
    let running = scene.start();
    claimed_upto(&scene.shop, 4).await;
    assert_eq!(scene.shop.state(known.order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(scene.shop.state(wished_away.order_id).await.as_deref(), Some("CANCELLED/buyer"));
    assert!(scene.peers.lock().retaken.is_empty());
    scene.end(running).await;
}

#[tokio::test]
async fn parking_keeps_message_number_and_trace() {
    let (shop, orders) = past_a_marker(&[1]).await;
    let (seq, message, attempts): (i64, serde_json::Value, i32) =
        sqlx::query_as("SELECT seq, message, attempts FROM parked_orders")
            .fetch_one(shop.pool())
            .await
            .unwrap();
    assert_eq!((seq, attempts), (2, 0));
    let expected: serde_json::Value = serde_json::from_slice(&place(&orders[0]).encode()).unwrap();
    assert_eq!(message, expected);

    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    sqlx::query("UPDATE parked_orders SET traceparent = $1")
        .bind(trace)
        .execute(shop.pool())
        .await
        .unwrap();
    let parked = taken(&shop).await;
    record(shop.pool(), shop.sale, &parked, &all(&orders, Retaken::Taken(NEXT))).await.unwrap();
    let kept: Option<String> =
        sqlx::query_scalar("SELECT traceparent FROM orders").fetch_one(shop.pool()).await.unwrap();
    assert_eq!(kept.as_deref(), Some(trace));
}

#[tokio::test]
async fn a_parked_order_placed_again_is_claimed() {
    let (shop, orders) = past_a_marker(&[2]).await;
    // The same message once more changes nothing.
    let again = shop.claim(&[place(&orders[0])]).await;
    assert_eq!((again.states.len(), again.parked), (0, 0));
    let retried = OrderMessage { epoch: NEXT, ..orders[0].clone() };
    shop.claim(&[place(&retried)]).await;
    assert_eq!(shop.state(retried.order_id).await.as_deref(), Some("CLAIMED"));
    assert!(shop.parked().await.is_empty());
    assert_eq!(shop.units_claimed("A").await, 2);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_cancelled_parked_order_gives_units_back() {
    let (shop, orders) = past_a_marker(&[2]).await;
    // Inventory takes the units while the buyer cancels, and the hold was closed before they were
    // taken.
    let parked = taken(&shop).await;
    shop.claim(&[cancel(&orders[0])]).await;
    assert_eq!(shop.state(orders[0].order_id).await.as_deref(), Some("CANCELLED/buyer"));
    assert_eq!(shop.owed(orders[0].order_id).await, CANCELLED);
    assert!(shop.parked().await.is_empty());
    let close = async || {
        outbox::lease(shop.pool(), Kind::CloseHold, 10, Duration::ZERO, &[])
            .await
            .unwrap()
            .remove(0)
    };
    let closed = close().await;
    outbox::done(shop.pool(), &[(&closed, None)]).await.unwrap();
    assert!(!shop.undone().await.contains(&"close_hold/RELEASED".to_owned()));

    let answers = all(&orders, Retaken::Taken(NEXT));
    let settled = record(shop.pool(), shop.sale, &parked, &answers).await.unwrap();
    assert!(settled.entered.is_empty() && settled.waiting.is_empty());
    assert!(settled.kinds.contains(&Kind::CloseHold));
    assert!(shop.undone().await.contains(&"close_hold/RELEASED".to_owned()));
    assert_eq!(shop.units_claimed("A").await, 0);

    // A handler that closes the hold now, before the units are taken, confirms nothing.
    let closing = close().await;
    record(shop.pool(), shop.sale, &parked, &answers).await.unwrap();
    outbox::done(shop.pool(), &[(&closing, None)]).await.unwrap();
    assert!(shop.undone().await.contains(&"close_hold/RELEASED".to_owned()));
    let closing = close().await;
    outbox::done(shop.pool(), &[(&closing, None)]).await.unwrap();
    assert!(!shop.undone().await.contains(&"close_hold/RELEASED".to_owned()));
}

#[tokio::test]
async fn a_cancellation_beside_the_claim_is_kept() {
    let (shop, orders) = past_a_marker(&[1]).await;
    let parked = taken(&shop).await;
    let answers = all(&orders, Retaken::Taken(NEXT));
    let from = shop.position().await;
    let messages = batch(from, &[cancel(&orders[0])]);
    // The parked claim stands before its commit, and the wish comes.
    let mut blocker = shop.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE order_lines").execute(&mut *blocker).await.unwrap();
    let settling = tokio::spawn({
        let (pool, sale) = (shop.pool().clone(), shop.sale);
        async move { record(&pool, sale, &parked, &answers).await }
    });
    waiting_for_locks(&shop, 1).await;
    let pool = shop.pool().clone();
    let claiming = tokio::spawn(async move { claim(&pool, ORDERS, from, &messages, REVIEW).await });
    waiting_for_locks(&shop, 2).await;
    blocker.rollback().await.unwrap();
    settling.await.unwrap().unwrap();
    done(claiming.await.unwrap().unwrap());
    let owed = shop.owed(orders[0].order_id).await;
    assert_eq!(owed, ["cancel_charge/CANCEL_REQUESTED", "charge/CLAIMED", "event/CLAIMED"]);
    assert!(shop.dead().await.is_empty());
}

/// Waits until this many statements of the shop's database wait for locks.
async fn waiting_for_locks(shop: &Shop, statements: i64) {
    let database = shop.pg.database().to_owned();
    let mut admin = shop.pg.admin().await;
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
        )
        .bind(&database)
        .fetch_one(&mut admin)
        .await
        .unwrap();
        if waiting >= statements {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The marker of `NEXT` is passed and `NEXT + 1` handed out: what is claimed before its marker is
/// counted by its stock.
async fn before_a_second_marker() -> (Shop, Vec<OrderMessage>) {
    let (shop, orders) = past_a_marker(&[1]).await;
    shop.begin_epoch(NEXT + 1).await;
    (shop, orders)
}

#[tokio::test]
async fn a_marker_waits_for_a_parked_claim() {
    let (shop, orders) = before_a_second_marker().await;
    let parked = taken(&shop).await;
    // The parked claim has looked, and stands before its commit.
    let mut blocker = shop.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM allotments FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let settling = tokio::spawn({
        let (pool, sale) = (shop.pool().clone(), shop.sale);
        async move { record(&pool, sale, &parked, &Answers::new()).await }
    });
    waiting_for_locks(&shop, 1).await;
    let from = shop.position().await;
    let messages = batch(from, &[shop.marker(NEXT + 1)]);
    let pool = shop.pool().clone();
    let claiming = tokio::spawn(async move { claim(&pool, ORDERS, from, &messages, REVIEW).await });
    // A stock computed now must not miss the order.
    tokio::select! {
        () = waiting_for_locks(&shop, 2) => {}
        () = async {
            while shop.fence().await != Some(NEXT + 1) {
                tokio::task::yield_now().await;
            }
        } => panic!("the marker was passed before the claim that counts on it"),
    }
    blocker.rollback().await.unwrap();
    settling.await.unwrap().unwrap();
    done(claiming.await.unwrap().unwrap());
    assert_eq!(shop.state(orders[0].order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(shop.fence().await, Some(NEXT + 1));
}

#[tokio::test]
async fn a_parked_claim_waits_for_a_marker() {
    let (shop, orders) = before_a_second_marker().await;
    let parked = taken(&shop).await;
    // The marker is being passed, with a claim in front of it that waits.
    let mut blocker = shop.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM allotments FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let from = shop.position().await;
    let fresh = OrderMessage { epoch: NEXT, ..shop.order(&[("A", 1)]) };
    let messages = batch(from, &[place(&fresh), shop.marker(NEXT + 1)]);
    let pool = shop.pool().clone();
    let claiming = tokio::spawn(async move { claim(&pool, ORDERS, from, &messages, REVIEW).await });
    waiting_for_locks(&shop, 1).await;
    let settling = tokio::spawn({
        let (pool, sale) = (shop.pool().clone(), shop.sale);
        async move { record(&pool, sale, &parked, &Answers::new()).await }
    });
    waiting_for_locks(&shop, 2).await;
    blocker.rollback().await.unwrap();
    done(claiming.await.unwrap().unwrap());
    let settled = settling.await.unwrap().unwrap();
    // The stock of the marker may be computed already, without it.
    assert_eq!(settled.waiting, ids(&orders));
    assert_eq!(shop.state(orders[0].order_id).await, None);
    assert_eq!(shop.parked().await, ids(&orders));
    assert_eq!(shop.state(fresh.order_id).await.as_deref(), Some("CLAIMED"));
}

#[tokio::test]
async fn a_parked_order_is_claimed_once() {
    let (shop, orders) = past_a_marker(&[2, 3]).await;
    let (one, other) = (taken(&shop).await, taken(&shop).await);
    assert_eq!(one, other);
    let answers = all(&orders, Retaken::Taken(NEXT));
    let (first, second) = tokio::join!(
        record(shop.pool(), shop.sale, &one, &answers),
        record(shop.pool(), shop.sale, &other, &answers)
    );
    assert_eq!(first.unwrap().entered.len() + second.unwrap().entered.len(), 2);
    assert_eq!(shop.units_claimed("A").await, 5);
    assert_eq!(shop.history(orders[0].order_id).await.len(), 1);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_refused_parked_order_delays_no_other() {
    let (shop, orders) = past_a_marker(&[1, 3, 1]).await;
    sqlx::query("ALTER TABLE order_lines ADD CHECK (quantity <> 3)")
        .execute(shop.pool())
        .await
        .unwrap();
    let parked = taken(&shop).await;
    let answers = all(&orders, Retaken::Taken(NEXT));
    let settled = record(shop.pool(), shop.sale, &parked, &answers).await.unwrap();
    assert_eq!(settled.entered.len(), 2);
    assert_eq!(settled.waiting, [orders[1].order_id]);
    assert_eq!(shop.parked().await, [orders[1].order_id]);
    assert_eq!(shop.units_claimed("A").await, 2);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_dead_letter_returns_as_a_straggler() {
    let scene = Scene::open().await;
    let order = scene.shop.order(&[("A", 1)]);
    let broken = OrderMessage { total_minor: order.total_minor + 1, ..order.clone() };
    scene.queue.publish(&place(&broken)).await;
    scene.shop.begin_epoch(NEXT).await;
    scene.queue.publish(&scene.shop.marker(NEXT)).await;
    let running = scene.start();
    claimed_upto(&scene.shop, 2).await;
    assert_eq!(recorded(&scene.shop, &order).await, "DEAD_LETTER");
    // Not under its message id: the queue would take it for the one that it has.
    let shop = &scene.shop;
    scene.queue.publish_raw(shop, place(&order).encode()).await;
    eventually("it is claimed", || async {
        (shop.state(order.order_id).await? == "CLAIMED").then_some(())
    })
    .await;
    let history = shop.history(order.order_id).await;
    assert_eq!(history, [">DEAD_LETTER:total_is_not_the_sum", "DEAD_LETTER>CLAIMED:claimed"]);
    assert!(dead_letters::list(shop.pool(), None, false, None, 10).await.unwrap().is_empty());
    assert_eq!(scene.peers.lock().retaken.len(), 1);
    scene.end(running).await;
}

#[tokio::test]
async fn a_deferred_sale_leaves_room_for_others() {
    let (shop, _) = past_a_marker(&[1, 1]).await;
    let other = shop.another(&[("A", 10)]).await;
    other.begin_epoch(NEXT).await;
    shop.claim(&[other.marker(NEXT), place(&other.order(&[("A", 1)]))]).await;
    let due = async |except: &[Uuid]| {
        let due = due_sales(shop.pool(), except, 10).await.unwrap();
        due.iter().map(|sale| (sale.sale_id, sale.marker_ahead)).collect::<Vec<_>>()
    };
    assert_eq!(due(&[]).await, [(shop.sale, false), (other.sale, false)]);
    assert_eq!(due(&[shop.sale]).await, [(other.sale, false)]);
    put_off(shop.pool(), shop.sale, Duration::from_secs(3_600), &[], true).await.unwrap();
    assert_eq!(due(&[]).await, [(other.sale, false)]);
    // As soon as another rebuild begins there is nothing to wait for.
    shop.begin_epoch(NEXT + 1).await;
    assert_eq!(due(&[]).await, [(shop.sale, true), (other.sale, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_sales_delay_no_open_one() {
    let scene = Scene::open().await;
    let sales = 4 * pace().sales;
    let orders = 2 * pace().batch;
    let mut closed = Vec::new();
    for _ in 0..sales {
        let shop = scene.shop.another(&[("A", 100)]).await;
        scene.peers.lock().closed.insert(shop.sale.to_string(), Reason::StockFenced);
        shop.begin_epoch(NEXT).await;
        scene.queue.publish(&shop.marker(NEXT)).await;
        for _ in 0..orders {
            scene.queue.publish(&place(&shop.order(&[("A", 1)]))).await;
        }
        closed.push(shop);
    }
    let (straggler, _) = scene.rebuild().await;
    let running = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    for shop in &closed {
        assert_eq!(shop.parked().await.len(), orders);
    }
    scene.end(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_between_two_fences_all_end() {
    let scene = Scene::open().await;
    // More sales, and more orders of each, than are seen to at once.
    let (sales, each) = (6 * pace().sales, pace().batch + 2);
    let mut shops = Vec::new();
    let mut orders = Vec::new();
    for _ in 0..sales {
        let shop = scene.shop.another(&[("A", 100)]).await;
        scene.peers.lock().closed.insert(shop.sale.to_string(), Reason::StockFenced);
        shop.begin_epoch(NEXT).await;
        shops.push(shop);
    }
    for marker in [NEXT, NEXT + 1] {
        for shop in &shops {
            scene.queue.publish(&shop.marker(marker)).await;
            for _ in 0..each {
                let straggler = shop.order(&[("A", 1)]);
                scene.queue.publish(&place(&straggler)).await;
                orders.push(straggler);
            }
        }
    }
    for shop in &shops {
        shop.begin_epoch(NEXT + 1).await;
    }
    let running = scene.start();
    claimed_upto(&scene.shop, (2 * sales * (each + 1)) as u64).await;
    for shop in &shops {
        assert_eq!(shop.fence().await, Some(NEXT + 1));
    }
    // Their stocks come back one by one, in another order than they were lost in.
    for shop in shops.iter().rev() {
        scene.peers.lock().closed.remove(&shop.sale.to_string());
        eventually("the sale's orders are recorded", || async {
            shop.parked().await.is_empty().then_some(())
        })
        .await;
        shop.assert_books_balance().await;
    }
    for order in &orders {
        assert_eq!(recorded(&scene.shop, order).await, "CLAIMED");
    }
    assert!(scene.shop.dead().await.is_empty());
    scene.end(running).await;
}
