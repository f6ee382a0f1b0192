//! A buyer whose bank wants to know that it is them pays, by what WatchOrder says alone.

use flashsale_proto::checkout::{
    GetOrderRequest, ListOrdersRequest, Order, OrderState, PaymentActionKind, WatchOrderResponse,
    checkout_service_client::CheckoutServiceClient,
};
use nix::sys::signal::{Signal, kill};
use tonic::{Streaming, transport::Endpoint};

use crate::{
    command::{Flashsale, channel, keys},
    shopper::Shopper,
};

/// Takes an order's states until this one.
pub(crate) async fn follow(states: &mut Streaming<WatchOrderResponse>, until: OrderState) -> Order {
    loop {
        let state = states.message().await.unwrap().expect("a state before the end");
        let order = state.order.unwrap();
        if order.state() == until {
            return order;
        }
    }
}

#[tokio::test]
async fn an_authenticated_buyer_pays_by_what_the_order_says() {
    let mut up = Flashsale::start(&["up"]);
    up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let sale_id = about["sale_id"].as_str().unwrap();
    let mut shopper = Shopper::new(channel(&about).await, sale_id, "Ida");
    shopper.come_in().await;
    let placed = shopper.place(1, "pm_card_authenticationRequired").await.unwrap();
    let mut checkout = CheckoutServiceClient::new(shopper.channel.clone());
    let watch = shopper.buyer.watch(&placed.order_id);
    let mut states = checkout.watch_order(watch).await.unwrap().into_inner();

    let waiting = follow(&mut states, OrderState::ActionRequired).await;
    let action = waiting.payment_action.expect("what to do");
    assert_eq!(action.kind(), PaymentActionKind::Authenticate);
    assert!(action.client_secret.contains("_secret_"));
    let (placed_s, until_s) =
        (waiting.place_time.unwrap().seconds, action.expire_time.unwrap().seconds);
    assert!((850..1_000).contains(&(until_s - placed_s)), "{placed_s} to {until_s}");

    // No other request is told, whatever it may read: an operator's names no buyer.
    let endpoint = Endpoint::from_shared(about["grpc"].as_str().unwrap().to_owned()).unwrap();
    let channel = keys(&about).anyone_who_may(endpoint.connect().await.unwrap());
    let mut operator = CheckoutServiceClient::new(channel);
    let get = GetOrderRequest { buyer_id: String::new(), ..shopper.buyer.get(&placed.order_id) };
    let seen = operator.get_order(get).await.unwrap().into_inner().order.unwrap();
    assert_eq!((seen.state(), seen.payment_action), (OrderState::ActionRequired, None));
    let list = ListOrdersRequest {
        sale_id: sale_id.to_owned(),
        buyer_id: shopper.buyer.buyer_id.clone(),
        ..ListOrdersRequest::default()
    };
    let listed = checkout.list_orders(list).await.unwrap().into_inner().orders;
    assert!(listed.iter().all(|order| order.payment_action.is_none()) && !listed.is_empty());

    // The buyer goes where the order says, and their bank is satisfied.
    let visited = std::process::Command::new("curl")
        .args(["-fsS", "-o", "/dev/null", &action.redirect_url])
        .status()
        .unwrap();
    assert!(visited.success(), "{}", action.redirect_url);
    let paid = follow(&mut states, OrderState::Confirmed).await;
    assert_eq!(paid.payment_action, None);
    assert!(states.message().await.unwrap().is_none(), "a state after the end");

    // Neither what they need nor where they go is in any log of the platform's.
    let folder = about["folder"].as_str().unwrap();
    for secret in [&action.client_secret, &action.redirect_url] {
        let found = std::process::Command::new("grep")
            .args(["-rlF", "--include=*.log", secret, folder])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
}
