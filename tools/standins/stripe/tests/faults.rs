//! Faults before and after the effect (docs.stripe.com/error-low-level#network-errors: the
//! outcome is unknown to the client; the same key settles it).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::bench;
use serde_json::json;

#[tokio::test]
async fn same_key_settles_a_lost_exchange() {
    let bench = bench(|_| {}).await;
    // (fault, the effect happened, what a retry with the key says of it)
    let rows = [
        ("reset_before", false, None),
        ("reset_after", true, Some("true")),
        ("html_502_before", false, None),
        ("html_502_after", true, Some("true")),
        ("hang_before", false, None),
        ("hang_after", true, Some("true")),
    ];
    for (kind, happened, replayed) in rows {
        let id = bench.intent().await;
        let path = format!("/v1/payment_intents/{id}/confirm");
        let body = "payment_method=pm_card_visa";
        bench.fault(&format!(r#"{{"endpoint":"*/confirm","kind":"{kind}","count":1}}"#)).await;
        let attempt = bench.try_post(&path, Some(kind), body);
        // A fault that hangs is waited for briefly, to see that no answer comes.
        let patience = match kind.starts_with("hang") {
            true => Duration::from_millis(500),
            false => common::BOUND,
        };
        match tokio::time::timeout(patience, attempt).await {
            Err(_) => assert!(kind.starts_with("hang"), "{kind} did not answer"),
            Ok(Err(error)) => {
                assert!(kind.starts_with("reset"), "{kind}: {error}");
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{kind}");
            }
            Ok(Ok(answer)) => {
                assert!(kind.starts_with("html"), "{kind}: {}", answer.status);
                assert_eq!(answer.status, 502);
                assert_eq!(answer.header("content-type"), Some("text/html"));
                assert!(answer.body.starts_with(b"<html>"));
            }
        }
        let status = if happened { "succeeded" } else { "requires_payment_method" };
        assert_eq!(bench.status(&id).await, status, "{kind}");
        let retry = bench.post_with_key(&path, kind, body).await;
        assert_eq!(retry.status, 200, "{kind}: {}", retry.json());
        assert_eq!(retry.header("idempotent-replayed"), replayed, "{kind}");
        assert_eq!(bench.status(&id).await, "succeeded", "{kind}");
    }
    assert_eq!(bench.logged("payment_intent.captured").len(), rows.len());
    let state = bench.state().await;
    assert_eq!(state["money"]["captures"], json!(rows.len()));
    assert_eq!(state["money"]["captured_minor"]["usd"], json!(500 * rows.len()));
    assert_eq!(state["faults"]["struck"]["reset_after"], 1);
}

#[tokio::test]
async fn faults_are_aimed_and_counted() {
    let bench = bench(|_| {}).await;
    bench.fault(r#"{"endpoint":"POST /v1/refunds","kind":"error_500"}"#).await;
    let id = bench.paid().await;
    for _ in 0..3 {
        let answer = bench.post("/v1/refunds", &format!("payment_intent={id}")).await;
        assert_eq!(answer.status, 500);
    }
    assert_eq!(bench.control("DELETE", "/faults", "").await.json()["faults"], json!([]));
    assert_eq!(bench.post("/v1/refunds", &format!("payment_intent={id}")).await.status, 200);

    bench.fault(r#"{"endpoint":"GET *","kind":"html_502_before","probability":0.0}"#).await;
    assert_eq!(bench.get("/v1/payment_intents").await.status, 200);
}

/// Refusals that leave nothing behind: the same key then works.
#[tokio::test]
async fn refusals_leave_nothing_behind() {
    let bench = bench(|_| {}).await;
    let rows = [
        ("conflict_409", 409, "idempotency_key_in_use", None),
        ("lock_timeout_429", 429, "lock_timeout", None),
        ("rate_limit_429", 429, "rate_limit", Some("endpoint-rate")),
        ("unauthorized_401", 401, "", None),
        ("parameter_unknown_400", 400, "parameter_unknown", None),
    ];
    for (kind, status, code, reason) in rows {
        let id = bench.intent().await;
        let path = format!("/v1/payment_intents/{id}/confirm");
        let body = "payment_method=pm_card_visa";
        bench.fault(&format!(r#"{{"endpoint":"*/confirm","kind":"{kind}","count":1}}"#)).await;
        let answer = bench.post_with_key(&path, kind, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{kind}");
        assert_eq!(answer.header("stripe-rate-limited-reason"), reason, "{kind}");
        assert_eq!(bench.status(&id).await, "requires_payment_method", "{kind}");
        let retry = bench.post_with_key(&path, kind, body).await;
        assert_eq!((retry.status, retry.header("idempotent-replayed")), (200, None), "{kind}");
    }
    assert_eq!(bench.logged("payment_intent.captured").len(), rows.len());
}

#[tokio::test]
async fn refusal_of_the_execution_is_saved() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    let body = "payment_method=pm_card_visa";
    bench.fault(r#"{"endpoint":"*/confirm","kind":"refused_400","count":1}"#).await;
    for replayed in [None, Some("true")] {
        let answer = bench.post_with_key(&path, "key", body).await;
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (400, replayed));
    }
    assert_eq!(bench.post_with_key(&path, "other", body).await.status, 200);
}

#[tokio::test]
async fn unreadable_answer_is_saved_whole() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    let body = "payment_method=pm_card_visa";
    bench.fault(r#"{"endpoint":"*/confirm","kind":"unreadable_200","count":1}"#).await;
    let answer = bench.post_with_key(&path, "key", body).await;
    assert_eq!((answer.status, answer.json().get("id")), (200, None));
    assert_eq!(bench.status(&id).await, "succeeded");
    let retry = bench.post_with_key(&path, "key", body).await;
    assert_eq!((retry.id(), retry.header("idempotent-replayed")), (id, Some("true")));
}

#[tokio::test]
async fn wrong_amount_is_in_all_books() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    bench.fault(r#"{"endpoint":"*/confirm","kind":"wrong_amount","count":1}"#).await;
    let answer = bench.confirm(&id, "pm_card_visa").await.json();
    assert_eq!(
        (answer["amount"].as_i64(), answer["amount_received"].as_i64()),
        (Some(500), Some(499))
    );
    assert_eq!(bench.logged("payment_intent.captured")[0]["amount"], 499);
    assert_eq!(bench.state().await["money"]["captured_minor"]["usd"], 499);
    let refund = bench.post("/v1/refunds", &format!("payment_intent={id}")).await.json();
    assert_eq!(refund["amount"], 499);
}

/// docs.stripe.com/api/idempotent_requests: keys are pruned after 24 hours.
#[tokio::test]
async fn clock_ahead_forgets_keys() {
    let bench = bench(|_| {}).await;
    let body = "amount=500&currency=usd&allowed_payment_method_types[]=card";
    let first = bench.post_with_key("/v1/payment_intents", "key", body).await;
    let again = bench.post_with_key("/v1/payment_intents", "key", body).await;
    assert_eq!(first.id(), again.id());
    let day = r#"{"advance_ms":90000000}"#;
    assert_eq!(bench.control("POST", "/clock", day).await.json()["ahead_ms"], 90_000_000);
    let later = bench.post_with_key("/v1/payment_intents", "key", body).await;
    assert_ne!(first.id(), later.id());
    for bad in [r#"{"advance_ms":-1}"#, r#"{"advance_ms":99999999999999}"#, "{}"] {
        assert_eq!(bench.control("POST", "/clock", bad).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn added_latency_delays_the_answer() {
    let bench = bench(|_| {}).await;
    bench.fault(r#"{"endpoint":"GET *","kind":"latency_ms","latency_ms":300,"count":1}"#).await;
    let start = std::time::Instant::now();
    assert_eq!(bench.get("/v1/payment_intents").await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn meaningless_fault_is_refused() {
    let bench = bench(|_| {}).await;
    let rows = [
        r#"{"endpoint":"*","kind":"explode"}"#,
        r#"{"endpoint":"*","kind":"hang_after","probability":1.5}"#,
        r#"{"endpoint":"*","kind":"latency_ms"}"#,
        r#"{"endpoint":"*","kind":"hang_after","latency_ms":5}"#,
        r#"{"endpoint":"*","kind":"hang_after","often":true}"#,
        r#"{"kind":"hang_after"}"#,
        "not json",
    ];
    for bad in rows {
        assert_eq!(bench.control("POST", "/faults", bad).await.status, 400, "{bad}");
    }
    assert_eq!(bench.control("GET", "/faults", "").await.json()["faults"], json!([]));
}
