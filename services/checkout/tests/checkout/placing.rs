//! Placing: from an admission to an order in the queue, once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use flashsale_admission::Signer;
use flashsale_errors::Reason;
use flashsale_proto::checkout::{Order, OrderState, PlaceOrderRequest};
use flashsale_queue::{Line, OrderDetails, OrderMessage, QueueMessage};
use flashsale_service::wire;
use flashsale_testbed::{assert_failure, eventually};
use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use uuid::Uuid;

use crate::world::{SaleSpec, admission, begin, eur, failure, lines, place, tee, world};

/// The id of an order or hold, as `docs/stores.md` and the contract derive it.
fn derived(sale: Uuid, buyer_id: &str, request_id: &str) -> Uuid {
    Uuid::new_v5(&sale, format!("{buyer_id}\u{1f}{request_id}").as_bytes())
}

#[tokio::test]
async fn admission_to_hold_to_queued_order() {
    let world = world(|_| {}).await;
    world.keys_are_known().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale_with(spec, &[("tee", 10, 3, 1_999), ("cap", 5, 0, 990)]).await;
    let before = world.queued().await.len();

    let admission = world.admission(sale, "ada", 1, 60_000);
    let ask = begin(sale, "ada", &[("tee", 1), ("cap", 1), ("tee", 1)], &admission);
    let hold = world.checkout.clone().begin_checkout(ask.clone()).await.unwrap().into_inner();
    assert_eq!(hold.hold_id, derived(sale, "ada", &ask.request_id).to_string());
    let total = hold.total.clone().unwrap();
    assert_eq!((total.currency_code.as_str(), total.units, total.nanos), ("EUR", 49, 880_000_000));
    let bought: Vec<_> = hold.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
    assert_eq!(bought, [("cap", 1), ("tee", 2)]);
    assert!(hold.expire_time.is_some());
    let again = world.checkout.clone().begin_checkout(ask).await.unwrap().into_inner();
    assert_eq!(again, hold);

    let ask = PlaceOrderRequest { hold_id: hold.hold_id.clone(), ..place(sale, "ada", &[]) };
    let order = world.order(&ask).await;
    let order_id = derived(sale, "ada", &ask.request_id);
    assert_eq!(order.order_id, order_id.to_string());
    assert_eq!((order.sale_id.parse(), order.buyer_id.as_str()), (Ok(sale), "ada"));
    assert_eq!((&order.hold_id, &order.lines), (&hold.hold_id, &hold.lines));
    assert_eq!(order.total, hold.total);
    assert!(!order.cancel_requested && order.end_reason.is_empty());
    assert_eq!(order.place_time, order.update_time);
    assert_eq!(world.books(sale).await, [8, 0, 2, 0]);

    let mut queued = world.queued().await.split_off(before);
    assert_eq!(queued.len(), 1);
    let QueueMessage::Place { order: message } = queued.remove(0) else { panic!("{queued:?}") };
    let line = |sku: &str, quantity, unit_price_minor| Line {
        sku: sku.to_owned(),
        quantity,
        unit_price_minor,
        price_revision: 1,
    };
    let placed_at = order.place_time.unwrap();
    let expected = OrderMessage {
        order_id,
        sale_id: sale,
        buyer_id: "ada".to_owned(),
        hold_id: hold.hold_id.parse().unwrap(),
        epoch: 1,
        admission_id: Some(flashsale_admission::admission_id(sale, 1, 0)),
        request_id: ask.request_id.parse().unwrap(),
        request_hash: message.request_hash.clone(),
        lines: vec![line("cap", 1, 990), line("tee", 2, 1_999)],
        currency: "EUR".to_owned(),
        total_minor: 4_988,
        placed_at_ms: placed_at.seconds * 1_000 + i64::from(placed_at.nanos) / 1_000_000,
        details: OrderDetails {
            email: "ada@example.org".to_owned(),
            contact_name: "Ada Lovelace".to_owned(),
            payment_method: "pm_card_visa".to_owned(),
            ..OrderDetails::default()
        },
    };
    assert_eq!(message, expected);
    assert!(!message.request_hash.is_empty());

    let read = world.get(sale, &order.order_id).await.unwrap();
    assert_eq!(read, order);
}

#[tokio::test]
async fn an_order_costs_what_its_buyer_expects() {
    let world = world(|_| {}).await;
    let items = [("tee", 10, 0, 1_999), ("cap", 5, 0, 990)];
    let sale = world.sale_with(SaleSpec::default(), &items).await;
    let ask = place(sale, "ada", &[("tee", 2), ("cap", 1)]);
    let before = world.snapshot().await;
    let dollars = Some(wire::money(4_988, "USD"));
    for (expected_total, expected_minor) in
        [(eur(4_987), "4987"), (eur(4_989), "4989"), (eur(0), "0"), (dollars.clone(), "4988")]
    {
        let ask = PlaceOrderRequest { expected_total, ..ask.clone() };
        let failure = assert_failure(&world.place(&ask).await.unwrap_err(), Reason::PriceChanged);
        let numbers = ["expected_minor", "total_minor", "currency"]
            .map(|key| failure.metadata().get(key).map(String::as_str));
        assert_eq!(numbers, [Some(expected_minor), Some("4988"), Some("EUR")]);
    }
    assert_eq!(world.snapshot().await, before);

    // A refusal binds nothing: the buyer agrees under the same id.
    let agreed = PlaceOrderRequest { expected_total: eur(4_988), ..ask };
    let order = world.order(&agreed).await;
    assert_eq!(order.total, eur(4_988));
    let before = world.snapshot().await;
    assert_eq!(world.order(&agreed).await, order);
    for expected_total in [None, eur(4_987), dollars] {
        let other = PlaceOrderRequest { expected_total, ..agreed.clone() };
        assert_failure(&world.place(&other).await.unwrap_err(), Reason::RequestIdReused);
    }
    assert_eq!(world.snapshot().await, before);
    assert_eq!(world.queued().await.len(), 1);
}

#[tokio::test]
async fn a_hold_costs_what_its_buyer_expects() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let ask = begin(sale, "ada", &[("tee", 2)], "");
    let hold = world.checkout.clone().begin_checkout(ask).await.unwrap().into_inner();
    let of_hold = PlaceOrderRequest { hold_id: hold.hold_id, ..place(sale, "ada", &[]) };
    // With lines beside it, which are compared with it first, and without.
    let with_lines = PlaceOrderRequest { lines: lines(&[("tee", 2)]), ..of_hold.clone() };
    let before = world.snapshot().await;
    for ask in [&of_hold, &with_lines] {
        let ask = PlaceOrderRequest { expected_total: eur(3_999), ..ask.clone() };
        let failure = assert_failure(&world.place(&ask).await.unwrap_err(), Reason::PriceChanged);
        let total = failure.metadata().get("total_minor");
        assert_eq!(total.map(String::as_str), Some("3998"));
    }
    assert_eq!(world.snapshot().await, before);

    let agreed = PlaceOrderRequest { expected_total: hold.total.clone(), ..with_lines };
    let order = world.order(&agreed).await;
    assert_eq!(order.total, hold.total);
    assert_eq!(world.books(sale).await, [8, 0, 2, 0]);
    assert_eq!(world.order(&agreed).await, order);
    let other = PlaceOrderRequest { expected_total: None, ..agreed };
    assert_failure(&world.place(&other).await.unwrap_err(), Reason::RequestIdReused);
}

#[tokio::test]
async fn replay_returns_same_order_without_message() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let ask = tee(sale, "ada");
    let order = world.order(&ask).await;
    let before = world.snapshot().await;
    for _ in 0..3 {
        assert_eq!(world.order(&ask).await, order);
    }
    assert_eq!(world.snapshot().await, before);
    // The request id belongs to the buyer: the same id of another buyer is another order.
    let theirs = PlaceOrderRequest { buyer_id: "bob".to_owned(), ..ask };
    assert_ne!(world.order(&theirs).await.order_id, order.order_id);
    assert_eq!(world.queued().await.len(), 2);
}

#[tokio::test]
async fn concurrent_replays_are_one_order() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let ask = tee(sale, "ada");
    let orders = join_all((0..32).map(|_| world.order(&ask))).await;
    assert!(orders.iter().all(|order| *order == orders[0]));
    assert_eq!(world.queued().await.len(), 1);
    assert_eq!(world.books(sale).await, [9, 0, 1, 0]);
}

#[tokio::test]
async fn concurrent_buyers_never_oversell() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let asks: Vec<_> = (0..32).map(|buyer| tee(sale, &format!("buyer-{buyer}"))).collect();
    let results = join_all(asks.iter().map(|ask| world.place(ask))).await;
    let (placed, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((placed.len(), refused.len()), (10, 22));
    for refusal in refused {
        assert_failure(&refusal.unwrap_err(), Reason::SoldOut);
    }
    let mut ordered: Vec<String> =
        placed.into_iter().map(|order| order.unwrap().order_id).collect();
    let queued = world.queued().await.into_iter();
    let mut queued: Vec<String> =
        queued.map(|message| message.order().unwrap().order_id.to_string()).collect();
    ordered.sort_unstable();
    queued.sort_unstable();
    assert_eq!(queued, ordered);
    assert_eq!(world.books(sale).await, [0, 0, 10, 0]);
}

#[tokio::test]
async fn concurrent_orders_share_inventory_calls() {
    let world = world(|_| {}).await;
    let sale = world.sale(100).await;
    let asks: Vec<_> = (0..64).map(|buyer| tee(sale, &format!("buyer-{buyer}"))).collect();
    // Each once, acked in time or not.
    join_all(asks.iter().map(async |ask| world.place(ask).await.unwrap())).await;
    assert_eq!(world.books(sale).await, [36, 0, 64, 0]);
    // A call is counted when the last byte of its answer is sent: all of them are once inventory
    // has drained.
    world.inventory.drain.begin();
    world.inventory.ended().await.unwrap();
    let text = flashsale_telemetry::render_metrics();
    let count = |call: &str| {
        let method = format!("rpc_method=\"flashsale.inventory.v1.InventoryService/{call}\"");
        let counted = text.lines().find(|line| {
            line.starts_with("rpc_server_call_duration_seconds_count") && line.contains(&method)
        });
        counted.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let (calls, holds) = (count("PlaceHolds"), count("PlaceHold"));
    assert_eq!(holds, 64);
    assert!((1..=32).contains(&calls), "{calls} calls for {holds} orders");
}

#[tokio::test]
async fn retries_find_orders_of_lost_answers() {
    let (deaf, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let between = Between { deaf: Arc::clone(&deaf), cut: Arc::clone(&cut) };
    let world =
        world(|config| config.peers.inventory.url = between.before(&config.peers.inventory.url))
            .await;
    let sale = world.sale(10).await;
    let before = world.queued().await.len();
    let asks: Vec<_> = (0..8).map(|buyer| tee(sale, &format!("buyer-{buyer}"))).collect();
    deaf.store(true, Ordering::SeqCst);
    let placing = join_all(asks.iter().map(|ask| world.place(ask)));
    let lost = async {
        eventually("all are placed", async || {
            (world.books(sale).await == [2, 0, 8, 0]).then_some(())
        })
        .await;
        cut.notify_waiters();
        deaf.store(false, Ordering::SeqCst);
    };
    let (answers, ()) = tokio::join!(placing, lost);
    for answer in answers {
        let failure = assert_failure(&answer.unwrap_err(), Reason::PeerUnavailable);
        assert!(failure.delay().is_some(), "the same request may be sent again");
    }
    assert_eq!(world.queued().await.len(), before);
    for ask in &asks {
        let order = eventually("inventory is reached again", async || world.place(ask).await.ok());
        let order = order.await;
        let id = derived(sale, &ask.buyer_id, &ask.request_id);
        assert_eq!((order.order_id, order.state), (id.to_string(), OrderState::Accepted.into()));
    }
    assert_eq!(world.books(sale).await, [2, 0, 8, 0]);
    assert_eq!(world.queued().await.len(), before + 8);
}

/// A proxy between checkout and inventory.
struct Between {
    /// Discards everything inventory sends.
    deaf: Arc<AtomicBool>,
    /// Breaks the connections.
    cut: Arc<Notify>,
}

impl Between {
    /// The URL of a proxy to `url`.
    fn before(self, url: &str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let (listener, to) = (TcpListener::from_std(listener).unwrap(), url.replace("http://", ""));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect(&to).await.unwrap();
                let (deaf, cut) = (Arc::clone(&self.deaf), Arc::clone(&self.cut));
                tokio::spawn(async move {
                    let ((mut near, mut back), (mut answers, mut far)) =
                        (near.into_split(), far.into_split());
                    let to = tokio::io::copy(&mut near, &mut far);
                    let from = async {
                        let mut some = vec![0; 65_536];
                        loop {
                            match answers.read(&mut some).await {
                                Ok(0) | Err(_) => return,
                                Ok(_) if deaf.load(Ordering::SeqCst) => {}
                                Ok(read) => back.write_all(&some[..read]).await.unwrap_or(()),
                            }
                        }
                    };
                    tokio::select! {
                        _ = to => {}
                        () = from => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        own
    }
}

#[tokio::test]
async fn waiting_orders_delay_no_later_ones() {
    let world = world(|_| {}).await;
    world.keys_are_known().await;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale_with(spec, &[("tee", 1_000, 0, 1_999)]).await;
    let stranger = Signer::generate().unwrap();
    let _held = world.key_permit.acquire().await.unwrap();
    let number = AtomicI64::new(1);
    let ask = |signer: &Signer, buyer: &str| {
        let number = number.fetch_add(1, Ordering::Relaxed) + 1;
        let buyer = format!("{buyer}-{number}");
        let admission = admission(signer, sale, &buyer, number, 60_000);
        PlaceOrderRequest { admission, ..tee(sale, &buyer) }
    };
    // An unknown key is fetched once a second at most; requests in between are refused at once.
    eventually("an order is placed while four wait for a key", async || {
        let mut waiting = Vec::new();
        for _ in 0..4 {
            let (mut checkout, ask) = (world.checkout.clone(), ask(&stranger, "mal"));
            let mut order = tokio::spawn(async move { checkout.place_order(ask).await });
            // Each is sent before the next.
            let answered = tokio::time::timeout(Duration::from_millis(40), &mut order).await;
            answered.is_err().then(|| waiting.push(order));
        }
        world.order(&ask(&world.signer, "ada")).await;
        let still = waiting.iter().filter(|order| !order.is_finished()).count();
        (still == 4).then_some(())
    })
    .await;
}

#[tokio::test]
async fn replay_returns_present_state() {
    let world = world(|config| config.relay.poll_ms = 20).await;
    let sale = world.sale(10).await;
    let ask = tee(sale, "ada");
    let order = world.recorded(&ask, "CLAIMED").await;
    eventually("the stock store has let go of the order", async || {
        world.carried(sale).await.is_empty().then_some(())
    })
    .await;
    for (state, set) in [
        (OrderState::Claimed, "state = 'CLAIMED'"),
        (OrderState::Paying, "state = 'PAYING'"),
        (OrderState::Declined, "state = 'DECLINED', end_reason = 'card_declined'"),
    ] {
        world.change(&order, set).await;
        let again = world.place(&ask).await.unwrap();
        assert_eq!((again.state(), &again.order_id), (state, &order.order_id));
        assert_eq!(world.get(sale, &order.order_id).await.unwrap(), again);
    }
    assert_eq!(world.queued().await.len(), 1);
}

#[tokio::test]
async fn orders_work_without_postgres() {
    let world = world(|config| config.postgres.acquire_timeout_ms = 200).await;
    let sale = world.sale(10).await;
    world.order(&tee(sale, "ada")).await;
    world.close_postgres().await;
    let order = world.order(&tee(sale, "bob")).await;
    assert_eq!(world.get(sale, &order.order_id).await.unwrap(), order);
    let cancellation = crate::world::cancel(&order);
    let cancelled = world.cancel(&cancellation).await.unwrap();
    assert!(cancelled.cancel_requested, "{cancelled:?}");
    assert_eq!(world.cancels().await.len(), 1);
    // What only the record knows cannot be answered.
    let unknown = failure(world.get(sale, &Uuid::new_v4().to_string()).await).unwrap_err();
    assert_eq!(unknown.reason(), Reason::StoreUnavailable);
}

#[tokio::test]
async fn a_refused_statement_is_internal() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    sqlx::query("ALTER TABLE orders RENAME TO orders_elsewhere")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let unknown = failure(world.get(sale, &Uuid::new_v4().to_string()).await).unwrap_err();
    assert_eq!(unknown.reason(), Reason::Internal);
}

#[tokio::test]
async fn late_ack_is_pending() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let ask = tee(sale, "ada");
    world.nats.server.pause();
    let placing = async { world.place(&ask).await.unwrap() };
    let late = async {
        eventually("the units are taken", async || {
            (world.books(sale).await == [9, 0, 1, 0]).then_some(())
        })
        .await;
        // The answer depends on the time alone: a second since before the units were taken.
        tokio::time::sleep(Duration::from_millis(1_010)).await;
        world.nats.server.resume();
    };
    let (pending, ()) = tokio::join!(placing, late);
    assert_eq!(pending.state(), OrderState::AcceptancePending);
    assert_eq!(world.queued().await.len(), 1);
    // The replay is checked again.
    let order = world.order(&ask).await;
    assert_eq!(order, Order { state: OrderState::Accepted.into(), ..pending });
    assert_eq!(world.queued().await.len(), 1);
}
