//! Orders of an older epoch behind the marker of a rebuild: they are parked, and no other order
//! waits for them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use flashsale_errors::Reason;
use flashsale_order_worker::{
    app::Wakeups,
    domain::Backoff,
    metrics::Metrics,
    peers::inventory::Inventory,
    store::{dead_letters, parked::backlog},
    tasks::parked::{ParkedOrders, ParkedPace},
};
use flashsale_proto::inventory::RetakeResult;
use flashsale_queue::OrderMessage;
use flashsale_service::Drain;
use flashsale_testbed::{TestServer, eventually, fixtures::PriceRevision};
use tokio::task::JoinHandle;

use crate::{
    claimer::{self, Queue, claimed_upto, recorded},
    peers::{Peers, channel},
    shop::{CANCELLED, EPOCH, NEXT, Shop, cancel, in_revision, place},
};

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
        Self::open_with(&[("A", 10)]).await
    }

    /// As [`Self::open`], with these items.
    async fn open_with(items: &[(&str, i64)]) -> Self {
        let peers = Peers::default();
        let server = peers.serve().await;
        Self {
            shop: Shop::open(items).await,
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
            pool: self.shop.record().clone(),
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
    assert_eq!(
        hold.order_details,
        r#"{"email":"buyer@example.com","contact_name":"Bea Buyer","payment_method":"pm_card_visa"}"#
    );
    scene.end(running).await;
}

#[tokio::test]
async fn a_straggler_at_a_foreign_price_retakes_nothing() {
    let scene = Scene::open().await;
    scene.shop.begin_epoch(NEXT).await;
    scene.queue.publish(&scene.shop.marker(NEXT)).await;
    let mut foreign = scene.shop.order(&[("A", 1)]);
    (foreign.lines[0].unit_price_minor, foreign.total_minor) = (1, 1);
    scene.queue.publish(&place(&foreign)).await;
    let running = scene.start();
    claimed_upto(&scene.shop, 2).await;
    assert_eq!(recorded(&scene.shop, &foreign).await, "DEAD_LETTER");
    assert_eq!(scene.shop.dead().await, [(2, "price_foreign".to_owned())]);
    assert!(scene.shop.parked().await.is_empty());
    assert!(scene.peers.lock().retaken.is_empty());
    scene.end(running).await;
}

#[tokio::test]
async fn a_straggler_names_the_later_revisions_of_its_prices() {
    let scene = Scene::open_with(&[("A", 10), ("B", 10)]).await;
    let second =
        PriceRevision { revision: 2, switches_at: None, replaced_by: None, prices: &[("B", 80)] };
    scene.shop.revise(second).await;
    scene.shop.begin_epoch(NEXT).await;
    scene.queue.publish(&scene.shop.marker(NEXT)).await;
    let mut straggler = scene.shop.order(&[("A", 1), ("B", 2)]);
    in_revision(&mut straggler, 1, 2, 80);
    scene.queue.publish(&place(&straggler)).await;
    let running = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    let revisions: Vec<(String, i64)> = sqlx::query_as(
        "SELECT sku, price_revision FROM order_lines WHERE order_id = $1 ORDER BY sku",
    )
    .bind(straggler.order_id)
    .fetch_all(scene.shop.pool())
    .await
    .unwrap();
    assert_eq!(revisions, [("A".to_owned(), 1), ("B".to_owned(), 2)]);
    let asked = scene.peers.lock().retaken[0].holds[0].price_revisions.clone();
    assert_eq!(asked, HashMap::from([("B".to_owned(), 2)]));
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
        let waiting = backlog(scene.shop.record()).await.unwrap();
        assert!(waiting.orders == 1 && waiting.oldest_s > 0.0, "{waiting:?}");

        scene.peers.lock().retake_failure = None;
        assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
        assert_eq!(scene.shop.history(straggler.order_id).await, [">CLAIMED:claimed"]);
        assert_eq!(scene.shop.units_claimed("A").await, 2);
        assert_eq!(backlog(scene.shop.record()).await.unwrap().oldest_s, 0.0);
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
    assert!(dead_letters::list(shop.record(), None, false, None, 10).await.unwrap().is_empty());
    assert_eq!(scene.peers.lock().retaken.len(), 1);
    scene.end(running).await;
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
