//! Events pushed to an endpoint (docs.stripe.com/webhooks), received by a raw TCP listener.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;

use common::{Bench, bench, endpoint, until};
use serde_json::json;
use sha2::{Digest as _, Sha256};

async fn bench_with(url: &str, secrets: &[&str]) -> Bench {
    bench(|config| {
        config.webhook_url = Some(url.to_owned());
        config.webhook_secrets = secrets.iter().map(|&secret| secret.to_owned()).collect();
    })
    .await
}

/// HMAC-SHA256 by its definition (RFC 2104), apart from the library the stand-in uses.
fn hmac(secret: &[u8], message: &[u8]) -> String {
    assert!(secret.len() <= 64);
    let mut key = [0u8; 64];
    key[..secret.len()].copy_from_slice(secret);
    let pad = |with: u8| key.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn events_verify_under_each_secret() {
    // docs.stripe.com/webhooks#verify-manually; docs.stripe.com/api/events/types
    let (url, pushes) = endpoint(&[]).await;
    let bench = bench_with(&url, &["whsec_new", "whsec_old"]).await;
    let paid = bench.paid().await;
    let declined = bench.intent().await;
    bench.confirm(&declined, "pm_card_visa_chargeDeclined").await;
    bench.confirm(&declined, "pm_card_authenticationRequired").await;
    bench.post(&format!("/v1/payment_intents/{declined}/cancel"), "").await;
    let refund = format!("payment_intent={paid}");
    bench.post_with_key("/v1/refunds", "refund-key", &refund).await;
    until("all events", async || pushes.lock().unwrap().len() >= 10).await;

    let mut seen = BTreeMap::new();
    for push in pushes.lock().unwrap().iter() {
        let (t, signatures) = push.signature.strip_prefix("t=").unwrap().split_once(',').unwrap();
        let mut message = format!("{t}.").into_bytes();
        message.extend_from_slice(&push.body);
        let expected =
            format!("v1={},v1={}", hmac(b"whsec_new", &message), hmac(b"whsec_old", &message));
        assert_eq!(signatures, expected);
        let event = push.json();
        assert_eq!(event["object"], "event");
        assert!(event["id"].as_str().unwrap().starts_with("evt_"));
        let object = event["data"]["object"].clone();
        seen.insert(event["type"].as_str().unwrap().to_owned(), (object, event["request"].clone()));
    }
    let kinds: Vec<&str> = seen.keys().map(String::as_str).collect();
    let expected = [
        "charge.failed",
        "charge.refunded",
        "charge.succeeded",
        "payment_intent.canceled",
        "payment_intent.created",
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        "payment_intent.succeeded",
        "refund.created",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(seen["payment_intent.succeeded"].0["id"], json!(paid));
    assert_eq!(seen["payment_intent.succeeded"].0["status"], "succeeded");
    assert_eq!(seen["payment_intent.payment_failed"].0["id"], json!(declined));
    let code = &seen["payment_intent.payment_failed"].0["last_payment_error"]["code"];
    assert_eq!(code, "card_declined", "the snapshot is of that moment");
    assert_eq!(seen["charge.succeeded"].0["payment_intent"], json!(paid));
    assert_eq!(seen["charge.failed"].0["failure_code"], "card_declined");
    assert_eq!(seen["refund.created"].0["payment_intent"], json!(paid));
    assert_eq!(seen["charge.refunded"].0["amount_refunded"], 500);
    assert_eq!(seen["charge.refunded"].1["idempotency_key"], "refund-key");
}

#[tokio::test]
async fn event_is_resent_until_accepted() {
    // docs.stripe.com/webhooks#retries
    let (url, pushes) = endpoint(&[500, 302, 404]).await;
    let bench = bench_with(&url, &["whsec_x"]).await;
    bench.intent().await;
    until("the fourth attempt is taken", async || {
        bench.state().await["webhooks"]["delivered"] == json!(1)
    })
    .await;
    let pushes = pushes.lock().unwrap().clone();
    assert_eq!(pushes.len(), 4);
    assert!(pushes.iter().all(|push| push.body == pushes[0].body), "the same event each time");
    assert_eq!(bench.state().await["webhooks"]["attempts_failed"], 3);
}

#[tokio::test]
async fn replay_sends_no_second_event() {
    let (url, pushes) = endpoint(&[]).await;
    let bench = bench_with(&url, &["whsec_x"]).await;
    let id = bench.intent().await;
    let path = format!("/v1/payment_intents/{id}/confirm");
    for _ in 0..3 {
        bench.post_with_key(&path, "k", "payment_method=pm_card_visa").await;
    }
    let other = bench.paid().await;
    until("the other event", async || {
        pushes.lock().unwrap().iter().any(|push| push.is("payment_intent.succeeded", &other))
    })
    .await;
    until("all delivered", async || bench.state().await["webhooks"]["pending"] == json!(0)).await;
    let pushes = pushes.lock().unwrap();
    assert_eq!(pushes.iter().filter(|push| push.is("payment_intent.succeeded", &id)).count(), 1);
    assert_eq!(pushes.len(), 6, "created, charged and succeeded, twice");
}

/// The events that come about later, without a request.
#[tokio::test]
async fn later_outcomes_are_told() {
    // docs.stripe.com/api/events/types
    let (url, pushes) = endpoint(&[]).await;
    let bench = bench_with(&url, &["whsec_x"]).await;
    let failing = bench.intent().await;
    bench.confirm(&failing, "pm_card_refundFail").await;
    bench.post_with_key("/v1/refunds", "key", &format!("payment_intent={failing}")).await;
    let disputed = bench.intent().await;
    let charge = bench.confirm(&disputed, "pm_card_createDispute").await.json();
    bench.later().await;
    let close = format!("/dispute/{}", charge["latest_charge"].as_str().unwrap());
    assert_eq!(bench.control("POST", &close, r#"{"outcome":"lost"}"#).await.status, 200);
    let later =
        ["refund.updated", "refund.failed", "charge.dispute.created", "charge.dispute.closed"];
    let of = |kind: &str| {
        let pushes = pushes.lock().unwrap();
        pushes.iter().map(common::Push::json).find(|event| event["type"] == kind)
    };
    until("all are told", async || later.iter().all(|kind| of(kind).is_some())).await;
    for (kind, status, intent) in [
        ("refund.updated", "failed", &failing),
        ("refund.failed", "failed", &failing),
        ("charge.dispute.created", "needs_response", &disputed),
        ("charge.dispute.closed", "lost", &disputed),
    ] {
        let event = of(kind).unwrap();
        let object = &event["data"]["object"];
        assert_eq!(
            (&object["status"], &object["payment_intent"]),
            (&json!(status), &json!(intent))
        );
        assert_eq!(event["request"], json!({ "id": null, "idempotency_key": null }), "{kind}");
        let read = bench.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
        assert_eq!(read.json()["data"], event["data"], "{kind}");
    }
    until("nothing is pending", async || {
        let list = bench.get("/v1/events?delivery_success=false").await.json();
        list["data"] == json!([])
    })
    .await;
}

#[tokio::test]
async fn events_may_repeat_and_reorder() {
    // docs.stripe.com/webhooks: neither single delivery nor order is promised.
    let (url, pushes) = endpoint(&[]).await;
    let bench = bench_with(&url, &["whsec_x"]).await;
    let settings = r#"{"duplicate":1.0,"reorder":true,"reorder_window_ms":300,"delay_ms":20}"#;
    assert_eq!(bench.control("POST", "/webhooks", settings).await.status, 200);
    let mut paid = Vec::new();
    for _ in 0..20 {
        paid.push(bench.paid().await);
    }
    until("every event twice", async || pushes.lock().unwrap().len() == 120).await;
    let came: Vec<String> = pushes
        .lock()
        .unwrap()
        .iter()
        .filter(|push| push.json()["type"] == "payment_intent.succeeded")
        .map(|push| push.json()["data"]["object"]["id"].as_str().unwrap().to_owned())
        .collect();
    for id in &paid {
        assert_eq!(came.iter().filter(|other| *other == id).count(), 2, "{id}");
    }
    let in_order: Vec<String> = paid.iter().flat_map(|id| [id.clone(), id.clone()]).collect();
    assert_ne!(came, in_order, "forty deliveries in exactly the order of their events");
    for bad in [r#"{"duplicate":2}"#, r#"{"delay_ms":600001}"#, r#"{"loud":true}"#] {
        assert_eq!(bench.control("POST", "/webhooks", bad).await.status, 400, "{bad}");
    }
}
