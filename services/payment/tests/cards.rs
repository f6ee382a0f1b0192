//! Orders whose cards are refused, and paid with others, against the Stripe stand-in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Bench;
use flashsale_errors::Reason;
use flashsale_proto::payment::{Payment, PaymentState, RetryPaymentRequest};
use flashsale_testbed::{assert_failure, eventually};
use serde_json::json;
use tonic::Status;
use uuid::Uuid;

const CREATE: &str = "POST /v1/payment_intents";
const CONFIRM: &str = "POST /v1/payment_intents/:id/confirm";
const DECLINED: &str = "pm_card_visa_chargeDeclined";
/// Long enough for a test, also on a busy machine.
const LONG: [(&str, &str); 1] = [("PAYMENT__CARD_RETRY_MS", "60000")];
/// One that has `payment_method_types`.
const OLDER: (&str, &str) = ("PAYMENT__STRIPE_VERSION", "2026-06-24");

/// Has another card tried.
async fn retry(bench: &Bench, request: Uuid, order: Uuid, method: &str) -> Result<Payment, Status> {
    let request = RetryPaymentRequest {
        request_id: request.to_string(),
        order_id: order.to_string(),
        payment_method: method.to_owned(),
    };
    let answer = bench.payments.clone().retry_payment(request).await?;
    Ok(answer.into_inner().payment.unwrap())
}

/// Waits until a payment waits for this card after as many refusals.
async fn asks_for_a_card(bench: &Bench, order: Uuid, refusals: i32) {
    let asked = "SELECT card_declined = $2 AND action = 'NEW_METHOD' AND state = 'REQUIRES_ACTION' \
                 FROM payments WHERE order_id = $1";
    eventually(&format!("{order} asks for card {}", refusals + 1), || async {
        let asked: bool = sqlx::query_scalar(asked)
            .bind(order)
            .bind(refusals)
            .fetch_one(&bench.pg.pool)
            .await
            .unwrap();
        asked.then_some(())
    })
    .await;
}

/// The cards of an order and what became of them.
async fn attempts(bench: &Bench, order: Uuid) -> Vec<(i32, Option<String>)> {
    sqlx::query_as("SELECT n, outcome FROM payment_attempts WHERE order_id = $1 ORDER BY n")
        .bind(order)
        .fetch_all(&bench.pg.pool)
        .await
        .unwrap()
}

fn outcomes(outcomes: &[&str]) -> Vec<(i32, Option<String>)> {
    (1..).zip(outcomes).map(|(n, outcome)| (n, Some((*outcome).to_owned()))).collect()
}

#[tokio::test]
async fn another_card_pays() {
    let bench = Bench::new(&LONG).await;
    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    assert_eq!(bench.payment(order).await.decline_code, "generic_decline");
    let request = Uuid::new_v4();
    let answer = retry(&bench, request, order, "pm_card_mastercard").await.unwrap();
    assert_eq!(answer.state(), PaymentState::Processing);
    let paid = bench.reaches(order, PaymentState::Succeeded).await;
    assert_eq!(paid.decline_code, "");
    let captured = bench.logged("payment_intent.captured", Some(order));
    assert_eq!(captured[0]["payment_method"], "pm_card_mastercard");
    assert_eq!(captured[0]["idempotency_key"], format!("pi/{order}/confirm/2/0"));
    assert_eq!(attempts(&bench, order).await, outcomes(&["DECLINED", "SUCCEEDED"]));
    // The same request again changes nothing, and means nothing else.
    let again = retry(&bench, request, order, "pm_card_mastercard").await.unwrap();
    assert_eq!(again.state(), PaymentState::Succeeded);
    let status = retry(&bench, request, order, "pm_card_visa").await.unwrap_err();
    assert_failure(&status, Reason::RequestIdReused);
    let status = retry(&bench, Uuid::new_v4(), order, "pm_card_visa").await.unwrap_err();
    assert_failure(&status, Reason::PaymentRetryClosed);
    bench.books_agree().await;
}

/// A bank may refuse a card and then take it, once its owner has said so on the phone: the second
/// attempt must not be answered with what is stored of the first.
#[tokio::test]
async fn the_same_card_may_be_tried_again() {
    let bench = Bench::new(&LONG).await;
    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    retry(&bench, Uuid::new_v4(), order, DECLINED).await.unwrap();
    asks_for_a_card(&bench, order, 2).await;
    let declined = bench.logged("payment_intent.declined", Some(order));
    assert_eq!(declined.len(), 2, "the bank was not asked again");
    retry(&bench, Uuid::new_v4(), order, "pm_card_visa").await.unwrap();
    bench.reaches(order, PaymentState::Succeeded).await;
    bench.books_agree().await;
}

#[tokio::test]
async fn the_last_card_is_the_last() {
    let bench = Bench::new(&LONG).await;
    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    // A token that is none is a refused card, too.
    retry(&bench, Uuid::new_v4(), order, "pm_that_is_none").await.unwrap();
    asks_for_a_card(&bench, order, 2).await;
    let last = "pm_card_visa_chargeDeclinedLostCard";
    retry(&bench, Uuid::new_v4(), order, last).await.unwrap();
    let payment = bench.ends(order).await;
    assert_eq!(
        (payment.state(), payment.decline_code.as_str()),
        (PaymentState::Failed, "lost_card")
    );
    assert_eq!(attempts(&bench, order).await, outcomes(&["DECLINED"; 3]));
    let status = retry(&bench, Uuid::new_v4(), order, "pm_card_visa").await.unwrap_err();
    assert_failure(&status, Reason::PaymentRetryClosed);
    bench.books_agree().await;
}

#[tokio::test]
async fn a_buyer_who_names_no_card_is_declined() {
    let bench = Bench::new(&[("PAYMENT__CARD_RETRY_MS", "700")]).await;
    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    let payment = bench.ends(order).await;
    assert_eq!(payment.state(), PaymentState::Failed);
    assert_eq!(payment.decline_code, "generic_decline");
    assert_eq!(bench.logged("payment_intent.canceled", Some(order)).len(), 1);
    let status = retry(&bench, Uuid::new_v4(), order, "pm_card_visa").await.unwrap_err();
    assert_failure(&status, Reason::PaymentRetryClosed);
    bench.books_agree().await;
}

#[tokio::test]
async fn one_card_is_tried_at_a_time() {
    let bench = Bench::new(&LONG).await;
    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    let tabs = (0..12).map(|_| retry(&bench, Uuid::new_v4(), order, "pm_card_visa"));
    let answers = futures::future::join_all(tabs).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for status in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_failure(status, Reason::PaymentRetryClosed);
    }
    bench.reaches(order, PaymentState::Succeeded).await;
    assert_eq!(attempts(&bench, order).await.len(), 2);
    bench.books_agree().await;
}

/// A confirmation that was lost, before or after it took effect, is no refused card.
#[tokio::test]
async fn a_lost_answer_costs_no_card() {
    let env = [LONG[0], ("PAYMENT__TIMEOUT_MS", "250"), ("PAYMENT__BREAKER__MIN_CALLS", "1000")];
    let bench = Bench::new(&env).await;
    for kind in [
        "hang_before",
        "hang_after",
        "reset_before",
        "reset_after",
        "html_502_after",
        "error_500",
        "error_500_after",
        "unreadable_200",
        "conflict_409",
        "refused_400",
    ] {
        for method in ["pm_card_visa", DECLINED] {
            let order = bench.create(DECLINED).await;
            asks_for_a_card(&bench, order, 1).await;
            bench.fault(CONFIRM, kind, 1).await;
            retry(&bench, Uuid::new_v4(), order, method).await.unwrap();
            if method == DECLINED {
                asks_for_a_card(&bench, order, 2).await;
                bench.cancel(order).await;
                let end = bench.ends(order).await.state();
                assert_eq!(end, PaymentState::Cancelled, "{kind}: the buyer has cancelled it");
            } else {
                assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded, "{kind}");
                let became = outcomes(&["DECLINED", "SUCCEEDED"]);
                assert_eq!(attempts(&bench, order).await, became, "{kind}");
            }
        }
    }
    bench.books_agree().await;
}

/// With the client secret a browser can confirm the intent past us: its cards count all the same.
#[tokio::test]
async fn a_browsers_cards_count() {
    let bench = Bench::new(&LONG).await;
    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    let intent = bench.payment(order).await.payment_intent;
    let path = format!("/payment_intents/{intent}/confirm");
    let form = format!("payment_method={DECLINED}");
    assert_eq!(bench.by_hand(&path, &form).await.0, 402);
    asks_for_a_card(&bench, order, 2).await;
    assert_eq!(bench.by_hand(&path, &form).await.0, 402);
    let payment = bench.ends(order).await;
    assert_eq!(payment.state(), PaymentState::Failed);
    assert_eq!(attempts(&bench, order).await, outcomes(&["DECLINED"; 3]));

    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    let intent = bench.payment(order).await.payment_intent;
    let path = format!("/payment_intents/{intent}/confirm");
    assert_eq!(bench.by_hand(&path, "payment_method=pm_card_visa").await.0, 200);
    bench.reaches(order, PaymentState::Succeeded).await;
    bench.books_agree().await;
}

/// What a browser has made of a card and of what was asked of its buyer.
#[tokio::test]
async fn a_confirmation_token_pays() {
    let bench = Bench::new(&LONG).await;
    let token = async |card: &str| {
        let form = format!("payment_method={card}");
        let (status, token) = bench.by_hand("/test_helpers/confirmation_tokens", &form).await;
        assert_eq!(status, 200, "{token}");
        token["id"].as_str().unwrap().to_owned()
    };
    let order = bench.create(&token(DECLINED).await).await;
    asks_for_a_card(&bench, order, 1).await;
    let other = token("pm_card_visa").await;
    retry(&bench, Uuid::new_v4(), order, &other).await.unwrap();
    bench.reaches(order, PaymentState::Succeeded).await;
    bench.books_agree().await;
}

/// In a version with `payment_method_types` the intent is created with the first card, and charges
/// nothing until it is confirmed.
#[tokio::test]
async fn an_older_version_pays_with_any_card() {
    let bench = Bench::new(&[LONG[0], OLDER]).await;
    let order = bench.create("pm_card_visa").await;
    assert_eq!(bench.ends(order).await.state(), PaymentState::Succeeded);
    let captured = bench.logged("payment_intent.captured", Some(order));
    assert_eq!(captured[0]["idempotency_key"], format!("pi/{order}/confirm/1/0"));
    assert_eq!(captured[0]["payment_method"], "pm_card_visa");

    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    retry(&bench, Uuid::new_v4(), order, "pm_card_mastercard").await.unwrap();
    bench.reaches(order, PaymentState::Succeeded).await;
    let captured = bench.logged("payment_intent.captured", Some(order));
    assert_eq!(captured[0]["payment_method"], "pm_card_mastercard");
    assert_eq!(attempts(&bench, order).await, outcomes(&["DECLINED", "SUCCEEDED"]));
    bench.books_agree().await;
}

/// The creation names it and is refused over it: that is a refused card, and not the end.
#[tokio::test]
async fn an_older_versions_unknown_card_is_one_card() {
    let bench = Bench::new(&[LONG[0], OLDER]).await;
    let order = bench.create("pm_that_is_none").await;
    asks_for_a_card(&bench, order, 1).await;
    assert_eq!(bench.payment(order).await.decline_code, "resource_missing");
    let made = bench.logged("payment_intent.created", Some(order));
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["idempotency_key"], format!("pi/{order}/create/1"));
    retry(&bench, Uuid::new_v4(), order, "pm_card_visa").await.unwrap();
    bench.reaches(order, PaymentState::Succeeded).await;
    assert_eq!(attempts(&bench, order).await, outcomes(&["DECLINED", "SUCCEEDED"]));
    bench.books_agree().await;
}

/// Whatever is lost on the way, the first card of an older version is charged once.
#[tokio::test]
async fn an_older_versions_lost_answers_charge_once() {
    let env =
        [LONG[0], OLDER, ("PAYMENT__TIMEOUT_MS", "250"), ("PAYMENT__BREAKER__MIN_CALLS", "1000")];
    let bench = Bench::new(&env).await;
    for endpoint in [CREATE, CONFIRM] {
        for kind in ["hang_after", "reset_before", "reset_after", "error_500_after"] {
            bench.fault(endpoint, kind, 1).await;
            let order = bench.create("pm_card_visa").await;
            let end = bench.ends(order).await.state();
            assert_eq!(end, PaymentState::Succeeded, "{endpoint} {kind}");
            assert_eq!(bench.captures(order), 1, "{endpoint} {kind}");
        }
    }
    bench.books_agree().await;
}

#[tokio::test]
async fn another_card_may_have_to_authenticate() {
    let bench = Bench::new(&LONG).await;
    let order = bench.create(DECLINED).await;
    asks_for_a_card(&bench, order, 1).await;
    let authenticate = |outcome: &'static str| {
        let bench = &bench;
        async move {
            retry(bench, Uuid::new_v4(), order, "pm_card_authenticationRequired").await.unwrap();
            let turn = "SELECT action = 'AUTHENTICATE' AND state = 'REQUIRES_ACTION' \
                        FROM payments WHERE order_id = $1";
            eventually("the bank wants to know", || async {
                let turn: Option<bool> =
                    sqlx::query_scalar(turn).bind(order).fetch_one(&bench.pg.pool).await.unwrap();
                (turn == Some(true)).then_some(())
            })
            .await;
            let path = format!("/authenticate/{}", bench.payment(order).await.payment_intent);
            bench.control("POST", &path, json!({ "outcome": outcome })).await;
        }
    };
    authenticate("fail").await;
    asks_for_a_card(&bench, order, 2).await;
    authenticate("success").await;
    bench.reaches(order, PaymentState::Succeeded).await;
    assert_eq!(attempts(&bench, order).await, outcomes(&["DECLINED", "DECLINED", "SUCCEEDED"]));
    bench.books_agree().await;
}
