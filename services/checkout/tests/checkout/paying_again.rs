//! Paying with another card: payment decides, and its answers pass unchanged.

use std::sync::{Arc, Mutex};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    checkout::{Order, OrderState, PaymentActionKind, RetryPaymentRequest},
    payment::{RetryPaymentRequest as Asked, RetryPaymentResponse},
};
use flashsale_service::{Drain, Hosted};
use flashsale_testbed::{
    assert_failure,
    fakes::payment::payment_service_server::{PaymentService, PaymentServiceServer},
    serve,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::world::{World, id, tee, world};

/// The card that payment refuses to try.
const UNWANTED: &str = "pm_unwanted";

/// Payment, which keeps what it is asked.
#[derive(Clone, Default)]
struct Payment(Arc<Mutex<Vec<Asked>>>);

#[tonic::async_trait]
impl PaymentService for Payment {
    async fn retry_payment(
        &self,
        request: Request<Asked>,
    ) -> Result<Response<RetryPaymentResponse>, Status> {
        let asked = request.into_inner();
        if asked.payment_method == UNWANTED {
            let failure = Failure::new(Reason::PaymentRetryClosed, "it waits for no other card");
            return Err(failure.with("state", "PROCESSING").into());
        }
        self.0.lock().unwrap().push(asked);
        Ok(Response::new(RetryPaymentResponse::default()))
    }
}

async fn with_payment() -> (World, Payment) {
    let payment = Payment::default();
    let server = PaymentServiceServer::new(payment.clone());
    let server = serve(Hosted::new().grpc(server), Drain::new()).await;
    let url = server.grpc_url.clone();
    let world = world(|config| config.peers.payment.url = url).await;
    // It serves for as long as the test runs.
    std::mem::forget(server);
    (world, payment)
}

fn retry(order: &Order) -> RetryPaymentRequest {
    RetryPaymentRequest {
        request_id: id(),
        sale_id: order.sale_id.clone(),
        order_id: order.order_id.clone(),
        buyer_id: order.buyer_id.clone(),
        payment_method: "pm_card_visa".to_owned(),
    }
}

/// An order whose last card was refused.
async fn refused(world: &World, sale: Uuid) -> Order {
    let order = world.recorded(&tee(sale, "ada"), "ACTION_REQUIRED").await;
    sqlx::query(
        "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method,
            action, client_secret, turn_until, decline_code)
         VALUES ($1, $2, 'REQUIRES_ACTION', 'EUR', 1999, 'pm', 'NEW_METHOD', 'pi_1_secret_2', now(), 'lost_card')",
    )
    .bind(order.order_id.parse::<Uuid>().unwrap())
    .bind(sale)
    .execute(&world.pg.pool)
    .await
    .unwrap();
    order
}

#[tokio::test]
async fn another_card_goes_to_payment() {
    let (world, payment) = with_payment().await;
    let sale = world.sale(10).await;
    let order = refused(&world, sale).await;
    let ask = retry(&order);
    let answer = world.checkout.clone().retry_payment(ask.clone()).await.unwrap().into_inner();
    let action = answer.order.unwrap().payment_action.unwrap();
    assert_eq!(action.kind(), PaymentActionKind::NewMethod);
    assert_eq!(
        (action.decline_code.as_str(), action.client_secret.as_str()),
        ("lost_card", "pi_1_secret_2")
    );
    let asked = payment.0.lock().unwrap().clone();
    let expected = Asked {
        request_id: ask.request_id,
        order_id: ask.order_id,
        payment_method: ask.payment_method,
    };
    assert_eq!(asked, [expected]);
}

#[tokio::test]
async fn each_bad_retry_is_refused() {
    let (world, payment) = with_payment().await;
    let sale = world.sale(10).await;
    let order = refused(&world, sale).await;
    let fresh = world.order(&tee(sale, "bea")).await;
    assert_eq!(fresh.state(), OrderState::Accepted);
    let before = world.snapshot().await;
    type Spoil<'a> = &'a dyn Fn(&mut RetryPaymentRequest);
    let cases: [(&str, Spoil<'_>, Reason, &str); 10] = [
        ("no request id", &|r| r.request_id.clear(), Reason::RequestIdInvalid, "request_id"),
        ("no sale", &|r| r.sale_id.clear(), Reason::ArgumentInvalid, "sale_id"),
        ("no order", &|r| r.order_id.clear(), Reason::ArgumentInvalid, "order_id"),
        ("no buyer", &|r| r.buyer_id.clear(), Reason::BuyerUnproven, "buyer_id"),
        ("no card", &|r| r.payment_method.clear(), Reason::ArgumentInvalid, "payment_method"),
        (
            "a card number",
            &|r| r.payment_method = "4242424242424242".to_owned(),
            Reason::ArgumentInvalid,
            "payment_method",
        ),
        ("another buyer", &|r| r.buyer_id = "eve".to_owned(), Reason::OrderNotFound, ""),
        ("another sale", &|r| r.sale_id = id(), Reason::OrderNotFound, ""),
        (
            "an order that is not charged yet",
            &|r| {
                r.order_id = fresh.order_id.clone();
                r.buyer_id = fresh.buyer_id.clone();
            },
            Reason::PaymentRetryClosed,
            "",
        ),
        (
            "payment's own refusal",
            &|r| r.payment_method = UNWANTED.to_owned(),
            Reason::PaymentRetryClosed,
            "",
        ),
    ];
    for (what, spoil, reason, field) in cases {
        let mut ask = retry(&order);
        spoil(&mut ask);
        let status = world.checkout.clone().retry_payment(ask).await.expect_err(what);
        let failure = assert_failure(&status, reason);
        let named = failure.violations().first().map_or("", |first| first.field.as_str());
        assert_eq!(named, field, "{what}");
        assert_eq!(world.snapshot().await, before, "{what} changed something");
    }
    assert!(payment.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_payment_that_is_away_is_said_so() {
    let world = world(|config| config.peers.payment.url = "http://127.0.0.1:1".to_owned()).await;
    let sale = world.sale(10).await;
    let order = refused(&world, sale).await;
    let status = world.checkout.clone().retry_payment(retry(&order)).await.unwrap_err();
    assert_failure(&status, Reason::PeerUnavailable);
}
