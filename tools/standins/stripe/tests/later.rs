//! What comes of a payment later on (docs.stripe.com/testing#refunds,
//! docs.stripe.com/testing#disputes): refunds that pend or fail, disputes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Bench, bench, until};
use serde_json::{Value, json};

/// A paid intent over 500 cents, and its charge.
async fn paid(bench: &Bench, method: &str) -> (String, String) {
    let id = bench.intent().await;
    let intent = bench.confirm(&id, method).await.json();
    assert_eq!(intent["status"], "succeeded", "{intent}");
    (id, intent["latest_charge"].as_str().unwrap().to_owned())
}

async fn refund(bench: &Bench, intent: &str) -> Value {
    let answer = bench.post("/v1/refunds", &format!("payment_intent={intent}")).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

async fn read(bench: &Bench, path: &str, id: &Value) -> Value {
    bench.get(&format!("{path}/{}", id.as_str().unwrap())).await.json()
}

#[tokio::test]
async fn pending_refund_succeeds_later() {
    let bench = bench(|_| {}).await;
    let (intent, charge) = paid(&bench, "pm_card_pendingRefund").await;
    let made = refund(&bench, &intent).await;
    assert_eq!(
        (&made["status"], &made["pending_reason"]),
        (&json!("pending"), &json!("processing"))
    );
    let charge = bench.get(&format!("/v1/charges/{charge}")).await.json();
    assert_eq!((&charge["amount_refunded"], &charge["refunded"]), (&json!(500), &json!(true)));

    bench.later().await;
    let after = read(&bench, "/v1/refunds", &made["id"]).await;
    assert_eq!((&after["status"], &after["pending_reason"]), (&json!("succeeded"), &json!(null)));
    assert_eq!(bench.logged("payment_intent.refunded").len(), 1);
    assert!(bench.logged("payment_intent.refund_failed").is_empty());
}

#[tokio::test]
async fn failed_refund_is_not_counted() {
    let bench = bench(|_| {}).await;
    let (intent, charge) = paid(&bench, "pm_card_refundFail").await;
    let made = refund(&bench, &intent).await;
    assert_eq!(made["status"], "succeeded", "at first");

    bench.later().await;
    let after = read(&bench, "/v1/refunds", &made["id"]).await;
    assert_eq!(after["status"], "failed");
    assert_eq!(after["failure_reason"], "expired_or_canceled_card");
    let of = bench.get(&format!("/v1/charges/{charge}")).await.json();
    assert_eq!((&of["amount_refunded"], &of["refunded"]), (&json!(0), &json!(false)));
    let state = bench.state().await;
    assert_eq!(state["money"]["refunded_minor"], json!({}));
    assert_eq!(state["money"]["refunds_failed"], 1);

    let lines = bench.logged("payment_intent.refund_failed");
    let line = &lines[0];
    assert_eq!(lines.len(), 1);
    let facts = ["payment_intent", "charge", "refund", "amount", "currency", "order_id"];
    let expected =
        [json!(intent), json!(charge), made["id"].clone(), json!(500), json!("usd"), json!("o-1")];
    for (name, value) in facts.iter().zip(expected) {
        assert_eq!(line[*name], value, "{name}");
    }
    assert_eq!((&line["request_id"], &line["idempotency_key"]), (&json!(null), &json!(null)));

    let again = refund(&bench, &intent).await;
    assert_eq!(again["amount"], 500, "it can be refunded again");
}

#[tokio::test]
async fn refund_ends_by_control() {
    let bench = bench(|_| {}).await;
    let (intent, _) = paid(&bench, "pm_card_pendingRefund").await;
    let made = refund(&bench, &intent).await;
    let path = format!("/refund/{}", made["id"].as_str().unwrap());
    let (succeeded, failed) = (r#"{"outcome":"succeeded"}"#, r#"{"outcome":"failed"}"#);
    // (outcome, status of the answer, status of the refund)
    let rows =
        [(succeeded, 200, "succeeded"), (succeeded, 400, "succeeded"), (failed, 200, "failed")];
    for (outcome, answered, status) in rows {
        assert_eq!(bench.control("POST", &path, outcome).await.status, answered, "{outcome}");
        assert_eq!(read(&bench, "/v1/refunds", &made["id"]).await["status"], status);
    }
    assert_eq!(bench.control("POST", &path, failed).await.status, 400);
    assert_eq!(bench.control("POST", "/refund/re_none", failed).await.status, 404);
    // Nothing is left to happen.
    bench.later().await;
    assert_eq!(read(&bench, "/v1/refunds", &made["id"]).await["status"], "failed");
    assert_eq!(bench.logged("payment_intent.refund_failed").len(), 1);
}

#[tokio::test]
async fn dispute_follows_the_payment() {
    // docs.stripe.com/api/disputes/object
    let bench = bench(|_| {}).await;
    for (outcome, refundable) in [("won", 200), ("lost", 400)] {
        let (intent, charge) = paid(&bench, "pm_card_createDispute").await;
        let path = format!("/v1/charges/{charge}");
        let control = format!("/dispute/{charge}");
        let close = format!(r#"{{"outcome":"{outcome}"}}"#);
        assert_eq!(bench.get(&path).await.json()["disputed"], false);
        assert_eq!(bench.control("POST", &control, &close).await.status, 404, "not yet disputed");

        bench.later().await;
        assert_eq!(bench.get(&path).await.json()["disputed"], true);
        let list = bench.get(&format!("/v1/disputes?payment_intent={intent}")).await.json();
        assert_eq!(list["data"].as_array().unwrap().len(), 1, "{list}");
        let dispute = &list["data"][0];
        let facts = ["object", "status", "reason", "amount", "charge", "livemode"];
        let expected = [
            json!("dispute"),
            json!("needs_response"),
            json!("fraudulent"),
            json!(500),
            json!(charge),
            json!(false),
        ];
        for (name, value) in facts.iter().zip(expected) {
            assert_eq!(dispute[*name], value, "{name}");
        }
        let body = format!("payment_intent={intent}");
        let refused = bench.post("/v1/refunds", &body).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "charge_disputed"));

        assert_eq!(bench.control("POST", &control, &close).await.status, 200);
        assert_eq!(read(&bench, "/v1/disputes", &dispute["id"]).await["status"], outcome);
        assert_eq!(bench.control("POST", &control, &close).await.status, 404, "only once");
        assert_eq!(bench.post("/v1/refunds", &body).await.status, refundable, "{outcome}");
        let line = bench.logged(&format!("payment_intent.dispute_{outcome}"))[0].clone();
        assert_eq!((&line["dispute"], &line["amount"]), (&dispute["id"], &json!(500)));
    }
    assert_eq!(bench.logged("payment_intent.disputed").len(), 2);
}

#[tokio::test]
async fn refunded_payment_is_not_disputed() {
    // docs.stripe.com/refunds
    let bench = bench(|_| {}).await;
    let (intent, charge) = paid(&bench, "pm_card_createDispute").await;
    refund(&bench, &intent).await;
    bench.later().await;
    assert_eq!(bench.get(&format!("/v1/charges/{charge}")).await.json()["disputed"], false);
    assert!(bench.logged("payment_intent.disputed").is_empty());
}

#[tokio::test]
async fn time_alone_ends_a_refund() {
    let bench = bench(|config| config.outcome_delay = Duration::ZERO).await;
    let (intent, _) = paid(&bench, "pm_card_pendingRefund").await;
    let made = refund(&bench, &intent).await;
    until("the refund succeeds", async || {
        read(&bench, "/v1/refunds", &made["id"]).await["status"] == "succeeded"
    })
    .await;
}
