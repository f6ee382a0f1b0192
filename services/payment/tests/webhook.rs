//! The webhook endpoint, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Bench, WEBHOOK_SECRET, http};
use flashsale_proto::payment::PaymentState;
use flashsale_testbed::eventually;
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
        "id": format!("evt_{}", Uuid::new_v4()), "object": "event", "type": kind,
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

/// An event that comes again has had its effect, and is not looked at twice.
#[tokio::test]
async fn an_event_is_taken_once() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    let waiting = bench.reaches(order, PaymentState::RequiresAction).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let body =
        event("payment_intent.succeeded", &waiting.payment_intent, order, "succeeded", 1_999);
    assert_eq!(send(&bench, &body, &signed(&body, now)).await.0, 200);
    let before = "UPDATE payments SET state = 'REQUIRES_ACTION', captured_minor = 0";
    sqlx::query(before).execute(&bench.pg.pool).await.unwrap();
    assert_eq!(send(&bench, &body, &signed(&body, now)).await.0, 200);
    assert_eq!(bench.payment(order).await.state(), PaymentState::RequiresAction);
    let taken: Vec<(String, Option<String>)> =
        sqlx::query_as("SELECT type, intent FROM provider_events WHERE type LIKE '%succeeded'")
            .fetch_all(&bench.pg.pool)
            .await
            .unwrap();
    assert_eq!(taken, [("payment_intent.succeeded".to_owned(), Some(waiting.payment_intent))]);
}

/// Money on a second intent goes back, if it is this deployment's: what others do in the same
/// account is theirs.
#[tokio::test]
async fn only_our_own_stray_money_goes_back() {
    let bench = Bench::new(&[("PAYMENT__AUTO_REFUNDS_PER_HOUR", "1")]).await;
    let order = bench.create("pm_card_visa").await;
    bench.reaches(order, PaymentState::Succeeded).await;
    let deployment: Uuid = sqlx::query_scalar("SELECT deployment FROM provider_account")
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap();
    let capture = |order: Uuid, deployment: Uuid| {
        let form = format!(
            "amount=700&currency=eur&allowed_payment_method_types[]=card&confirm=true\
             &payment_method=pm_card_visa&metadata[order_id]={order}&metadata[deployment]={deployment}"
        );
        let bench = &bench;
        async move {
            let (status, intent) = bench.by_hand("/payment_intents", &form).await;
            assert_eq!(status, 200, "{intent}");
            intent["id"].as_str().unwrap().to_owned()
        }
    };
    // Of another deployment, and of an order that is not in the record.
    capture(order, Uuid::new_v4()).await;
    capture(Uuid::new_v4(), deployment).await;
    let stray = capture(order, deployment).await;
    let back = |intent: String| {
        let bench = &bench;
        async move {
            eventually("stray money is back", || async {
                let lines = bench.logged("payment_intent.refunded", None);
                let of_intent = lines.iter().filter(|line| line["payment_intent"] == *intent);
                (of_intent.count() == 1).then_some(())
            })
            .await;
        }
    };
    back(stray).await;
    assert_eq!(bench.logged("payment_intent.refunded", None).len(), 1);
    // As many as may in an hour: this one waits for a person.
    let held = capture(order, deployment).await;
    eventually("it is noticed", || async {
        let taken: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM provider_events WHERE intent = $1 AND type LIKE '%succeeded'",
        )
        .bind(&held)
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap();
        (taken > 0).then_some(())
    })
    .await;
    let refunds: Vec<(String, i64)> = sqlx::query_as("SELECT reason, amount_minor FROM refunds")
        .fetch_all(&bench.pg.pool)
        .await
        .unwrap();
    assert_eq!(refunds, [("orphan".to_owned(), 700), ("orphan".to_owned(), 700)]);
    let payment = bench.payment(order).await;
    assert_eq!((payment.state(), payment.refunded), (PaymentState::Succeeded, None));
}
