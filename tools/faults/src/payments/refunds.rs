//! Money goes back in parts, by hand, to banks that refuse it later, and to several who ask for the
//! same rest: never more than was taken, and the record has what the provider has.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use flashsale_proto::{Money, payment::RefundRequest};
use rand::seq::SliceRandom as _;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use super::{
    book::{Book, CARD, PRICE, brisk, serve},
    calls::{client, timely},
    provider::{FORM, control, post},
};
use crate::{figures::Figures, patience::until_some, platform::Platform, task::Task};

const WAYS: [Way; 4] = [Way::Parts, Way::ByHand, Way::Refused, Way::Racing];
/// Orders of each way.
const ORDERS: usize = 8;
/// What goes back by hand, in cents.
const BY_HAND: i64 = 400;
const WITHIN: Duration = Duration::from_secs(30);

/// How money goes back.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// In parts, each asked for twice, and of half of the orders the rest as well.
    Parts,
    /// A part by hand at the provider, then the rest.
    ByHand,
    /// The bank refuses it later.
    Refused,
    /// Two ask for more than half, and a third takes as much by hand.
    Racing,
}

/// How many ways there are.
pub(super) fn ways() -> u64 {
    WAYS.len() as u64
}

/// Each way in turn.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let settings = brisk(&task.platform);
    serve(&mut task.platform, settings).await?;
    let mut ways = WAYS;
    ways.shuffle(&mut task.random);
    for way in ways.into_iter().cycle().take(usize::try_from(task.asked)?) {
        let platform = &task.platform;
        let book = Book::of(platform, ORDERS, CARD).await?;
        book.pay(platform).await?;
        book.ended(platform, WITHIN).await?;
        for (number, order) in book.orders.iter().enumerate() {
            match way {
                Way::Parts => parts(platform, *order, number % 2 == 0).await?,
                Way::ByHand => by_hand(platform, *order).await?,
                Way::Refused => refused(platform, *order).await?,
                Way::Racing => racing(platform, *order, figures).await?,
            }
        }
        let before = figures.broken.len();
        book.conclude(platform, &["CONFIRMED", "REFUNDED"], figures).await?;
        let back: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(refunded_minor), 0)::bigint FROM payments WHERE sale_id = $1",
        )
        .bind(book.sale.id)
        .fetch_one(&platform.pool)
        .await?;
        figures.count("refunded_minor", u64::try_from(back)?);
        figures.expect(back > 0, || "nothing went back".to_owned());
        if figures.broken.len() > before {
            figures.broken.push(format!("that was {way:?}"));
        }
        figures.runs += 1;
    }
    Ok(())
}

/// Asks for this much, in whole euros, or for all that is left; whether it was accepted. Asked again
/// until there is an answer.
async fn refund(
    platform: &Platform,
    order: Uuid,
    request: Uuid,
    euros: Option<i64>,
) -> anyhow::Result<bool> {
    let money = |units| Money { currency_code: "EUR".to_owned(), units, nanos: 0 };
    let request = RefundRequest {
        request_id: request.to_string(),
        order_id: order.to_string(),
        amount: euros.map(money),
        reason: "a fault on purpose".to_owned(),
    };
    let client = client(platform)?;
    until_some(WITHIN, "a refund is asked for", async || {
        match client.clone().refund(timely(request.clone())).await {
            Ok(_) => Ok(Some(true)),
            Err(status) if status.code() == Code::FailedPrecondition => Ok(Some(false)),
            Err(status) => Err(status),
        }
    })
    .await
}

/// Waits until so much is back by the record, in cents.
async fn is_back(platform: &Platform, order: Uuid, cents: i64) -> anyhow::Result<()> {
    until_some(WITHIN, "money is back", async || {
        let back: i64 =
            sqlx::query_scalar("SELECT refunded_minor FROM payments WHERE order_id = $1")
                .bind(order)
                .fetch_one(&platform.pool)
                .await?;
        ensure!(back == cents, "{back} of {cents}");
        anyhow::Ok(Some(()))
    })
    .await
}

/// Gives money back at the provider, past payment; whether there was as much left.
async fn give_back_by_hand(platform: &Platform, order: Uuid, cents: i64) -> anyhow::Result<bool> {
    let intent: Option<String> =
        sqlx::query_scalar("SELECT intent_id FROM payments WHERE order_id = $1")
            .bind(order)
            .fetch_one(&platform.pool)
            .await?;
    let intent = intent.context("a paid order without an intent")?;
    let form = format!("payment_intent={intent}&amount={cents}");
    Ok(post(platform, "/v1/refunds", FORM, &form).await.is_ok())
}

async fn parts(platform: &Platform, order: Uuid, all: bool) -> anyhow::Result<()> {
    for euros in [3, 4] {
        let request = Uuid::new_v4();
        for _ in 0..2 {
            let taken = refund(platform, order, request, Some(euros)).await?;
            ensure!(taken, "a part of {euros} EUR is refused");
        }
    }
    // More than is left.
    let taken = refund(platform, order, Uuid::new_v4(), Some(4)).await?;
    ensure!(!taken, "more than is left is accepted");
    if !all {
        return is_back(platform, order, 700).await;
    }
    refund(platform, order, Uuid::new_v4(), None).await?;
    is_back(platform, order, PRICE).await
}

async fn by_hand(platform: &Platform, order: Uuid) -> anyhow::Result<()> {
    ensure!(give_back_by_hand(platform, order, BY_HAND).await?, "the provider refuses a refund");
    is_back(platform, order, BY_HAND).await?;
    refund(platform, order, Uuid::new_v4(), None).await?;
    is_back(platform, order, PRICE).await
}

async fn refused(platform: &Platform, order: Uuid) -> anyhow::Result<()> {
    refund(platform, order, Uuid::new_v4(), Some(6)).await?;
    is_back(platform, order, 600).await?;
    let made: Option<String> = sqlx::query_scalar(
        "SELECT provider_ref FROM refunds WHERE order_id = $1 AND state = 'DONE'",
    )
    .bind(order)
    .fetch_one(&platform.pool)
    .await?;
    let made = made.context("a refund without the provider's id")?;
    control(platform, &format!("refund/{made}"), &json!({ "outcome": "failed" })).await?;
    until_some(WITHIN, "the failure is recorded", async || {
        let known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM money_moves WHERE kind = 'REFUND_FAILED' AND provider_ref = $1)",
        )
        .bind(&made)
        .fetch_one(&platform.pool)
        .await?;
        anyhow::Ok(known.then_some(()))
    })
    .await?;
    // Another try goes out by itself.
    is_back(platform, order, 600).await
}

async fn racing(platform: &Platform, order: Uuid, figures: &mut Figures) -> anyhow::Result<()> {
    let (one, other, by_hand) = tokio::try_join!(
        refund(platform, order, Uuid::new_v4(), Some(7)),
        refund(platform, order, Uuid::new_v4(), Some(7)),
        give_back_by_hand(platform, order, 700),
    )?;
    let taken = [one, other, by_hand].into_iter().filter(|taken| *taken).count();
    figures.count("races_taken", taken as u64);
    // What the first of them left.
    refund(platform, order, Uuid::new_v4(), None).await.map(|_| ())
}
