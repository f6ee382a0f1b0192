//! Watching an order: every change once, in order, until its end, by no more watchers than
//! configured.

use std::time::Duration;

use flashsale_errors::Reason;
use flashsale_proto::checkout::{GetOrderRequest, Order, OrderState, WatchOrderResponse};
use flashsale_testbed::{assert_failure, eventually};
use tonic::{Status, Streaming};

use crate::world::{World, tee, watch, world};

struct Watcher(Streaming<WatchOrderResponse>);

impl Watcher {
    async fn start(world: &World, order: &Order) -> Result<Self, Status> {
        Ok(Self(world.checkout.clone().watch_order(watch(order)).await?.into_inner()))
    }

    /// The next state; `None` at the end.
    async fn next(&mut self) -> Option<Order> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.0.message()).await;
        next.expect("nothing came").unwrap().map(|answer| answer.order.unwrap())
    }

    /// Nothing has come, although an announcement has meanwhile reached another watcher.
    async fn has_nothing(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(50), self.0.message()).await.is_err()
    }
}

#[tokio::test]
async fn watcher_sees_every_change_until_end() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let mut watcher = Watcher::start(&world, &order).await.unwrap();
    assert_eq!(watcher.next().await, Some(order.clone()));

    let message = world.placed_message(&order).await;
    world.record(&message, "CLAIMED").await;
    world.announce(&order, "CLAIMED").await;
    let claimed = watcher.next().await.unwrap();
    assert_eq!(claimed.state(), OrderState::Claimed);
    assert_eq!((&claimed.order_id, &claimed.lines), (&order.order_id, &order.lines));

    for (state, set) in [
        (OrderState::Paying, "state = 'PAYING'"),
        (OrderState::ActionRequired, "state = 'ACTION_REQUIRED'"),
        (OrderState::Paying, "state = 'PAYING', cancel_requested_at = now()"),
    ] {
        world.change(&order, set).await;
        world.announce(&order, "changed").await;
        assert_eq!(watcher.next().await.unwrap().state(), state);
    }
    // A later watcher starts with the present state, and sees the end as well.
    let mut late = Watcher::start(&world, &order).await.unwrap();
    let now = late.next().await.unwrap();
    assert!(now.cancel_requested && now.state() == OrderState::Paying);
    // Announced without a change: nothing is sent.
    world.announce(&order, "PAYING").await;
    assert!(late.has_nothing().await);

    world.change(&order, "state = 'CANCELLED', end_reason = 'buyer'").await;
    world.announce(&order, "CANCELLED").await;
    for watcher in [&mut watcher, &mut late] {
        let end = watcher.next().await.unwrap();
        assert_eq!((end.state(), end.end_reason.as_str()), (OrderState::Cancelled, "buyer"));
        assert_eq!(watcher.next().await, None);
    }
    // An ended order is sent once.
    let mut watcher = Watcher::start(&world, &order).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().state(), OrderState::Cancelled);
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn dead_letter_is_shown_as_placed() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let mut watcher = Watcher::start(&world, &order).await.unwrap();
    assert_eq!(watcher.next().await.unwrap(), order);
    let mut broken = world.placed_message(&order).await;
    (broken.buyer_id, broken.total_minor) = ("a?a".to_owned(), 0);
    broken.lines.clear();
    world.record(&broken, "DEAD_LETTER").await;
    world.announce(&order, "DEAD_LETTER").await;
    let seen = watcher.next().await.unwrap();
    let dead = Order { update_time: seen.update_time, ..order.clone() };
    assert_eq!(seen, Order { state: OrderState::DeadLetter.into(), ..dead });
    let ask = GetOrderRequest {
        sale_id: sale.to_string(),
        order_id: order.order_id.clone(),
        buyer_id: "ada".to_owned(),
    };
    let read = world.checkout.clone().get_order(ask.clone()).await.unwrap().into_inner();
    assert_eq!(read.order, Some(seen));
    let eve = GetOrderRequest { buyer_id: "eve".to_owned(), ..ask };
    let refused = world.checkout.clone().get_order(eve).await.unwrap_err();
    assert_failure(&refused, Reason::OrderNotFound);
}

#[tokio::test]
async fn sweep_finds_unannounced_change() {
    let world = world(|config| config.watch.sweep_ms = 30).await;
    let sale = world.sale(10).await;
    let order = world.recorded(&tee(sale, "ada"), "PAYING").await;
    let mut watcher = Watcher::start(&world, &order).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().state(), OrderState::Paying);
    world.change(&order, "state = 'ACTION_REQUIRED'").await;
    assert_eq!(watcher.next().await.unwrap().state(), OrderState::ActionRequired);
    world.change(&order, "state = 'CONFIRMED'").await;
    assert_eq!(watcher.next().await.unwrap().state(), OrderState::Confirmed);
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn announcements_resume_after_nats_outage() {
    let mut world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let order = world.recorded(&tee(sale, "ada"), "CLAIMED").await;
    let mut watcher = Watcher::start(&world, &order).await.unwrap();
    watcher.next().await.unwrap();
    world.nats.server.kill().await;
    world.nats.server.restart().await.unwrap();
    world.change(&order, "state = 'CONFIRMED'").await;
    let announcing = async {
        loop {
            world.announce(&order, "CONFIRMED").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let end = tokio::select! {
        end = watcher.next() => end,
        () = announcing => None,
    };
    assert_eq!(end.unwrap().state(), OrderState::Confirmed);
}

#[tokio::test]
async fn watchers_are_bounded() {
    let world = world(|config| config.watch.max_watchers = 3).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let other = world.order(&tee(sale, "bob")).await;
    // Each stream counts, also of the same order.
    let mut watchers = Vec::new();
    for _ in 0..3 {
        let mut watcher = Watcher::start(&world, &order).await.unwrap();
        watcher.next().await.unwrap();
        watchers.push(watcher);
    }
    for order in [&order, &other] {
        let Err(status) = Watcher::start(&world, order).await else { panic!("one too many") };
        let refused = assert_failure(&status, Reason::Overloaded);
        assert!(refused.delay().is_some());
        assert_eq!(refused.metadata()["max_watchers"], "3");
    }
    // Reading is not bounded, and a refused watch takes no place.
    world.get(sale, &other.order_id).await.unwrap();
    watchers.clear();
    for order in [&other, &order, &other] {
        let watcher =
            eventually("a leaver makes room", async || Watcher::start(&world, order).await.ok())
                .await;
        watchers.push(watcher);
    }
    assert!(Watcher::start(&world, &order).await.is_err());
    // An order's end frees a place, too.
    let message = world.placed_message(&order).await;
    world.record(&message, "CONFIRMED").await;
    world.announce(&order, "CONFIRMED").await;
    let last = eventually("an ended stream makes room", async || {
        Watcher::start(&world, &other).await.ok()
    })
    .await;
    drop(last);
}

#[tokio::test]
async fn refused_watch_leaves_no_trace() {
    let world = world(|config| config.watch.max_watchers = 1).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    for _ in 0..5 {
        let mut ask = watch(&order);
        ask.buyer_id = "eve".to_owned();
        let status = world.checkout.clone().watch_order(ask).await.unwrap_err();
        assert_failure(&status, Reason::OrderNotFound);
    }
    Watcher::start(&world, &order).await.unwrap();
}

#[tokio::test]
async fn slow_watcher_delays_no_others() {
    let world = world(|config| config.watch.max_watchers = 2).await;
    let items: Vec<String> = (0..50).map(|number| format!("{number:0>100}")).collect();
    let items: Vec<_> = items.iter().map(|sku| (sku.as_str(), 10, 0, 1)).collect();
    let sale = world.sale_with(crate::world::SaleSpec::default(), &items).await;
    let asked: Vec<_> = items.iter().map(|item| (item.0, 1)).collect();
    let order = world.recorded(&crate::world::place(sale, "ada", &asked), "PAYING").await;

    let lagging = Watcher::start(&world, &order).await.unwrap();
    let mut reading = Watcher::start(&world, &order).await.unwrap();
    reading.next().await.unwrap();
    // More than fits between the two: a connection's window is 64 KiB, and each state has 6 KiB.
    for step in 0..40 {
        world.change(&order, &format!("end_reason = 'step {step}'")).await;
        world.announce(&order, "PAYING").await;
        assert_eq!(reading.next().await.unwrap().end_reason, format!("step {step}"));
    }
    drop(lagging);
    let next = eventually("the one who left makes room", async || {
        Watcher::start(&world, &order).await.ok()
    })
    .await;
    drop(next);
    world.change(&order, "state = 'CONFIRMED'").await;
    world.announce(&order, "CONFIRMED").await;
    assert_eq!(reading.next().await.unwrap().state(), OrderState::Confirmed);
    assert_eq!(reading.next().await, None);
}

#[tokio::test]
async fn drain_ends_streams_and_service() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let mut watcher = Watcher::start(&world, &order).await.unwrap();
    watcher.next().await.unwrap();
    world.server.drain.start();
    assert_eq!(watcher.next().await, None);
    drop((watcher, world.checkout));
    let ended = tokio::time::timeout(Duration::from_secs(20), world.server.ended()).await;
    ended.expect("the service ends").unwrap();
}
