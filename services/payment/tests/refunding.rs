//! Money that goes back in parts, against the Stripe stand-in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Bench, Standin, eur};
use flashsale_proto::payment::PaymentState;
use flashsale_testbed::eventually;
use serde_json::json;
use uuid::Uuid;

const REFUND: &str = "POST /v1/refunds";

/// Waits until as many cents of a payment are back.
async fn is_back(bench: &Bench, order: Uuid, cents: i64) {
    let expected = eur(cents / 100, i32::try_from(cents % 100).unwrap());
    eventually(&format!("{cents} cents are back"), || async {
        (bench.payment(order).await.refunded == Some(expected.clone())).then_some(())
    })
    .await;
}

/// What the stand-in has given back of an order's money, refund by refund.
fn given_back(bench: &Bench, order: Uuid) -> Vec<i64> {
    let lines = bench.logged("payment_intent.refunded", Some(order));
    lines.iter().map(|line| line["amount"].as_i64().unwrap()).collect()
}

async fn paid(bench: &Bench) -> Uuid {
    let order = bench.create("pm_card_visa").await;
    bench.reaches(order, PaymentState::Succeeded).await;
    order
}

#[tokio::test]
async fn money_goes_back_in_parts() {
    let bench = Bench::new(&[]).await;
    let order = paid(&bench).await;
    assert_eq!(bench.payment(order).await.refunded, None);
    bench.refund(order, Some(500)).await.unwrap();
    is_back(&bench, order, 500).await;
    assert_eq!(bench.payment(order).await.state(), PaymentState::Succeeded);
    bench.refund(order, Some(1_000)).await.unwrap();
    is_back(&bench, order, 1_500).await;
    bench.refund(order, None).await.unwrap();
    bench.reaches(order, PaymentState::Refunded).await;
    is_back(&bench, order, 1_999).await;
    assert_eq!(given_back(&bench, order), [500, 1_000, 499]);
    // Each under a key that had not been used: the provider refuses another part under it, and only
    // then comes the next try.
    let tries: Vec<i32> = sqlx::query_scalar("SELECT try FROM refunds WHERE order_id = $1")
        .bind(order)
        .fetch_all(&bench.pg.pool)
        .await
        .unwrap();
    assert_eq!(tries, [1; 3], "a part had the key of another");
    let moves: Vec<(String, i64)> =
        sqlx::query_as("SELECT kind, amount_minor FROM money_moves ORDER BY at")
            .fetch_all(&bench.pg.pool)
            .await
            .unwrap();
    let expected = [("CAPTURED", 1_999), ("REFUNDED", 500), ("REFUNDED", 1_000), ("REFUNDED", 499)];
    assert_eq!(moves, expected.map(|(kind, amount)| (kind.to_owned(), amount)));
    bench.books_agree().await;
}

#[tokio::test]
async fn a_lost_answer_gives_a_part_back_once() {
    let env = [("PAYMENT__TIMEOUT_MS", "250"), ("PAYMENT__BREAKER__MIN_CALLS", "1000")];
    let bench = Bench::new(&env).await;
    for kind in [
        "hang_before",
        "hang_after",
        "reset_before",
        "reset_after",
        "html_502_after",
        "error_500_after",
        "unreadable_200",
        "lock_timeout_429",
    ] {
        let order = paid(&bench).await;
        bench.fault(REFUND, kind, 1).await;
        bench.refund(order, Some(700)).await.unwrap();
        is_back(&bench, order, 700).await;
        bench.refund(order, Some(700)).await.unwrap();
        is_back(&bench, order, 1_400).await;
        assert_eq!(given_back(&bench, order), [700, 700], "{kind}");
    }
    bench.books_agree().await;
}

/// The record does not know of the refund by hand when the rest is asked for.
#[tokio::test]
async fn the_rest_is_what_is_left_beside_refunds_by_hand() {
    let bench = Bench::new(&[]).await;
    let order = paid(&bench).await;
    let intent = bench.payment(order).await.payment_intent;
    let form = format!("payment_intent={intent}&amount=500");
    assert_eq!(bench.by_hand("/refunds", &form).await.0, 200);
    bench.refund(order, None).await.unwrap();
    bench.reaches(order, PaymentState::Refunded).await;
    is_back(&bench, order, 1_999).await;
    assert_eq!(given_back(&bench, order), [500, 1_499]);
    bench.books_agree().await;
}

#[tokio::test]
async fn a_part_that_is_gone_by_hand_is_given_up() {
    let bench = Bench::new(&[]).await;
    let order = paid(&bench).await;
    let intent = bench.payment(order).await.payment_intent;
    let form = format!("payment_intent={intent}&amount=1500");
    assert_eq!(bench.by_hand("/refunds", &form).await.0, 200);
    // More than is left, which is not known yet.
    bench.refund(order, Some(1_000)).await.unwrap();
    is_back(&bench, order, 1_500).await;
    eventually("the part is given up", || async {
        let states: Vec<String> = sqlx::query_scalar(
            "SELECT state FROM refunds WHERE order_id = $1 ORDER BY amount_minor",
        )
        .bind(order)
        .fetch_all(&bench.pg.pool)
        .await
        .unwrap();
        (states == ["FAILED", "DONE"]).then_some(())
    })
    .await;
    bench.refund(order, None).await.unwrap();
    bench.reaches(order, PaymentState::Refunded).await;
    assert_eq!(given_back(&bench, order), [1_500, 499]);
    bench.books_agree().await;
}

/// A refund that the provider works on is asked about, and never sent again: under a key that has
/// been forgotten it would be a second one.
#[tokio::test]
async fn a_pending_refund_is_only_asked_about() {
    let bench = Bench::new(&[]).await;
    for made_by_hand in [true, false] {
        let order = bench.create("pm_card_pendingRefund").await;
        let paid = bench.reaches(order, PaymentState::Succeeded).await;
        if made_by_hand {
            let form = format!("payment_intent={}&amount=500", paid.payment_intent);
            assert_eq!(bench.by_hand("/refunds", &form).await.0, 200);
        } else {
            bench.refund(order, Some(500)).await.unwrap();
        }
        let row = "SELECT state, provider_ref, calls FROM refunds WHERE order_id = $1";
        let row = || async {
            sqlx::query_as::<_, (String, Option<String>, i32)>(row)
                .bind(order)
                .fetch_optional(&bench.pg.pool)
                .await
                .unwrap()
        };
        let made = eventually("the refund is known", || async {
            row().await.and_then(|(state, made, _)| made.filter(|_| state == "PENDING"))
        })
        .await;
        let sent = async || {
            let state = bench.control("GET", "/state", json!({})).await;
            state["traffic"]["requests"][REFUND].as_u64().unwrap()
        };
        let before = sent().await;
        eventually("it was asked about three times", || async {
            let due = "UPDATE refunds SET due_at = now() WHERE order_id = $1 AND state = 'PENDING'";
            sqlx::query(due).bind(order).execute(&bench.pg.pool).await.unwrap();
            row().await.filter(|(_, _, calls)| *calls >= 3)
        })
        .await;
        assert_eq!(sent().await, before, "it was sent again; by hand: {made_by_hand}");
        bench.control("POST", &format!("/refund/{made}"), json!({ "outcome": "succeeded" })).await;
        is_back(&bench, order, 500).await;
    }
    bench.books_agree().await;
}

#[tokio::test]
async fn a_refund_that_fails_later_is_made_again() {
    let bench = Bench::new(&[]).await;
    let order = paid(&bench).await;
    bench.refund(order, Some(500)).await.unwrap();
    is_back(&bench, order, 500).await;
    let made: String = sqlx::query_scalar("SELECT provider_ref FROM refunds")
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap();
    bench.control("POST", &format!("/refund/{made}"), json!({ "outcome": "failed" })).await;
    eventually("it is made again", || async {
        sqlx::query("UPDATE refunds SET due_at = now() WHERE state = 'DUE' AND calls = 1")
            .execute(&bench.pg.pool)
            .await
            .unwrap();
        (given_back(&bench, order).len() == 2).then_some(())
    })
    .await;
    is_back(&bench, order, 500).await;
    let moves: Vec<String> = sqlx::query_scalar("SELECT kind FROM money_moves ORDER BY at")
        .fetch_all(&bench.pg.pool)
        .await
        .unwrap();
    assert_eq!(moves, ["CAPTURED", "REFUNDED", "REFUND_FAILED", "REFUNDED"]);
}

/// Nothing is sent to us: what others do at the provider is read from its list.
#[tokio::test]
async fn what_was_not_sent_is_read() {
    let standin = Standin { webhooks: false, ..Standin::default() };
    let bench = Bench::with(standin, &[("PAYMENT__COMPARE_EVERY_MS", "100")]).await;
    let order = paid(&bench).await;
    let intent = bench.payment(order).await.payment_intent;
    let form = format!("payment_intent={intent}&amount=500");
    assert_eq!(bench.by_hand("/refunds", &form).await.0, 200);
    is_back(&bench, order, 500).await;
    let learnt: String =
        sqlx::query_scalar("SELECT learnt_by FROM money_moves WHERE kind = 'REFUNDED'")
            .fetch_one(&bench.pg.pool)
            .await
            .unwrap();
    assert_eq!(learnt, "comparison");
    // Read again and again, and taken once.
    let passes = "SELECT events_read FROM provider_comparison";
    let read: i64 = sqlx::query_scalar(passes).fetch_one(&bench.pg.pool).await.unwrap();
    eventually("the list is read again", || async {
        let now: i64 = sqlx::query_scalar(passes).fetch_one(&bench.pg.pool).await.unwrap();
        (now > read).then_some(())
    })
    .await;
    is_back(&bench, order, 500).await;
}

#[tokio::test]
async fn disputes_are_written_down() {
    let bench = Bench::new(&[]).await;
    let order = bench.create("pm_card_createDispute").await;
    bench.reaches(order, PaymentState::Succeeded).await;
    bench.control("POST", "/clock", json!({ "advance_ms": 60_000 })).await;
    let kinds = || async {
        sqlx::query_scalar::<_, String>("SELECT kind FROM money_moves ORDER BY at")
            .fetch_all(&bench.pg.pool)
            .await
            .unwrap()
    };
    eventually("the dispute is known", || async {
        (kinds().await == ["CAPTURED", "DISPUTED"]).then_some(())
    })
    .await;
    let charge = bench.logged("payment_intent.captured", Some(order))[0]["charge"].clone();
    let path = format!("/dispute/{}", charge.as_str().unwrap());
    bench.control("POST", &path, json!({ "outcome": "won" })).await;
    eventually("it is won", || async {
        (kinds().await == ["CAPTURED", "DISPUTED", "DISPUTE_WON"]).then_some(())
    })
    .await;
}
