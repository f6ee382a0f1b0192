//! Confirmation tokens (docs.stripe.com/api/confirmation_tokens,
//! docs.stripe.com/payments/finalize-payments-on-the-server), over raw HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Answer, Bench, bench};
use serde_json::{Value, json};

const MAKE: &str = "/v1/test_helpers/confirmation_tokens";

async fn token(bench: &Bench, body: &str) -> String {
    let made = bench.post(MAKE, body).await;
    assert_eq!(made.status, 200, "{}", made.json());
    made.id()
}

async fn confirm(bench: &Bench, intent: &str, body: &str) -> Answer {
    bench.post(&format!("/v1/payment_intents/{intent}/confirm"), body).await
}

async fn read(bench: &Bench, token: &str) -> Value {
    bench.get(&format!("/v1/confirmation_tokens/{token}")).await.json()
}

fn refused(answer: &Answer, code: &str) {
    let error = answer.json()["error"].clone();
    assert_eq!(answer.status, 400, "{error}");
    assert_eq!(error["type"], "invalid_request_error", "{error}");
    assert_eq!(error["param"], "confirmation_token", "{error}");
    assert_eq!(error["code"].as_str().unwrap_or_default(), code, "{error}");
}

#[tokio::test]
async fn token_confirms_one_intent() {
    // docs.stripe.com/api/confirmation_tokens/object
    let bench = bench(|_| {}).await;
    let id = token(&bench, "payment_method=pm_card_visa").await;
    assert!(id.starts_with("ctoken_"), "{id}");
    let fresh = read(&bench, &id).await;
    assert_eq!(fresh["object"], "confirmation_token");
    assert_eq!((&fresh["payment_intent"], &fresh["livemode"]), (&json!(null), &json!(false)));
    assert_eq!(fresh["payment_method_preview"]["card"]["last4"], "4242");
    assert_eq!(fresh["payment_method_preview"]["id"], json!(null));

    let (first, second) = (bench.intent().await, bench.intent().await);
    let body = format!("confirmation_token={id}");
    let paid = confirm(&bench, &first, &body).await;
    assert_eq!((paid.status, &paid.json()["status"]), (200, &json!("succeeded")));
    assert!(paid.json()["payment_method"].as_str().unwrap().starts_with("pm_"));
    assert_eq!(read(&bench, &id).await["payment_intent"], json!(first));

    refused(&confirm(&bench, &second, &body).await, "");
    refused(&confirm(&bench, &second, "confirmation_token=ctoken_none").await, "resource_missing");
    assert_eq!(bench.status(&second).await, "requires_payment_method");
    assert_eq!(bench.get("/v1/confirmation_tokens/ctoken_none").await.status, 404);
    assert_eq!(bench.logged("payment_intent.captured").len(), 1);
}

#[tokio::test]
async fn declined_token_is_used_up() {
    let bench = bench(|_| {}).await;
    let intent = bench.intent().await;
    let id = token(&bench, "payment_method=pm_card_visa_chargeDeclined").await;
    let body = format!("confirmation_token={id}");
    let declined = confirm(&bench, &intent, &body).await;
    assert_eq!((declined.status, declined.code().as_str()), (402, "card_declined"));
    refused(&confirm(&bench, &intent, &body).await, "");
    let other = token(&bench, "payment_method=pm_card_mastercard").await;
    let paid = confirm(&bench, &intent, &format!("confirmation_token={other}")).await;
    assert_eq!(paid.status, 200, "{}", paid.json());
}

#[tokio::test]
async fn refused_confirmation_leaves_token_usable() {
    let bench = bench(|_| {}).await;
    let (paid, open) = (bench.paid().await, bench.intent().await);
    let id = token(&bench, "payment_method=pm_card_visa").await;
    let body = format!("confirmation_token={id}");
    let answer = confirm(&bench, &paid, &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "payment_intent_unexpected_state"));
    assert_eq!(confirm(&bench, &open, &body).await.status, 200);
}

#[tokio::test]
async fn same_key_replays_the_use_of_a_token() {
    let bench = bench(|_| {}).await;
    let intent = bench.intent().await;
    let id = token(&bench, "payment_method=pm_card_visa").await;
    let path = format!("/v1/payment_intents/{intent}/confirm");
    let body = format!("confirmation_token={id}");
    let first = bench.post_with_key(&path, "k", &body).await;
    let again = bench.post_with_key(&path, "k", &body).await;
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
}

#[tokio::test]
async fn token_carries_the_return_url() {
    let bench = bench(|_| {}).await;
    let body = "payment_method=pm_card_authenticationRequired\
                &return_url=https://shop.example/from-token&setup_future_usage=off_session";
    let id = token(&bench, body).await;
    assert_eq!(read(&bench, &id).await["setup_future_usage"], "off_session");
    // Redirects are possible, so that a return URL is needed.
    let intent = bench.post("/v1/payment_intents", "amount=500&currency=usd").await.id();
    let waits = confirm(&bench, &intent, &format!("confirmation_token={id}")).await.json();
    let back = &waits["next_action"]["redirect_to_url"]["return_url"];
    assert_eq!(back, "https://shop.example/from-token", "{waits}");
}

#[tokio::test]
async fn request_takes_precedence_over_token() {
    // docs.stripe.com/api/payment_intents/confirm, confirmation_token
    let bench = bench(|_| {}).await;
    let intent = bench.intent().await;
    let id = token(&bench, "payment_method=pm_card_visa_chargeDeclined").await;
    let body = format!("confirmation_token={id}&payment_method=pm_card_visa");
    assert_eq!(confirm(&bench, &intent, &body).await.json()["status"], "succeeded");
}

#[tokio::test]
async fn token_confirms_at_creation() {
    let bench = bench(|_| {}).await;
    let id = token(&bench, "payment_method=pm_card_visa").await;
    let body = format!(
        "amount=500&currency=usd&allowed_payment_method_types[]=card&confirmation_token={id}"
    );
    refused(&bench.post("/v1/payment_intents", &body).await, "");
    let body = format!("{body}&confirm=true");
    let paid = bench.post("/v1/payment_intents", &body).await;
    assert_eq!((paid.status, &paid.json()["status"]), (200, &json!("succeeded")));
    refused(&bench.post("/v1/payment_intents", &body).await, "");
    assert_eq!(bench.state().await["payment_intents"]["total"], 1, "nothing else was created");
}

#[tokio::test]
async fn token_expires_after_twelve_hours() {
    let bench = bench(|_| {}).await;
    let intent = bench.intent().await;
    let id = token(&bench, "payment_method=pm_card_visa").await;
    let made = read(&bench, &id).await;
    let lasts = made["expires_at"].as_i64().unwrap() - made["created"].as_i64().unwrap();
    assert_eq!(lasts, 12 * 60 * 60);
    bench.control("POST", "/clock", r#"{"advance_ms":43200000}"#).await;
    refused(&confirm(&bench, &intent, &format!("confirmation_token={id}")).await, "");
}

#[tokio::test]
async fn bad_token_parameters_are_refused_by_name() {
    // docs.stripe.com/api/confirmation_tokens/test_create
    let bench = bench(|_| {}).await;
    let rows = [
        ("", "parameter_missing", "payment_method"),
        ("payment_method=pm_card_nonsense", "resource_missing", "payment_method"),
        ("payment_method=pm_card_visa&nonsense=1", "parameter_unknown", "nonsense"),
        ("payment_method=pm_card_visa&setup_future_usage=x", "", "setup_future_usage"),
    ];
    for (body, code, param) in rows {
        let answer = bench.post(MAKE, body).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["param"]), (400, &json!(param)), "{body}: {error}");
        assert_eq!(error["code"].as_str().unwrap_or_default(), code, "{body}");
    }
}
