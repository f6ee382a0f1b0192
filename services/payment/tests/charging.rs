//! Payments against the Stripe stand-in, as a process of its own: what is captured is read from its
//! log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, reason = "seeds are printed")]

mod common;

use std::time::Duration;

use common::{Bench, Standin};
use flashsale_payment::{
    metrics::Metrics,
    peers::stripe::{Stripe, stack},
    store::Store,
};
use flashsale_proto::payment::{
    BreakerCause, BreakerForce, BreakerState, GetBreakerRequest, PaymentState, SetBreakerRequest,
};
use flashsale_testbed::eventually;
use futures::StreamExt as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use uuid::Uuid;

const CREATE: &str = "POST /v1/payment_intents";
const CONFIRM: &str = "POST /v1/payment_intents/:id/confirm";
const CANCEL: &str = "POST /v1/payment_intents/:id/cancel";
const REFUND: &str = "POST /v1/refunds";

async fn set_breaker(bench: &Bench, force: BreakerForce) {
    // Only CLOSED needs an end.
    let end = std::time::SystemTime::now() + Duration::from_secs(300);
    let request = SetBreakerRequest {
        request_id: Uuid::new_v4().to_string(),
        force: force.into(),
        reason: "a test".to_owned(),
        expire_time: (force == BreakerForce::Closed).then(|| end.into()),
    };
    let answer = bench.admin.clone().set_breaker(request).await.unwrap().into_inner();
    assert_eq!(answer.force(), force);
}

/// Waits until the oldest payment was recorded this long ago, by the record's clock.
async fn waited(bench: &Bench, ms: i32) {
    eventually("time has passed", || async {
        let old =
            "SELECT count(*) > 0 FROM payments WHERE created_at < now() - $1 * interval '1 ms'";
        let old: bool = sqlx::query_scalar(old).bind(ms).fetch_one(&bench.pg.pool).await.unwrap();
        old.then_some(())
    })
    .await;
}

async fn failures(bench: &Bench, order: Uuid) -> i32 {
    sqlx::query_scalar("SELECT failures FROM payments WHERE order_id = $1")
        .bind(order)
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap()
}

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

/// Every way to lose an answer, before and after it took effect, at every step; without events, so
/// that only asking tells.
#[tokio::test]
async fn a_lost_answer_is_found_by_asking() {
    let standin = Standin { webhooks: false, ..Standin::default() };
    let env = [("PAYMENT__TIMEOUT_MS", "250"), ("PAYMENT__BREAKER__MIN_CALLS", "1000")];
    let bench = Bench::with(standin, &env).await;
    let kinds = [
        "hang_before",
        "hang_after",
        "reset_before",
        "reset_after",
        "html_502_before",
        "html_502_after",
        "error_500",
        "error_500_after",
    ];
    for endpoint in [CREATE, CONFIRM] {
        for kind in kinds {
            bench.fault(endpoint, kind, 1).await;
            let order = bench.create("pm_card_visa").await;
            let payment = bench.ends(order).await;
            assert_eq!(payment.state(), PaymentState::Succeeded, "{kind} at {endpoint}");
            assert_eq!(bench.captures(order), 1, "{kind} at {endpoint}");
            let created = bench.logged("payment_intent.created", Some(order)).len();
            assert_eq!(created, 1, "{kind} at {endpoint}: {created} intents for one order");
        }
    }
    for kind in kinds {
        bench.fault(CANCEL, kind, 1).await;
        let order = bench.create("pm_card_visa_chargeDeclined").await;
        assert_eq!(bench.ends(order).await.state(), PaymentState::Failed, "{kind} at cancel");
    }
    bench.books_agree().await;
}

#[tokio::test]
async fn random_losses_never_capture_twice() {
    let env = [("PAYMENT__TIMEOUT_MS", "250"), ("PAYMENT__BREAKER__MIN_CALLS", "100000")];
    let bench = Bench::new(&env).await;
    for kind in ["hang_after", "reset_after", "html_502_after", "error_500", "error_500_after"] {
        let rule = json!({ "endpoint": "*", "kind": kind, "probability": 0.06 });
        bench.control("POST", "/faults", rule).await;
    }
    let settings = json!({ "duplicate": 0.5, "reorder": true, "reorder_window_ms": 500 });
    bench.control("POST", "/webhooks", settings).await;
    let methods: Vec<&str> = (0..60)
        .map(|n| if n % 4 == 0 { "pm_card_visa_chargeDeclined" } else { "pm_card_visa" })
        .collect();
    let orders = bench.create_many(&methods).await;
    for (order, method) in orders.into_iter().zip(methods) {
        let expected = match method {
            "pm_card_visa" => PaymentState::Succeeded,
            _ => PaymentState::Failed,
        };
        assert_eq!(bench.ends(order).await.state(), expected, "{order}");
    }
    bench.books_agree().await;
}

#[tokio::test]
async fn rate_limits_only_delay() {
    let standin = Standin { rate: 5, ..Standin::default() };
    let bench = Bench::with(standin, &[]).await;
    let orders = bench.create_many(&["pm_card_visa"; 15]).await;
    for order in orders {
        assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    }
    let state = bench.control("GET", "/state", json!({})).await;
    assert!(state["traffic"]["rate_limited"].as_u64().unwrap() > 0, "the limit was never hit");
    assert_eq!(breaker(&bench).await.0, BreakerState::Closed, "429 opened the breaker");
    bench.books_agree().await;
}

/// A limit and a lock say nothing of the request: the wait after it grows by attempts alone.
#[tokio::test]
async fn limits_and_locks_cost_no_attempt() {
    let bench = Bench::new(&[]).await;
    for kind in ["rate_limit_429", "lock_timeout_429", "conflict_409"] {
        bench.fault(CREATE, kind, 2).await;
        let order = bench.create("pm_card_visa").await;
        let payment = bench.ends(order).await;
        assert_eq!((payment.state(), payment.attempts), (PaymentState::Succeeded, 1), "{kind}");
        let faults = bench.control("GET", "/faults", json!({})).await;
        assert_eq!(faults["struck"][kind], 2, "{kind}: the provider was not asked in vain");
    }
    bench.books_agree().await;
}

#[tokio::test]
async fn the_budget_stays_below_the_limit() {
    let standin = Standin { rate: 25, ..Standin::default() };
    let env = [("PAYMENT__ENDPOINT_BUDGET_PER_S", "25.0"), ("PAYMENT__MAX_IN_FLIGHT", "50")];
    let bench = Bench::with(standin, &env).await;
    let begun = std::time::Instant::now();
    let orders = bench.create_many(&["pm_card_visa"; 75]).await;
    for order in orders {
        assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    }
    assert!(begun.elapsed() > Duration::from_millis(2_500), "75 calls took {:?}", begun.elapsed());
    let state = bench.control("GET", "/state", json!({})).await;
    assert_eq!(state["traffic"]["rate_limited"], 0);
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
async fn a_lost_intent_is_named_and_cancelled() {
    let env = [("PAYMENT__RETRY_BASE_MS", "60000"), ("PAYMENT__RETRY_CAP_MS", "60000")];
    let bench = Bench::new(&env).await;
    bench.fault(CREATE, "reset_after", 1).await;
    let order = bench.create("pm_card_visa").await;
    eventually("the intent is made", || async {
        (!bench.logged("payment_intent.created", Some(order)).is_empty()).then_some(())
    })
    .await;
    assert_eq!(bench.payment(order).await.payment_intent, "", "the answer was not lost");
    bench.cancel(order).await;
    let payment = bench.ends(order).await;
    assert_eq!(payment.state(), PaymentState::Cancelled);
    let cancelled = bench.logged("payment_intent.canceled", Some(order));
    assert_eq!(cancelled.len(), 1);
    assert_eq!(cancelled[0]["payment_intent"], payment.payment_intent);
    bench.books_agree().await;
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
async fn a_lost_refund_answer_refunds_once() {
    let env = [("PAYMENT__TIMEOUT_MS", "250"), ("PAYMENT__BREAKER__MIN_CALLS", "1000")];
    let bench = Bench::new(&env).await;
    for kind in ["hang_before", "reset_after", "html_502_after", "error_500", "error_500_after"] {
        let order = bench.create("pm_card_visa").await;
        bench.reaches(order, PaymentState::Succeeded).await;
        bench.fault(REFUND, kind, 1).await;
        for _ in 0..3 {
            bench.refund(order, None).await.unwrap();
        }
        bench.reaches(order, PaymentState::Refunded).await;
        let refunded = bench.logged("payment_intent.refunded", Some(order));
        assert_eq!(refunded.len(), 1, "{kind}");
        assert_eq!(refunded[0]["amount"], 1_999);
    }
    bench.books_agree().await;
}

#[tokio::test]
async fn the_breaker_spares_a_provider_that_is_down() {
    let env = [
        ("PAYMENT__BREAKER__MIN_CALLS", "5"),
        ("PAYMENT__BREAKER__OPEN_MS", "300"),
        ("PAYMENT__MAX_IN_FLIGHT", "5"),
    ];
    let bench = Bench::new(&env).await;
    bench.fault("*", "html_502_before", 0).await;
    let orders = bench.create_many(&["pm_card_visa"; 30]).await;
    eventually("the breaker opens", || async {
        (breaker(&bench).await.0 == BreakerState::Open).then_some(())
    })
    .await;
    assert_eq!(breaker(&bench).await.1, 30, "a payment was given up");
    bench.control("DELETE", "/faults", json!({})).await;
    for order in orders {
        assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    }
    assert_eq!(breaker(&bench).await, (BreakerState::Closed, 0));
    bench.books_agree().await;
}

#[tokio::test]
async fn operators_can_override_the_breaker() {
    let env = [("PAYMENT__BREAKER__MIN_CALLS", "1"), ("PAYMENT__BREAKER__OPEN_MS", "600000")];
    let bench = Bench::new(&env).await;
    set_breaker(&bench, BreakerForce::Open).await;
    let order = bench.create("pm_card_visa").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let payment = bench.payment(order).await;
    assert_eq!((payment.state(), payment.attempts), (PaymentState::Due, 0));
    let state = bench.control("GET", "/state", json!({})).await;
    assert_eq!(state["payment_intents"]["total"], 0);

    // One bad answer opens this breaker for ten minutes.
    bench.fault(CREATE, "html_502_before", 1).await;
    set_breaker(&bench, BreakerForce::Auto).await;
    eventually("the breaker opens", || async {
        (breaker(&bench).await.0 == BreakerState::Open).then_some(())
    })
    .await;
    set_breaker(&bench, BreakerForce::Closed).await;
    bench.reaches(order, PaymentState::Succeeded).await;
    assert_eq!(breaker(&bench).await.0, BreakerState::Open);
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

/// Whatever keeps us from Stripe, the buyers are not to blame: nothing of their time is spent, and
/// no order is ended by it.
#[tokio::test]
async fn nothing_that_is_not_the_buyers_doing_ends_an_order() {
    for kind in [
        "unauthorized_401",
        "rate_limit_429",
        "lock_timeout_429",
        "conflict_409",
        "parameter_unknown_400",
        "html_502_before",
        "reset_before",
    ] {
        let env = [
            ("PAYMENT__PATIENCE_MS", "300"),
            ("PAYMENT__BREAKER__OPEN_MS", "200"),
            ("PAYMENT__BREAKER__MIN_CALLS", "5"),
        ];
        let bench = Bench::new(&env).await;
        bench.fault("*", kind, 0).await;
        let orders = bench.create_many(&["pm_card_visa"; 12]).await;
        waited(&bench, 1_200).await;
        assert_eq!(breaker(&bench).await.1, 12, "{kind} has ended a payment");
        bench.control("DELETE", "/faults", json!({})).await;
        for order in orders {
            assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded, "{kind}");
        }
        bench.books_agree().await;
    }
}

#[tokio::test]
async fn a_wrong_parameter_leaves_the_payment_stuck_until_somebody_looks() {
    let env = [("PAYMENT__RETRY_CAP_MS", "120"), ("PAYMENT__BREAKER__MIN_CALLS", "1000")];
    let bench = Bench::new(&env).await;
    bench.fault(CREATE, "parameter_unknown_400", 0).await;
    let [kept, given_up] = bench.create_many(&["pm_card_visa"; 2]).await[..] else { panic!() };
    eventually("both are stuck", || async {
        let stuck = failures(&bench, kept).await >= 5 && failures(&bench, given_up).await >= 5;
        stuck.then_some(())
    })
    .await;
    // The buyer is not held: a look shows that there is nothing to be cancelled.
    bench.cancel(given_up).await;
    assert_eq!(bench.ends(given_up).await.state(), PaymentState::Cancelled);
    bench.control("DELETE", "/faults", json!({})).await;
    assert_eq!(bench.ends(kept).await.state(), PaymentState::Succeeded);
    bench.books_agree().await;
}

/// An answer that is stored under a key says nothing of whether the cause is still there.
#[tokio::test]
async fn a_refusal_that_was_mended_is_not_repeated() {
    let bench = Bench::with(Standin { webhooks: false, ..Standin::default() }, &[]).await;
    for endpoint in [CREATE, CONFIRM] {
        bench.fault(endpoint, "refused_400", 1).await;
        let order = bench.create("pm_card_visa").await;
        assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded, "{endpoint}");
    }
    bench.fault(CANCEL, "refused_400", 1).await;
    let order = bench.create("pm_card_visa_chargeDeclined").await;
    assert_eq!(bench.ends(order).await.state(), PaymentState::Failed);
    bench.books_agree().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_looked_into() {
    let standin = Standin { webhooks: false, ..Standin::default() };
    let bench = Bench::with(standin, &[("PAYMENT__BREAKER__MIN_CALLS", "1000")]).await;
    for endpoint in [CREATE, CONFIRM] {
        bench.fault(endpoint, "unreadable_200", 1).await;
        let order = bench.create("pm_card_visa").await;
        assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded, "{endpoint}");
    }
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

/// A request is repeated as it was first sent, whatever this version would send now.
#[tokio::test]
async fn a_repeated_creation_sends_the_first_ones_form() {
    let bench = Bench::new(&[]).await;
    bench.fault(CREATE, "reset_after", 1).await;
    let order = bench.create("pm_card_visa").await;
    eventually("the intent is made", || async {
        (!bench.logged("payment_intent.created", Some(order)).is_empty()).then_some(())
    })
    .await;
    sqlx::query("UPDATE payments SET sale_id = $2 WHERE order_id = $1")
        .bind(order)
        .bind(Uuid::new_v4())
        .execute(&bench.pg.pool)
        .await
        .unwrap();
    assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    let captured = bench.logged("payment_intent.captured", Some(order));
    assert_eq!(captured[0]["sale_id"], bench.sale.to_string());
    assert_eq!(bench.payment(order).await.attempts, 2, "another form was refused first");
    bench.books_agree().await;
}

/// After a day Stripe has forgotten the key: the same request would be a new one.
#[tokio::test]
async fn a_forgotten_key_is_not_used_again() {
    let env = [("PAYMENT__RETRY_BASE_MS", "60000"), ("PAYMENT__RETRY_CAP_MS", "60000")];
    let bench = Bench::with(Standin { webhooks: false, ..Standin::default() }, &env).await;
    bench.fault(CREATE, "reset_after", 1).await;
    let order = bench.create("pm_card_visa").await;
    let aged = "UPDATE payments SET generation_at = now() - interval '25 hours', due_at = now() \
                WHERE order_id = $1 AND lease_id IS NULL AND attempts > 0";
    eventually("it waits for its next attempt", || async {
        let aged = sqlx::query(aged).bind(order).execute(&bench.pg.pool).await.unwrap();
        // The stand-in forgets first: an attempt in between must not find the key.
        (aged.rows_affected() == 1).then_some(())
    })
    .await;
    bench.control("POST", "/clock", json!({ "advance_ms": 90_000_000 })).await;
    assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    assert_eq!(bench.logged("payment_intent.created", Some(order)).len(), 1);
    bench.books_agree().await;
}

#[tokio::test]
async fn an_intent_among_many_is_searched_for_when_the_search_knows_it() {
    let bench = Bench::new(&[]).await;
    let store = Store::new(bench.pg.pool_of("payment"));
    let config = common::config(&bench.pg, &bench.standin_url, &[]);
    let common = config.payment.common();
    let stripe = Stripe::new(stack(&config.payment, &store).unwrap().0, common, Metrics::new());
    let url = format!("{}/v1/payment_intents", bench.standin_url);
    let create = |order: Uuid| {
        let url = url.clone();
        async move {
            let form = format!(
                "amount=500&currency=eur&allowed_payment_method_types[]=card&metadata[order_id]={order}"
            );
            let headers = [
                ("authorization", "Bearer sk_test_others"),
                ("content-type", "application/x-www-form-urlencoded"),
            ];
            assert_eq!(common::http("POST", &url, &headers, form).await.0, 200);
        }
    };
    let order = Uuid::new_v4();
    let first = time::OffsetDateTime::now_utc();
    create(order).await;
    futures::stream::iter((0..1_050).map(|_| create(Uuid::new_v4())))
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;
    let last = time::OffsetDateTime::now_utc();
    let early = stripe.find(order, first, last, last).await.unwrap_err();
    assert!(early.to_string().contains("searched for in"), "{early}");
    bench.control("POST", "/clock", json!({ "advance_ms": 3_700_000 })).await;
    let late = last + Duration::from_secs(3_700);
    let found = stripe.find(order, first, last, late).await.unwrap();
    assert_eq!(found.and_then(|intent| intent.order_id), Some(order));
    assert_eq!(stripe.find(Uuid::new_v4(), first, last, late).await.unwrap(), None);
}

#[tokio::test]
async fn waiting_too_long_for_the_provider_ends_as_that() {
    let env = [
        ("PAYMENT__WAIT_LIMIT_MS", "1000"),
        ("PAYMENT__RECONCILE_EVERY_MS", "50"),
        ("PAYMENT__BREAKER__MIN_CALLS", "1000"),
    ];
    let bench = Bench::new(&env).await;
    // One that Stripe has an intent of, and is not there to be asked about.
    bench.fault(CONFIRM, "html_502_before", 0).await;
    bench.fault("GET *", "html_502_before", 0).await;
    bench.fault(CANCEL, "html_502_before", 0).await;
    let begun = bench.create("pm_card_visa").await;
    eventually("it is begun", || async {
        (!bench.payment(begun).await.payment_intent.is_empty()).then_some(())
    })
    .await;
    // One that Stripe has not heard of: its word is not needed.
    set_breaker(&bench, BreakerForce::Open).await;
    let unbegun = bench.create("pm_card_visa").await;
    assert_eq!(bench.ends(unbegun).await.state(), PaymentState::Cancelled);
    assert_eq!(end_reason(&bench, unbegun).await.as_deref(), Some("provider_unavailable"));
    assert!(bench.logged("payment_intent.created", Some(unbegun)).is_empty());
    assert_eq!(bench.payment(begun).await.state(), PaymentState::Processing);
    // Only Stripe's word ends the other one.
    bench.control("DELETE", "/faults", json!({})).await;
    set_breaker(&bench, BreakerForce::Auto).await;
    assert_eq!(bench.ends(begun).await.state(), PaymentState::Cancelled);
    assert_eq!(end_reason(&bench, begun).await.as_deref(), Some("provider_unavailable"));
    assert_eq!(bench.logged("payment_intent.canceled", Some(begun)).len(), 1);
    bench.books_agree().await;
}

/// Others use the account, too: its limit is below what is configured here.
#[tokio::test]
async fn a_limit_below_the_budget_is_found_and_kept() {
    let standin = Standin { rate: 10, ..Standin::default() };
    let env = [("PAYMENT__ENDPOINT_BUDGET_PER_S", "40.0"), ("PAYMENT__MAX_IN_FLIGHT", "8")];
    let bench = Bench::with(standin, &env).await;
    let orders = bench.create_many(&["pm_card_visa"; 60]).await;
    for order in orders {
        assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    }
    let state = bench.control("GET", "/state", json!({})).await;
    let limited = state["traffic"]["rate_limited"].as_u64().unwrap();
    let sent: u64 = state["traffic"]["requests"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(serde_json::Value::as_u64)
        .sum();
    println!("{limited} of {sent} calls were limited");
    assert!(limited > 0, "the limit was never hit");
    assert!(limited * 3 < sent, "{limited} of {sent} calls were limited");
    bench.books_agree().await;
}

/// A provider that takes connections and says nothing is noticed by that alone.
#[tokio::test]
async fn silence_opens_the_breaker() {
    let env = [("PAYMENT__TIMEOUT_MS", "250"), ("PAYMENT__BREAKER__OPEN_MS", "400")];
    let bench = Bench::new(&env).await;
    bench.fault("*", "hang_before", 0).await;
    let orders = bench.create_many(&["pm_card_visa"; 12]).await;
    let open = eventually("the breaker opens", || async {
        let answer = bench.admin.clone().get_breaker(GetBreakerRequest {}).await.unwrap();
        let answer = answer.into_inner();
        (answer.state() == BreakerState::Open).then_some(answer)
    })
    .await;
    assert_eq!(open.cause(), BreakerCause::Timeouts);
    assert!(open.next_probe.is_some() && open.failure_rate > 0.99);
    assert_eq!(open.open_payments, 12, "a payment was given up");
    bench.control("DELETE", "/faults", json!({})).await;
    for order in orders {
        assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    }
    bench.books_agree().await;
}
