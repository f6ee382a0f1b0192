//! A provider that limits calls, is down or says nothing: payments wait, and the breaker spares it.

use std::time::Duration;

use flashsale_proto::payment::{
    BreakerCause, BreakerForce, BreakerState, GetBreakerRequest, PaymentState, SetBreakerRequest,
};
use flashsale_testbed::eventually;
use serde_json::json;
use uuid::Uuid;

use crate::{
    CANCEL, CONFIRM, CREATE, breaker,
    common::{Bench, Standin},
    end_reason,
};

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
    // The key's account may have been told before.
    assert!(open.next_probe.is_some() && open.failure_rate > 0.9);
    assert_eq!(open.open_payments, 12, "a payment was given up");
    bench.control("DELETE", "/faults", json!({})).await;
    for order in orders {
        assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    }
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
async fn waiting_too_long_for_the_provider_ends_as_that() {
    let env = [
        ("PAYMENT__WAIT_LIMIT_MS", "1000"),
        ("PAYMENT__RECONCILE_EVERY_MS", "50"),
        ("PAYMENT__BREAKER__MIN_CALLS", "1000"),
    ];
    let bench = Bench::new(&env).await;
    // One that Stripe has an intent of, and is not there to be asked about.
    bench.fault(CONFIRM, "html_502_before", 0).await;
    bench.fault("GET /v1/payment_intents*", "html_502_before", 0).await;
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
