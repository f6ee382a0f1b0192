//! Payments against the Stripe stand-in, as a process of its own: what is captured is read from its
//! log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, reason = "seeds are printed")]

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod outages;

use std::time::Duration;

use common::{Bench, Standin};
use flashsale_proto::payment::{BreakerState, GetBreakerRequest, PaymentState};
use flashsale_testbed::eventually;
use futures::StreamExt as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use uuid::Uuid;

const CREATE: &str = "POST /v1/payment_intents";
const CONFIRM: &str = "POST /v1/payment_intents/:id/confirm";
const CANCEL: &str = "POST /v1/payment_intents/:id/cancel";

async fn end_reason(bench: &Bench, order: Uuid) -> Option<String> {
    sqlx::query_scalar("SELECT end_reason FROM payments WHERE order_id = $1")
        .bind(order)
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap()
}

async fn breaker(bench: &Bench) -> (BreakerState, i64) {
    let answer = bench.admin.clone().get_breaker(GetBreakerRequest {}).await.unwrap().into_inner();
    (answer.state(), answer.open_payments)
}

#[tokio::test]
async fn a_good_card_is_charged_once() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_visa").await;
    let payment = bench.ends(order).await;
    assert_eq!(payment.state(), PaymentState::Succeeded);
    assert_eq!(payment.decline_code, "");
    let captured = bench.logged("payment_intent.captured", Some(order));
    assert_eq!(captured.len(), 1);
    assert_eq!(captured[0]["amount"], 1_999);
    assert_eq!(captured[0]["currency"], "eur");
    assert_eq!(captured[0]["sale_id"], bench.sale.to_string());
    assert_eq!(captured[0]["payment_intent"], payment.payment_intent);
    assert_eq!(captured[0]["idempotency_key"], format!("pi/{order}/confirm/1/0"));
    assert_eq!(bench.logged("payment_intent.created", Some(order)).len(), 1);
    bench.books_agree().await;
}

#[tokio::test]
async fn an_ended_payment_is_announced() {
    let nats = flashsale_testbed::nats().await;
    let client = async_nats::connect(&nats.url).await.unwrap();
    let mut events = client.subscribe(flashsale_queue::PAYMENT_EVENT_SUBJECTS).await.unwrap();
    client.flush().await.unwrap();
    let bench = Bench::new(&[("NATS__URL", &nats.own_url())]).await;
    let order = bench.create("pm_card_visa").await;
    let next = tokio::time::timeout(Duration::from_secs(20), events.next());
    let event = next.await.expect("an event in time").expect("a connection");
    assert_eq!(event.subject.as_str(), flashsale_queue::payment_event_subject(order));
    let body: serde_json::Value = serde_json::from_slice(&event.payload).unwrap();
    assert_eq!(body, json!({ "order_id": order.to_string(), "state": "SUCCEEDED" }));
}

#[tokio::test]
async fn each_decline_ends_failed() {
    let bench = Bench::new(&[]).await;
    let declines = [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_card"),
        ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error"),
    ];
    let orders = bench.create_many(&declines.map(|(method, _)| method)).await;
    for (order, (method, code)) in orders.into_iter().zip(declines) {
        let payment = bench.ends(order).await;
        assert_eq!((payment.state(), payment.decline_code.as_str()), (PaymentState::Failed, code));
        assert_eq!(bench.logged("payment_intent.canceled", Some(order)).len(), 1, "{method}");
    }
    // Many declines in a row are many answers: the breaker has nothing against them.
    assert_eq!(breaker(&bench).await, (BreakerState::Closed, 0));
    bench.books_agree().await;
}

#[tokio::test]
async fn an_unknown_means_of_payment_ends_failed() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_nobody_has").await;
    let payment = bench.ends(order).await;
    assert_eq!(payment.state(), PaymentState::Failed);
    assert_eq!(payment.decline_code, "resource_missing");
    assert_eq!(bench.logged("payment_intent.canceled", Some(order)).len(), 1);
}

#[tokio::test]
async fn only_an_authenticated_buyer_pays() {
    let bench = Bench::new(&[("PAYMENT__PATIENCE_MS", "4000")]).await;
    let methods = ["pm_card_authenticationRequired"; 2];
    let [there, away] = bench.create_many(&methods).await[..] else { panic!() };
    let waiting = bench.reaches(there, PaymentState::RequiresAction).await;
    let path = format!("/authenticate/{}", waiting.payment_intent);
    bench.control("POST", &path, json!({ "outcome": "success" })).await;
    bench.reaches(there, PaymentState::Succeeded).await;

    bench.reaches(away, PaymentState::RequiresAction).await;
    assert_eq!(bench.ends(away).await.state(), PaymentState::Cancelled);
    assert_eq!(bench.logged("payment_intent.canceled", Some(away)).len(), 1);
    bench.books_agree().await;
}

#[tokio::test]
async fn sale_may_say_how_long_buyers_take() {
    // The configuration would wait for a quarter of an hour.
    let bench = Bench::new(&[]).await;
    sqlx::query("UPDATE sales SET payment_patience_ms = 1500 WHERE sale_id = $1")
        .bind(bench.sale)
        .execute(&bench.pg.pool)
        .await
        .unwrap();
    let order = bench.create("pm_card_authenticationRequired").await;
    bench.reaches(order, PaymentState::RequiresAction).await;
    let given: (i64, f64) = sqlx::query_as(
        "SELECT patience_ms, EXTRACT(EPOCH FROM turn_until - turn_at)::float8 FROM payments",
    )
    .fetch_one(&bench.pg.pool)
    .await
    .unwrap();
    assert_eq!(given, (1_500, 1.5));
    assert_eq!(bench.ends(order).await.state(), PaymentState::Cancelled);
    bench.books_agree().await;
}

#[tokio::test]
async fn failed_authentication_ends_failed() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    let waiting = bench.reaches(order, PaymentState::RequiresAction).await;
    let path = format!("/authenticate/{}", waiting.payment_intent);
    bench.control("POST", &path, json!({ "outcome": "fail" })).await;
    let payment = bench.ends(order).await;
    assert_eq!(payment.state(), PaymentState::Failed);
    assert_eq!(payment.decline_code, "payment_intent_authentication_failure");
    bench.books_agree().await;
}

#[tokio::test]
async fn repeated_events_change_nothing() {
    let bench = Bench::new(&[]).await;
    let settings = json!({ "duplicate": 1.0, "reorder": true, "reorder_window_ms": 400 });
    bench.control("POST", "/webhooks", settings).await;
    let methods: Vec<&str> = (0..20)
        .map(|n| if n % 2 == 0 { "pm_card_visa" } else { "pm_card_visa_chargeDeclined" })
        .collect();
    let orders = bench.create_many(&methods).await;
    for order in &orders {
        bench.ends(*order).await;
    }
    eventually("every event has been taken", || async {
        let state = bench.control("GET", "/state", json!({})).await;
        let counts = &state["webhooks"];
        assert_eq!(counts["attempts_failed"], 0, "an event was refused");
        (counts["pending"] == 0 && counts["delivered"].as_u64() >= Some(60)).then_some(())
    })
    .await;
    for (order, method) in orders.into_iter().zip(methods) {
        let paid = bench.payment(order).await.state() == PaymentState::Succeeded;
        assert_eq!(paid, method == "pm_card_visa");
    }
    bench.books_agree().await;
}

#[tokio::test]
async fn the_books_agree_after_any_cancellation() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let standin = Standin { confirm_latency_ms: 15, ..Standin::default() };
    let bench = Bench::with(standin, &[]).await;
    let orders = bench.create_many(&["pm_card_visa"; 40]).await;
    let cancels = orders.iter().map(|order| {
        let wait = Duration::from_millis(random.random_range(0..80));
        let bench = &bench;
        async move {
            tokio::time::sleep(wait).await;
            bench.cancel(*order).await
        }
    });
    futures::future::join_all(cancels).await;
    let mut cancelled = 0;
    for order in orders {
        match bench.ends(order).await.state() {
            PaymentState::Cancelled => cancelled += 1,
            PaymentState::Succeeded => {}
            other @ (PaymentState::Unspecified
            | PaymentState::Due
            | PaymentState::Processing
            | PaymentState::RequiresAction
            | PaymentState::Failed
            | PaymentState::Refunded) => panic!("{order} is {}", other.as_str_name()),
        }
    }
    println!("{cancelled} of 40 were cancelled in time");
    bench.books_agree().await;
}

#[tokio::test]
async fn a_begun_payment_is_cancelled_at_the_provider() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    bench.reaches(order, PaymentState::RequiresAction).await;
    let answer = bench.cancel(order).await;
    assert!(matches!(answer.state(), PaymentState::RequiresAction | PaymentState::Processing));
    bench.reaches(order, PaymentState::Cancelled).await;
    assert_eq!(bench.logged("payment_intent.canceled", Some(order)).len(), 1);
    // And it stays so.
    assert_eq!(bench.cancel(order).await.state(), PaymentState::Cancelled);
}

#[tokio::test]
async fn late_money_is_given_back() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    let waiting = bench.reaches(order, PaymentState::RequiresAction).await;
    sqlx::query("UPDATE payments SET state = 'CANCELLED' WHERE order_id = $1")
        .bind(order)
        .execute(&bench.pg.pool)
        .await
        .unwrap();
    let path = format!("/authenticate/{}", waiting.payment_intent);
    bench.control("POST", &path, json!({ "outcome": "success" })).await;
    bench.reaches(order, PaymentState::Refunded).await;
    let (state, reason, amount): (String, String, i64) =
        sqlx::query_as("SELECT state, reason, amount_minor FROM refunds WHERE order_id = $1")
            .bind(order)
            .fetch_one(&bench.pg.pool)
            .await
            .unwrap();
    assert_eq!((state.as_str(), reason.as_str(), amount), ("DONE", "order_ended", 1_999));
    assert_eq!(bench.logged("payment_intent.refunded", Some(order)).len(), 1);
    bench.books_agree().await;
}

#[tokio::test]
async fn a_neglected_payment_is_retrieved_again() {
    let standin = Standin { webhooks: false, ..Standin::default() };
    let env = [
        ("PAYMENT__RECONCILE_EVERY_MS", "50"),
        ("PAYMENT__LEASE_MS", "28000"),
        ("PAYMENT__RECONCILE_AFTER_MS", "28000"),
    ];
    let bench = Bench::with(standin, &env).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    let waiting = bench.reaches(order, PaymentState::RequiresAction).await;
    let path = format!("/authenticate/{}", waiting.payment_intent);
    // As if its next look had been put off for a day, a minute ago.
    let stray = "UPDATE payments SET due_at = now() + interval '1 day', \
                 updated_at = now() - interval '1 minute' WHERE order_id = $1";
    sqlx::query(stray).bind(order).execute(&bench.pg.pool).await.unwrap();
    bench.control("POST", &path, json!({ "outcome": "success" })).await;
    bench.reaches(order, PaymentState::Succeeded).await;
    bench.books_agree().await;
}

#[tokio::test]
async fn another_amount_is_booked_and_goes_back() {
    for webhooks in [true, false] {
        let bench = Bench::with(Standin { webhooks, ..Standin::default() }, &[]).await;
        bench.fault(CONFIRM, "wrong_amount", 1).await;
        let order = bench.create("pm_card_visa").await;
        assert_eq!(bench.ends(order).await.state(), PaymentState::Cancelled);
        assert_eq!(end_reason(&bench, order).await.as_deref(), Some("amount_mismatch"));
        eventually("the money is back", || async {
            let back = bench.logged("payment_intent.refunded", Some(order));
            (!back.is_empty())
                .then(|| assert_eq!((back.len(), &back[0]["amount"]), (1, &json!(1_998))))
        })
        .await;
        eventually("the refund is recorded", || async {
            let (state, amount): (String, i64) =
                sqlx::query_as("SELECT state, amount_minor FROM refunds WHERE order_id = $1")
                    .bind(order)
                    .fetch_one(&bench.pg.pool)
                    .await
                    .unwrap();
            (state == "DONE").then(|| assert_eq!(amount, 1_998))
        })
        .await;
        assert_eq!(bench.payment(order).await.state(), PaymentState::Cancelled);
    }
}

#[tokio::test]
async fn a_refund_made_by_hand_is_adopted() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_visa").await;
    let paid = bench.reaches(order, PaymentState::Succeeded).await;
    let form = format!("payment_intent={}", paid.payment_intent);
    assert_eq!(bench.by_hand("/refunds", &form).await.0, 200);
    bench.refund(order, None).await.unwrap();
    bench.reaches(order, PaymentState::Refunded).await;
    assert_eq!(bench.logged("payment_intent.refunded", Some(order)).len(), 1);
}
