//! Orders of an older epoch behind the marker of a rebuild: they take their units anew, and wait until they can.

use flashsale_errors::Reason;
use flashsale_order_worker::store::position;
use flashsale_proto::inventory::RetakeResult;
use flashsale_queue::{ORDERS, OrderMessage, QueueMessage};
use flashsale_service::Drain;
use flashsale_testing::{TestServer, eventually};
use tokio::task::JoinHandle;

use crate::{
    claimer::{Queue, claimed_upto, pace, recorded, start_with},
    peers::{Peers, channel},
    shop::{EPOCH, Shop, cancel, place},
};

struct Scene {
    shop: Shop,
    queue: Queue,
    peers: Peers,
    server: TestServer,
    drain: Drain,
}

impl Scene {
    /// A sale of 10 A, nothing claimed, nobody claiming yet.
    async fn open() -> Self {
        let peers = Peers::default();
        let server = peers.serve().await;
        Self {
            shop: Shop::open(&[("A", 10)]).await,
            queue: Queue::open().await,
            peers,
            server,
            drain: Drain::new(),
        }
    }

    fn start(&self) -> JoinHandle<anyhow::Result<()>> {
        let inventory = channel("inventory", &self.server);
        start_with(&self.shop, &self.queue, inventory, pace(), &self.drain)
    }

    /// Publishes the marker of the next epoch, behind it a straggler and then an order of that epoch.
    async fn rebuild(&self) -> (OrderMessage, OrderMessage) {
        let sale_id = self.shop.sale;
        self.queue.publish(&QueueMessage::Fence { sale_id, epoch: EPOCH + 1 }).await;
        let straggler = self.shop.order(&[("A", 1)]);
        self.queue.publish(&place(&straggler)).await;
        let next = OrderMessage { epoch: EPOCH + 1, ..self.shop.order(&[("A", 1)]) };
        self.queue.publish(&place(&next)).await;
        (straggler, next)
    }

    async fn asked(&self, times: usize) {
        eventually("inventory is asked", async || {
            (self.peers.lock().retaken.len() >= times).then_some(())
        })
        .await;
    }

    async fn seq(&self) -> u64 {
        position::read(self.shop.pool(), ORDERS).await.unwrap().unwrap().seq
    }

    async fn end(self, claimer: JoinHandle<anyhow::Result<()>>) {
        self.drain.start();
        claimer.await.unwrap().unwrap();
        self.shop.assert_books_balance().await;
    }
}

#[tokio::test]
async fn a_straggler_takes_its_units_anew_and_is_claimed() {
    let scene = Scene::open().await;
    let (straggler, next) = scene.rebuild().await;
    let claimer = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
    assert_eq!(scene.shop.fence().await, Some(EPOCH + 1));

    let calls = scene.peers.lock().retaken.clone();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!((call.min_epoch, &call.sale_id), (EPOCH + 1, &straggler.sale_id.to_string()));
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
    scene.end(claimer).await;
}

#[tokio::test]
async fn a_straggler_that_gets_no_units_ends_and_its_buyer_is_told() {
    let scene = Scene::open().await;
    let (straggler, next) = scene.rebuild().await;
    let hold = straggler.hold_id.to_string();
    scene.peers.lock().retake_results.insert(hold, RetakeResult::Refused);
    let claimer = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CANCELLED/stock_rebuilt");
    let owed = scene.shop.owed(straggler.order_id).await;
    assert_eq!(owed, ["close_hold/RELEASED", "event/CANCELLED", "mail/CANCELLED"]);
    assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
    assert_eq!(scene.shop.units_claimed("A").await, 1);
    scene.end(claimer).await;
}

#[tokio::test]
async fn a_straggler_that_the_allotment_cannot_cover_gives_back_what_it_took() {
    let scene = Scene::open().await;
    let sale_id = scene.shop.sale;
    scene.queue.publish(&QueueMessage::Fence { sale_id, epoch: EPOCH + 1 }).await;
    let straggler = scene.shop.order(&[("A", 11)]);
    scene.queue.publish(&place(&straggler)).await;
    let claimer = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CANCELLED/allotment_exhausted");
    let owed = scene.shop.owed(straggler.order_id).await;
    assert_eq!(owed, ["close_hold/RELEASED", "event/CANCELLED", "mail/CANCELLED"]);
    scene.end(claimer).await;
}

#[tokio::test]
async fn while_the_stock_is_rebuilt_once_more_stragglers_are_claimed_against_the_allotment() {
    let scene = Scene::open().await;
    scene.peers.lock().retake_failure = Some(Reason::StockFenced);
    scene.shop.begin_epoch(EPOCH + 1).await;
    let (straggler, next) = scene.rebuild().await;
    let claimer = scene.start();
    // The stock of the marker is not there yet: it may still be able to take them.
    scene.asked(2).await;
    assert_eq!(scene.shop.state(straggler.order_id).await, None);
    // It never will be.
    scene.shop.begin_epoch(EPOCH + 2).await;
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
    assert_eq!(scene.shop.units_claimed("A").await, 2);
    scene.end(claimer).await;
}

#[tokio::test]
async fn while_inventory_is_away_nothing_behind_a_straggler_is_recorded_and_then_all_once() {
    let scene = Scene::open().await;
    // A newer epoch does not help: whether that stock is open already nobody knows.
    scene.shop.begin_epoch(EPOCH + 2).await;
    scene.peers.lock().retake_failure = Some(Reason::PeerUnavailable);
    let before = scene.shop.order(&[("A", 1)]);
    scene.queue.publish(&place(&before)).await;
    let (straggler, next) = scene.rebuild().await;
    let claimer = scene.start();
    scene.asked(3).await;
    // What is in front of it is recorded, the marker too: the rebuild waits for that.
    assert_eq!(recorded(&scene.shop, &before).await, "CLAIMED");
    assert_eq!(scene.shop.fence().await, Some(EPOCH + 1));
    assert_eq!(scene.seq().await, 2);
    assert_eq!(scene.shop.state(straggler.order_id).await, None);
    assert_eq!(scene.shop.state(next.order_id).await, None);

    scene.peers.lock().retake_failure = None;
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
    claimed_upto(&scene.shop, 4).await;
    assert_eq!(scene.shop.history(straggler.order_id).await, [">CLAIMED:claimed"]);
    assert_eq!(scene.shop.units_claimed("A").await, 3);
    scene.end(claimer).await;
}

#[tokio::test]
async fn a_drain_ends_the_wait_and_the_next_claimer_asks_again() {
    let scene = Scene::open().await;
    scene.peers.lock().retake_failure = Some(Reason::StoreUnavailable);
    let (straggler, _) = scene.rebuild().await;
    let claimer = scene.start();
    scene.asked(1).await;
    scene.drain.start();
    claimer.await.unwrap().unwrap();
    assert_eq!(scene.shop.state(straggler.order_id).await, None);

    // The units were taken and the answer got lost: taking them again is harmless.
    scene.peers.lock().retake_failure = None;
    let scene = Scene { drain: Drain::new(), ..scene };
    let claimer = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CLAIMED");
    scene.end(claimer).await;
}

#[tokio::test]
async fn an_order_that_inventory_objects_to_does_not_hold_up_the_others() {
    let scene = Scene::open().await;
    scene.peers.lock().retake_failure = Some(Reason::ArgumentInvalid);
    let (straggler, next) = scene.rebuild().await;
    let claimer = scene.start();
    assert_eq!(recorded(&scene.shop, &straggler).await, "CANCELLED/stock_rebuilt");
    assert_eq!(recorded(&scene.shop, &next).await, "CLAIMED");
    scene.end(claimer).await;
}

#[tokio::test]
async fn an_order_that_is_recorded_or_cancelled_already_takes_nothing_anew() {
    let scene = Scene::open().await;
    let known = scene.shop.order(&[("A", 1)]);
    scene.queue.publish(&place(&known)).await;
    let sale_id = scene.shop.sale;
    scene.queue.publish(&QueueMessage::Fence { sale_id, epoch: EPOCH + 1 }).await;
    let wished_away = scene.shop.order(&[("A", 1)]);
    scene.queue.publish(&cancel(&wished_away)).await;
    scene.queue.publish(&place(&wished_away)).await;
    let claimer = scene.start();
    claimed_upto(&scene.shop, 4).await;
    assert_eq!(scene.shop.state(known.order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(scene.shop.state(wished_away.order_id).await.as_deref(), Some("CANCELLED/buyer"));
    assert!(scene.peers.lock().retaken.is_empty());
    scene.end(claimer).await;
}
