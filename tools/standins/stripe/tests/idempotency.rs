//! Idempotency keys and rate limits (docs.stripe.com/api/idempotent_requests,
//! docs.stripe.com/error-low-level#idempotency, docs.stripe.com/rate-limits).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Bench, bench, until};
use serde_json::json;

const CREATE: &str = "amount=500&currency=usd&allowed_payment_method_types[]=card";

async fn confirm_arrived(bench: &Bench) {
    until("a confirmation arrived", async || {
        let state = bench.state().await;
        state["traffic"]["requests"]["POST /v1/payment_intents/:id/confirm"] == json!(1)
    })
    .await;
}

#[tokio::test]
async fn first_answer_is_replayed() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    let missing = "/v1/payment_intents/pi_none/cancel".to_owned();
    // (path, body, status)
    let rows = [
        ("/v1/payment_intents".to_owned(), CREATE, 200),
        (confirm.clone(), "payment_method=pm_card_visa_chargeDeclined", 402),
        (confirm, "payment_method=pm_card_visa", 200),
        ("/v1/refunds".to_owned(), &format!("payment_intent={id}"), 200),
        ("/v1/refunds".to_owned(), &format!("payment_intent={id}&amount=1"), 400),
        (missing, "", 404),
    ];
    for (n, (path, body, status)) in rows.iter().enumerate() {
        let key = format!("key-{n}");
        let first = bench.post_with_key(path, &key, body).await;
        assert_eq!(first.status, *status, "{path} {body}: {}", first.json());
        assert_eq!(first.header("idempotent-replayed"), None);
        let second = bench.post_with_key(path, &key, body).await;
        assert_eq!((second.status, &second.body), (*status, &first.body), "{path} {body}");
        assert_eq!(second.header("idempotent-replayed"), Some("true"));
        assert_eq!(second.header("original-request"), first.header("request-id"));
        assert_ne!(second.header("request-id"), first.header("request-id"));
        assert_eq!(second.header("idempotency-key"), Some(key.as_str()));
    }
    assert_eq!(bench.logged("payment_intent.captured").len(), 1);
    assert_eq!(bench.logged("payment_intent.refunded").len(), 1);
    assert_eq!(bench.logged("payment_intent.created").len(), 2);
    assert_eq!(bench.logged("payment_intent.captured")[0]["idempotency_key"], "key-2");
}

#[tokio::test]
async fn replayed_500_hides_the_outcome() {
    let bench = bench(|_| {}).await;
    for (kind, captured) in [("error_500", 0), ("error_500_after", 1)] {
        let id = bench.intent().await;
        let path = format!("/v1/payment_intents/{id}/confirm");
        bench.fault(&format!(r#"{{"endpoint":"*/confirm","kind":"{kind}","count":1}}"#)).await;
        for replayed in [None, Some("true")] {
            let answer = bench.post_with_key(&path, kind, "payment_method=pm_card_visa").await;
            assert_eq!(answer.status, 500);
            assert_eq!(answer.json()["error"]["type"], "api_error");
            assert_eq!(answer.header("idempotent-replayed"), replayed);
        }
        let lines = bench.logged("payment_intent.captured");
        assert_eq!(
            lines.iter().filter(|line| line["payment_intent"] == json!(id)).count(),
            captured
        );
    }
}

#[tokio::test]
async fn different_request_under_same_key_is_refused() {
    let bench = bench(|_| {}).await;
    let path = "/v1/payment_intents";
    let first = bench.post_with_key(path, "k", &format!("{CREATE}&metadata[a]=1")).await;
    let reordered = format!("metadata[a]=1&{CREATE}");
    let replay = bench.post_with_key(path, "k", &reordered).await;
    assert_eq!(replay.body, first.body, "the order of parameters does not matter");
    let other = bench.post_with_key(path, "k", &format!("{CREATE}&metadata[a]=2")).await;
    assert_eq!((other.status, &other.json()["error"]["type"]), (400, &json!("idempotency_error")));
    let elsewhere = format!("/v1/payment_intents/{}/cancel", first.id());
    let other = bench.post_with_key(&elsewhere, "k", "").await;
    assert_eq!((other.status, &other.json()["error"]["type"]), (400, &json!("idempotency_error")));
    assert_eq!(bench.status(&first.id()).await, "requires_payment_method");
}

#[tokio::test]
async fn key_in_flight_answers_409() {
    let bench = bench(|config| config.confirm_latency = Duration::from_secs(2)).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    let body = "payment_method=pm_card_visa";
    let first = bench.post_with_key(&path, "k", body);
    let second = async {
        confirm_arrived(&bench).await;
        bench.post_with_key(&path, "k", body).await
    };
    let (first, second) = tokio::join!(first, second);
    // The request that took the key first was executed; the other was refused.
    let (executed, refused) = if first.status == 200 { (first, second) } else { (second, first) };
    assert_eq!(executed.status, 200);
    assert_eq!((refused.status, refused.code().as_str()), (409, "idempotency_key_in_use"));
    let replay = bench.post_with_key(&path, "k", body).await;
    assert_eq!((replay.status, &replay.body), (200, &executed.body));
    assert_eq!(bench.logged("payment_intent.captured").len(), 1);
}

#[tokio::test]
async fn disconnect_does_not_stop_the_request() {
    let bench = bench(|config| config.confirm_latency = Duration::from_secs(1)).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    let body = "payment_method=pm_card_visa";
    tokio::select! {
        answer = bench.post_with_key(&path, "k", body) => panic!("too fast: {}", answer.status),
        () = confirm_arrived(&bench) => {}
    }
    until("the payment went through", async || bench.status(&id).await == "succeeded").await;
    let replay = bench.post_with_key(&path, "k", body).await;
    assert_eq!((replay.status, replay.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(bench.logged("payment_intent.captured").len(), 1);
}

#[tokio::test]
async fn refused_parameters_leave_the_key_free() {
    let bench = bench(|_| {}).await;
    let refused = bench.post_with_key("/v1/payment_intents", "k", "amount=5&currency=usd").await;
    assert_eq!(refused.status, 400);
    let made = bench.post_with_key("/v1/payment_intents", "k", CREATE).await;
    assert_eq!(made.status, 200);
    let long = "k".repeat(256);
    assert_eq!(bench.post_with_key("/v1/payment_intents", &long, CREATE).await.status, 400);
}

#[tokio::test]
async fn key_on_a_read_is_ignored() {
    let bench = bench(|_| {}).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}");
    let headers = [common::AUTH, ("Idempotency-Key", "k")];
    let raw = common::request("GET", &path, &headers, "");
    let before = common::exchange(bench.addr(), &raw).await.unwrap();
    bench.confirm(&id, "pm_card_visa").await;
    let after = common::exchange(bench.addr(), &raw).await.unwrap();
    assert_eq!(before.json()["status"], "requires_payment_method");
    assert_eq!(after.json()["status"], "succeeded");
}

#[tokio::test]
async fn rate_limit_refusal_is_not_remembered() {
    let bench = bench(|config| config.rate_per_endpoint = 2).await;
    let path = "/v1/payment_intents";
    let first = bench.post_with_key(path, "known", CREATE).await;
    assert_eq!(first.status, 200);
    let mut limited = None;
    for n in 0..50 {
        let answer = bench.post_with_key(path, &format!("new-{n}"), CREATE).await;
        if answer.status == 429 {
            limited = Some((format!("new-{n}"), answer));
            break;
        }
    }
    let (key, answer) = limited.expect("50 requests exceed 2 a second");
    assert_eq!(answer.code(), "rate_limit");
    assert_eq!(answer.header("stripe-rate-limited-reason"), Some("endpoint-rate"));
    let known = bench.post_with_key(path, "known", CREATE).await;
    assert!(known.status == 429 || known.header("idempotent-replayed") == Some("true"));
    let last = std::cell::RefCell::new(None);
    until("the refused key is executed again", async || {
        let answer = bench.post_with_key(path, &key, CREATE).await;
        let done = answer.status == 200;
        *last.borrow_mut() = Some(answer);
        done
    })
    .await;
    assert_eq!(last.into_inner().unwrap().header("idempotent-replayed"), None);
}

#[tokio::test]
async fn rate_limits_apply_per_endpoint_and_account() {
    let total = bench(|config| config.rate_total = 3).await;
    let mut reasons = Vec::new();
    for path in ["/v1/payment_intents", "/v1/refunds", "/v1/charges?payment_intent=pi_x"].repeat(4)
    {
        let answer = total.get(path).await;
        reasons.extend(answer.header("stripe-rate-limited-reason").map(str::to_owned));
    }
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| reason == "global-rate"));
    assert!(total.state().await["traffic"]["rate_limited"].as_u64().unwrap() > 0);
}
