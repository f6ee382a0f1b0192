//! Answers that are lost, stored, wrong or unreadable: only asking tells what became of a request.

use std::time::Duration;

use flashsale_payment::{
    metrics::Metrics,
    peers::stripe::{Stripe, stack},
    store::Store,
};
use flashsale_proto::payment::PaymentState;
use flashsale_testbed::eventually;
use futures::StreamExt as _;
use serde_json::json;
use uuid::Uuid;

use crate::{
    CANCEL, CONFIRM, CREATE,
    common::{self, Bench, Standin},
};

const REFUND: &str = "POST /v1/refunds";

async fn failures(bench: &Bench, order: Uuid) -> i32 {
    sqlx::query_scalar("SELECT failures FROM payments WHERE order_id = $1")
        .bind(order)
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap()
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
async fn a_wrong_parameter_leaves_the_payment_stuck() {
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
