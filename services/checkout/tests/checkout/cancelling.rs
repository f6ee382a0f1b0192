//! Cancelling: the request goes through the queue once, and its caller learns the result.

use std::time::Duration;

use flashsale_errors::Reason;
use flashsale_proto::checkout::{CancelOrderRequest, Order, OrderState};
use flashsale_queue::CancelTarget;
use flashsale_testbed::eventually;
use tonic::Request;

use crate::world::{World, cancel, failure, id, tee, world};

/// Cancels with a short deadline: nothing records the result.
async fn cancel_soon(world: &World, ask: &CancelOrderRequest) -> Order {
    let mut request = Request::new(ask.clone());
    request.set_timeout(Duration::from_millis(700));
    let answer = world.checkout.clone().cancel_order(request).await;
    answer.unwrap().into_inner().order.unwrap()
}

async fn cancellation_queued(world: &World) {
    eventually("the cancellation is queued", async || {
        (world.cancels().await.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cancellation_of_queued_order_carries_it_once() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let ask = cancel(&order);
    let pending = cancel_soon(&world, &ask).await;
    assert_eq!(pending, Order { cancel_requested: true, ..order.clone() });
    // The same request again, and another one about the same order: one message is enough.
    cancel_soon(&world, &ask).await;
    cancel_soon(&world, &CancelOrderRequest { request_id: id(), ..ask }).await;
    assert_eq!(world.cancels().await, [world.placed_message(&order).await.into()]);
    assert_eq!(world.queued().await.len(), 2);
    // Its units are released by the service that records the end, not here.
    assert_eq!(world.books(sale).await, [9, 0, 1, 0]);
}

#[tokio::test]
async fn cancel_returns_recorded_end() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let message = world.placed_message(&order).await;
    let ask = cancel(&order);
    let recording = async {
        cancellation_queued(&world).await;
        world.record(&message, "CANCELLED").await;
        world.change(&order, "end_reason = 'buyer'").await;
        world.announce(&order, "CANCELLED").await;
    };
    let (cancelled, ()) = tokio::join!(world.cancel(&ask), recording);
    let cancelled = cancelled.unwrap();
    assert_eq!(cancelled.state(), OrderState::Cancelled);
    assert_eq!(cancelled.end_reason, "buyer");
    // Cancelling a cancelled order changes nothing and succeeds.
    let before = world.snapshot().await;
    assert_eq!(world.cancel(&ask).await.unwrap(), cancelled);
    let another = CancelOrderRequest { request_id: id(), ..ask };
    assert_eq!(world.cancel(&another).await.unwrap(), cancelled);
    assert_eq!(world.snapshot().await, before);
}

#[tokio::test]
async fn recorded_order_keeps_state_while_chargeable() {
    for state in [OrderState::Claimed, OrderState::Paying, OrderState::ActionRequired] {
        let world = world(|_| {}).await;
        let sale = world.sale(10).await;
        let name = state.as_str_name().trim_start_matches("ORDER_STATE_");
        let order = world.recorded(&tee(sale, "ada"), name).await;
        let ask = cancel(&order);
        let recording = async {
            cancellation_queued(&world).await;
            world.change(&order, "cancel_requested_at = now()").await;
            world.announce(&order, name).await;
        };
        let (answer, ()) = tokio::join!(world.cancel(&ask), recording);
        let answer = answer.unwrap();
        assert_eq!((answer.state(), answer.cancel_requested), (state, true));
        // It names the order, and repeats nothing that is recorded.
        let cancellation = world.cancels().await.remove(0);
        let CancelTarget::Recorded(named) = cancellation else { panic!("{cancellation:?}") };
        assert_eq!(named.order_id.to_string(), order.order_id);
        let before = world.snapshot().await;
        assert_eq!(world.cancel(&ask).await.unwrap(), answer);
        assert_eq!(world.snapshot().await, before);
    }
}

#[tokio::test]
async fn cancel_returns_faster_payment() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let order = world.recorded(&tee(sale, "ada"), "PAYING").await;
    let ask = cancel(&order);
    let recording = async {
        cancellation_queued(&world).await;
        world.change(&order, "state = 'CONFIRMED'").await;
        world.announce(&order, "CONFIRMED").await;
    };
    let (answer, ()) = tokio::join!(world.cancel(&ask), recording);
    assert_eq!(answer.unwrap().state(), OrderState::Confirmed);
    let refused = failure(world.cancel(&ask).await).unwrap_err();
    assert_eq!(refused.reason(), Reason::OrderNotCancellable);
    assert_eq!(refused.metadata()["state"], "CONFIRMED");
}

#[tokio::test]
async fn unacked_cancellation_takes_effect_once() {
    let world = world(|config| config.nats.publish_timeout_ms = 300).await;
    let sale = world.sale(10).await;
    let order = world.order(&tee(sale, "ada")).await;
    let ask = cancel(&order);
    world.nats.server.pause();
    let refused = failure(world.cancel(&ask).await).unwrap_err();
    world.nats.server.resume();
    assert_eq!(refused.reason(), Reason::StoreUnavailable);
    assert!(refused.delay().is_some());
    // It was stored nevertheless; the retry adds nothing.
    cancellation_queued(&world).await;
    assert!(cancel_soon(&world, &ask).await.cancel_requested);
    assert_eq!(world.cancels().await.len(), 1);
}

#[tokio::test]
async fn cancel_works_at_watcher_bound() {
    let world = world(|config| config.watch.max_watchers = 1).await;
    let sale = world.sale(10).await;
    let watched = world.order(&tee(sale, "ada")).await;
    let ask = crate::world::watch(&watched);
    let _watcher = world.checkout.clone().watch_order(ask).await.unwrap();
    let order = world.order(&tee(sale, "bob")).await;
    assert!(cancel_soon(&world, &cancel(&order)).await.cancel_requested);
}
