//! A buyer whose card is refused pays with another one, by what WatchOrder says alone.

use flashsale_proto::checkout::{
    OrderState, PaymentActionKind, checkout_service_client::CheckoutServiceClient,
};
use nix::sys::signal::{Signal, kill};
use uuid::Uuid;

use crate::{
    command::{Flashsale, channel},
    shopper::Shopper,
    three_d_secure::follow,
};

#[tokio::test]
async fn a_second_card_pays_by_what_the_order_says() {
    let mut up = Flashsale::start(&["up"]);
    up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let sale_id = about["sale_id"].as_str().unwrap();
    let mut shopper = Shopper::new(channel(&about).await, sale_id, "Ida");
    shopper.come_in().await;
    let bad_card = "pm_card_visa_chargeDeclinedInsufficientFunds";
    let placed = shopper.place(1, bad_card).await.unwrap();
    let mut checkout = CheckoutServiceClient::new(shopper.channel.clone());
    let watch = shopper.buyer.watch(&placed.order_id);
    let mut states = checkout.watch_order(watch).await.unwrap().into_inner();

    let waiting = follow(&mut states, OrderState::ActionRequired).await;
    let action = waiting.payment_action.expect("what to do");
    assert_eq!(action.kind(), PaymentActionKind::NewMethod);
    assert_eq!(action.decline_code, "insufficient_funds");
    assert!(action.expire_time.is_some());

    let retry = shopper.buyer.retry_payment(Uuid::new_v4(), &placed.order_id, "pm_card_visa");
    for _ in 0..2 {
        // Sent twice, as after an answer that was lost: one card, one charge.
        checkout.retry_payment(retry.clone()).await.unwrap();
    }
    let paid = follow(&mut states, OrderState::Confirmed).await;
    assert_eq!(paid.payment_action, None);
    assert!(states.message().await.unwrap().is_none(), "a state after the end");

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
}
