//! The requests and deserialisers of a client library against the stand-in.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fmt::Display;
use std::net::SocketAddr;

use bytes::Bytes;
use common::{AUTH, Bench, bench, exchange, request};
use stripe_client_core::{
    CustomizedStripeRequest, RequestStrategy, StripeClient, StripeClientErr, StripeMethod,
    StripeRequest as _,
};
use stripe_core::payment_intent::{
    CancelPaymentIntent, ConfirmPaymentIntent, CreatePaymentIntent, ListPaymentIntent,
    RetrievePaymentIntent,
};
use stripe_core::refund::{CreateRefund, ListRefund};
use stripe_shared::{
    ApiErrors, ApiErrorsCode, ApiErrorsType, Charge, Dispute, DisputeStatus,
    PaymentIntentAllowedPaymentMethodTypes, PaymentIntentId, PaymentIntentStatus,
};
use stripe_types::{Currency, List};

struct Client {
    addr: SocketAddr,
}

#[derive(Debug)]
enum Failure {
    Api(Box<ApiErrors>),
    #[allow(dead_code, reason = "read by Debug, when a test fails")]
    Unreadable(String),
}

impl StripeClientErr for Failure {
    fn deserialize_err(msg: impl Display) -> Self {
        Self::Unreadable(msg.to_string())
    }
}

impl StripeClient for Client {
    type Err = Failure;

    async fn execute(&self, req: CustomizedStripeRequest) -> Result<Bytes, Failure> {
        let (built, config) = req.into_pieces();
        let method = match built.method {
            StripeMethod::Get => "GET",
            StripeMethod::Post => "POST",
            StripeMethod::Delete => "DELETE",
        };
        let query = built.query.map(|query| format!("?{query}")).unwrap_or_default();
        let path = format!("/v1{}{query}", built.path);
        let version = stripe_client_core::VERSION.to_string();
        let mut headers = vec![AUTH, ("Stripe-Version", version.as_str())];
        let key = match &config.request_strategy {
            Some(RequestStrategy::Idempotent(key)) => key.as_str().to_owned(),
            _ => String::new(),
        };
        if !key.is_empty() {
            headers.push(("Idempotency-Key", &key));
        }
        let body = built.body.unwrap_or_default();
        let raw = request(method, &path, &headers, &body);
        let answer = exchange(self.addr, &raw).await.unwrap();
        if answer.status == 200 {
            return Ok(Bytes::from(answer.body));
        }
        let error: stripe_shared::Error =
            miniserde::json::from_str(str::from_utf8(&answer.body).unwrap())
                .unwrap_or_else(|error| panic!("{error}: {}", answer.json()));
        Err(Failure::Api(error.error))
    }
}

fn create() -> CreatePaymentIntent {
    CreatePaymentIntent::new(1999, Currency::EUR)
        .allowed_payment_method_types(vec![PaymentIntentAllowedPaymentMethodTypes::Card])
        .metadata([("order_id".to_owned(), "o-9".to_owned())])
}

fn client(bench: &Bench) -> Client {
    Client { addr: bench.addr() }
}

#[tokio::test]
async fn library_pays_and_refunds() {
    let bench = bench(|_| {}).await;
    let client = client(&bench);
    let key = stripe_client_core::IdempotencyKey::new("create-o-9").unwrap();
    let idempotent = || RequestStrategy::Idempotent(key.clone());
    let made = create().customize().request_strategy(idempotent()).send(&client).await.unwrap();
    let replayed = create().customize().request_strategy(idempotent()).send(&client).await.unwrap();
    assert_eq!(made.id, replayed.id);
    assert_eq!(made.status, PaymentIntentStatus::RequiresPaymentMethod);
    assert_eq!(made.metadata["order_id"], "o-9");
    assert_eq!((made.amount, made.currency), (1999, Currency::EUR));

    let paid = ConfirmPaymentIntent::new(made.id.clone())
        .payment_method("pm_card_visa")
        .send(&client)
        .await
        .unwrap();
    assert_eq!(paid.status, PaymentIntentStatus::Succeeded);
    assert_eq!(paid.amount_received, 1999);
    let read = RetrievePaymentIntent::new(made.id.clone()).send(&client).await.unwrap();
    assert_eq!(read.latest_charge.unwrap().id(), paid.latest_charge.unwrap().id());

    let list = ListPaymentIntent::new().limit(10).send(&client).await.unwrap();
    assert_eq!((list.data.len(), list.has_more), (1, false));

    let refund = CreateRefund::new().payment_intent(made.id.as_str());
    let refund = refund.send(&client).await.unwrap();
    assert_eq!((refund.amount, refund.status.as_deref()), (1999, Some("succeeded")));
    let refunds = ListRefund::new().payment_intent(made.id.as_str()).send(&client).await.unwrap();
    assert_eq!(refunds.data[0].id, refund.id);

    let whole = RetrievePaymentIntent::new(made.id.clone())
        .expand(vec!["latest_charge".to_owned()])
        .send(&client)
        .await
        .unwrap();
    let charge = whole.latest_charge.unwrap().into_object().expect("the charge, not its id");
    assert_eq!((charge.amount_captured, charge.amount_refunded), (1999, 1999));

    let raw = bench.get(&format!("/v1/charges?payment_intent={}", made.id)).await;
    let charges: List<Charge> =
        miniserde::json::from_str(str::from_utf8(&raw.body).unwrap()).unwrap();
    assert!(charges.data[0].refunded);
}

#[tokio::test]
async fn library_reads_every_intent_state() {
    let bench = bench(|_| {}).await;
    let client = client(&bench);
    let made = create().send(&client).await.unwrap();
    let confirm = |method: &str| ConfirmPaymentIntent::new(made.id.clone()).payment_method(method);

    let declined = confirm("pm_card_visa_chargeDeclinedInsufficientFunds").send(&client).await;
    let Err(Failure::Api(error)) = declined else { panic!("{declined:?}") };
    assert_eq!(error.type_, ApiErrorsType::CardError);
    assert_eq!(error.code, Some(ApiErrorsCode::CardDeclined));
    assert_eq!(error.decline_code.as_deref(), Some("insufficient_funds"));
    let intent = error.payment_intent.unwrap();
    assert_eq!(intent.status, PaymentIntentStatus::RequiresPaymentMethod);
    assert_eq!(intent.last_payment_error.unwrap().code, Some(ApiErrorsCode::CardDeclined));

    let read = RetrievePaymentIntent::new(made.id.clone()).send(&client).await.unwrap();
    assert_eq!(
        read.last_payment_error.unwrap().payment_method.unwrap().card.unwrap().last4,
        "9995"
    );

    let waits = confirm("pm_card_authenticationRequired").send(&client).await.unwrap();
    assert_eq!(waits.status, PaymentIntentStatus::RequiresAction);
    assert_eq!(waits.next_action.unwrap().type_, "use_stripe_sdk");

    let ended = CancelPaymentIntent::new(made.id.clone()).send(&client).await.unwrap();
    assert_eq!(ended.status, PaymentIntentStatus::Canceled);
    let refused = confirm("pm_card_visa").send(&client).await;
    let Err(Failure::Api(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code, Some(ApiErrorsCode::PaymentIntentUnexpectedState));
    assert_eq!(error.payment_intent.unwrap().id, made.id);

    let absent = RetrievePaymentIntent::new("pi_none").send(&client).await;
    let Err(Failure::Api(error)) = absent else { panic!("{absent:?}") };
    assert_eq!(error.code, Some(ApiErrorsCode::ResourceMissing));

    let bank = create().send(&client).await.unwrap();
    let slow = ConfirmPaymentIntent::new(bank.id.clone())
        .payment_method("pm_usBankAccount_processing")
        .send(&client)
        .await
        .unwrap();
    assert_eq!(slow.status, PaymentIntentStatus::Processing);
}

#[tokio::test]
async fn library_reads_disputes_and_failed_refunds() {
    let bench = bench(|_| {}).await;
    let client = client(&bench);
    let confirm = async |id: &PaymentIntentId, method: &str| {
        let confirm = ConfirmPaymentIntent::new(id.clone()).payment_method(method);
        confirm.send(&client).await.unwrap();
    };
    let failing = create().send(&client).await.unwrap();
    confirm(&failing.id, "pm_card_refundFail").await;
    CreateRefund::new().payment_intent(failing.id.as_str()).send(&client).await.unwrap();
    let disputed = create().send(&client).await.unwrap();
    confirm(&disputed.id, "pm_card_createDispute").await;
    bench.later().await;

    let refunds = ListRefund::new().send(&client).await.unwrap();
    assert_eq!(refunds.data[0].status.as_deref(), Some("failed"));
    assert_eq!(refunds.data[0].failure_reason.as_deref(), Some("expired_or_canceled_card"));
    let raw = bench.get("/v1/disputes").await;
    let disputes: List<Dispute> =
        miniserde::json::from_str(str::from_utf8(&raw.body).unwrap()).unwrap();
    assert_eq!(
        (disputes.data[0].amount, &disputes.data[0].status),
        (1999, &DisputeStatus::NeedsResponse)
    );
}
