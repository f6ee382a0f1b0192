//! The webhook endpoint, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Bench, WEBHOOK_SECRET, http};
use flashsale_proto::payment::PaymentState;
use hmac::{Hmac, Mac as _};
use serde_json::json;
use sha2::Sha256;
use time::OffsetDateTime;
use uuid::Uuid;

fn signed(body: &str, at: i64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_SECRET.as_bytes()).unwrap();
    mac.update(format!("{at}.{body}").as_bytes());
    let hex: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={at},v1={hex}")
}

async fn send(bench: &Bench, body: &str, signature: &str) -> (u16, Vec<u8>) {
    let url = format!("{}/stripe/webhook", bench.server.http_url);
    let headers = [("stripe-signature", signature), ("content-type", "application/json")];
    let (status, body) = http("POST", &url, &headers, body.to_owned()).await;
    (status, body.to_vec())
}

fn event(kind: &str, intent: &str, order: Uuid, status: &str, received: i64) -> String {
    json!({
        "id": "evt_1", "object": "event", "type": kind,
        "data": { "object": {
            "id": intent, "object": "payment_intent", "status": status,
            "amount_received": received, "metadata": { "order_id": order.to_string() },
        }},
    })
    .to_string()
}

fn of_real_money(event: &str) -> String {
    let mut event: serde_json::Value = serde_json::from_str(event).unwrap();
    event["livemode"] = json!(true);
    event.to_string()
}

#[tokio::test]
async fn only_signed_events_are_accepted() {
    let bench = Bench::new(&[]).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let body = json!({ "id": "evt_1", "type": "customer.created",
        "data": { "object": { "object": "customer" } } })
    .to_string();
    assert_eq!(send(&bench, &body, &signed(&body, now)).await.0, 200);
    for signature in [
        String::new(),
        "t=1".to_owned(),
        signed(&body, now - 301),
        signed(&body, now + 301),
        signed("{}", now),
    ] {
        let (status, answer) = send(&bench, &body, &signature).await;
        assert_eq!((status, answer.as_slice()), (400, &b""[..]), "{signature}");
    }
    let not_json = "not json";
    assert_eq!(send(&bench, not_json, &signed(not_json, now)).await.0, 200);
    let huge = "x".repeat(256 * 1_024 + 1);
    assert_eq!(send(&bench, &huge, &signed(&huge, now)).await.0, 413);
    let url = format!("{}/stripe/webhook", bench.server.http_url);
    assert_eq!(http("GET", &url, &[], "").await.0, 405);
}

#[tokio::test]
async fn an_event_settles_only_its_own_payment() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    let waiting = bench.reaches(order, PaymentState::RequiresAction).await;
    let own = waiting.payment_intent.as_str();
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let succeeded = "payment_intent.succeeded";
    for body in [
        event(succeeded, "pi_another", order, "succeeded", 1_999),
        event(succeeded, own, Uuid::new_v4(), "succeeded", 1_999),
        // An event of the other mode: the tests' key is one of a sandbox.
        of_real_money(&event(succeeded, own, order, "succeeded", 1_999)),
        // An event whose object says otherwise.
        event(succeeded, own, order, "requires_action", 0),
    ] {
        assert_eq!(send(&bench, &body, &signed(&body, now)).await.0, 200);
        assert_eq!(bench.payment(order).await.state(), PaymentState::RequiresAction, "{body}");
    }
    let body = event(succeeded, own, order, "succeeded", 1_999);
    for _ in 0..3 {
        assert_eq!(send(&bench, &body, &signed(&body, now)).await.0, 200);
        assert_eq!(bench.payment(order).await.state(), PaymentState::Succeeded);
    }
    // A cancellation of captured money cannot have happened, and changes nothing.
    let body = event("payment_intent.canceled", own, order, "canceled", 0);
    assert_eq!(send(&bench, &body, &signed(&body, now)).await.0, 200);
    assert_eq!(bench.payment(order).await.state(), PaymentState::Succeeded);
    let refunds: i64 =
        sqlx::query_scalar("SELECT count(*) FROM refunds").fetch_one(&bench.pg.pool).await.unwrap();
    assert_eq!(refunds, 0);
}

#[tokio::test]
async fn other_events_make_the_payment_due() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    let waiting = bench.reaches(order, PaymentState::RequiresAction).await;
    let put_off = "UPDATE payments SET due_at = now() + interval '1 day' WHERE order_id = $1";
    sqlx::query(put_off).bind(order).execute(&bench.pg.pool).await.unwrap();
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let body = event(
        "payment_intent.payment_failed",
        &waiting.payment_intent,
        order,
        "requires_payment_method",
        0,
    );
    assert_eq!(send(&bench, &body, &signed(&body, now)).await.0, 200);
    let due_soon: bool = sqlx::query_scalar(
        "SELECT due_at < now() + interval '5 seconds' FROM payments WHERE order_id = $1",
    )
    .bind(order)
    .fetch_one(&bench.pg.pool)
    .await
    .unwrap();
    assert!(due_soon);
}
