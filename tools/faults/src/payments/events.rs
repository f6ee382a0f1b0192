//! The provider's events come twice, in another order, late, forged or signed with a secret that is
//! being rolled. Answers are lost, and payment looks for nothing itself: what is learnt is learnt
//! from events.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use flashsale_testbed::platform::{BreakerSettings, PaymentSettings, Settings};
use hmac::{Hmac, Mac as _};
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    book::{Book, CARD, brisk, serve},
    provider::{control, exchange, get, relent, strike_some},
};
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{Platform, WEBHOOK_SECRET},
    task::Task,
};

const WAYS: [Way; 5] = [Way::Twice, Way::Reordered, Way::Old, Way::Forged, Way::Rolled];
/// Orders of each way.
const ORDERS: usize = 20;
const CONFIRM: &str = "POST /v1/payment_intents/:id/confirm";
const WITHIN: Duration = Duration::from_secs(30);
/// Longer than any of this takes.
const NEVER_MS: u64 = 600_000;
/// A secret that takes the place of the other one.
const NEXT_SECRET: &str = "whsec_next";
/// A secret of no endpoint.
const OTHER_SECRET: &str = "whsec_another_endpoint";
/// Too old by a second, in seconds.
const TOO_OLD: i64 = 301;

/// What is wrong with the events.
#[derive(Debug, Clone, Copy)]
enum Way {
    Twice,
    Reordered,
    Old,
    Forged,
    Rolled,
}

/// How many ways there are.
pub(super) fn ways() -> u64 {
    WAYS.len() as u64
}

/// Each way in turn.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let base = brisk(&task.platform);
    let payment = PaymentSettings {
        webhook_secrets: Some(format!("{NEXT_SECRET},{WEBHOOK_SECRET}")),
        retry_base_ms: Some(NEVER_MS),
        retry_cap_ms: Some(NEVER_MS),
        compare_every_ms: Some(NEVER_MS),
        reconcile_after_ms: Some(NEVER_MS),
        // The lost answers are no reason to ask no more.
        breaker: BreakerSettings { min_calls: Some(1_000_000), ..base.payment.breaker },
        ..base.payment
    };
    serve(&mut task.platform, Settings { payment, ..base }).await?;
    let mut ways = WAYS;
    ways.shuffle(&mut task.random);
    for way in ways.into_iter().cycle().take(usize::try_from(task.asked)?) {
        let platform = &task.platform;
        let delivery = match way {
            Way::Twice => json!({ "duplicate": 1.0 }),
            Way::Reordered => json!({ "reorder": true, "reorder_window_ms": 1_500 }),
            // They come by hand.
            Way::Old | Way::Forged | Way::Rolled => json!({ "delay_ms": NEVER_MS }),
        };
        control(platform, "webhooks", &delivery).await?;
        let before = delivered(platform).await?;
        let book = Book::of(platform, ORDERS, CARD).await?;
        strike_some(platform, CONFIRM, "reset_after", 1.0).await?;
        book.pay(platform).await?;
        book.captures(platform, ORDERS, WITHIN).await?;
        by_hand(platform, way, &book, figures).await?;
        // Not a call of payment's: its answers are still lost, and it makes none for minutes.
        let ended = book.ended(platform, WITHIN).await;
        relent(platform).await?;
        figures.count("delivered", delivered(platform).await? - before);
        figures.expect(ended.is_ok(), || format!("{way:?}: not all is learnt from events"));
        figures.count("learnt_by_events", learnt_by_events(platform, &book).await?);
        control(platform, "webhooks", &json!({})).await?;
        let before = figures.broken.len();
        book.conclude(platform, &["CONFIRMED"], figures).await?;
        if figures.broken.len() > before {
            figures.broken.push(format!("that was {way:?}"));
        }
        figures.runs += 1;
    }
    Ok(())
}

/// Sends the events of what was captured, those that must be refused first: these change nothing.
async fn by_hand(
    platform: &Platform,
    way: Way,
    book: &Book,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (secret, age) = match way {
        Way::Twice | Way::Reordered => return Ok(()),
        Way::Old => (WEBHOOK_SECRET, TOO_OLD),
        Way::Forged | Way::Rolled => (OTHER_SECRET, 0),
    };
    // Each in turn.
    let ours: &[&str] = match way {
        Way::Twice | Way::Reordered | Way::Old | Way::Forged => &[WEBHOOK_SECRET],
        Way::Rolled => &[NEXT_SECRET, WEBHOOK_SECRET],
    };
    // Until the last of them has been put back its row changes.
    until_some(WITHIN, "payments are put back", async || {
        anyhow::Ok((book.leased(platform).await? == 0).then_some(()))
    })
    .await?;
    let events = captures(platform, book).await?;
    ensure!(events.len() == ORDERS, "{} events of {ORDERS} captures", events.len());
    let before = standing(platform, book).await?;
    for event in &events {
        let status = send(platform, event, secret, age).await?;
        figures.expect(status == 400, || format!("{way:?}: an event is answered with {status}"));
        figures.count("refused", u64::from(status == 400));
    }
    let after = standing(platform, book).await?;
    figures.expect(before == after, || format!("{way:?}: refused events have changed something"));
    for (event, secret) in events.iter().zip(ours.iter().cycle()) {
        let status = send(platform, event, secret, 0).await?;
        figures.expect(status == 200, || format!("{way:?}: an event is answered with {status}"));
    }
    Ok(())
}

/// The events of all captures of these orders, as the provider sends them.
async fn captures(platform: &Platform, book: &Book) -> anyhow::Result<Vec<String>> {
    let page = get(platform, "/v1/events?limit=100&type=payment_intent.succeeded").await?;
    let ours = |event: &&Value| {
        let order = event["data"]["object"]["metadata"]["order_id"].as_str();
        let order: Option<Uuid> = order.and_then(|order| order.parse().ok());
        order.is_some_and(|order| book.orders.contains(&order))
    };
    let events = page["data"].as_array().context("a page of events without events")?;
    Ok(events.iter().filter(ours).map(Value::to_string).collect())
}

/// Sends an event to payment as if it had been signed with this secret, so many seconds ago; the
/// status of the answer.
async fn send(platform: &Platform, event: &str, secret: &str, age: i64) -> anyhow::Result<u16> {
    let at = OffsetDateTime::now_utc().unix_timestamp() - age;
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|error| anyhow!("{error}"))?;
    mac.update(format!("{at}.{event}").as_bytes());
    let signed = mac.finalize().into_bytes();
    let signature: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
    let url = platform.services.payment.http_url();
    let address = url.strip_prefix("http://").context("payment's address")?;
    let head = format!(
        "POST /stripe/webhook HTTP/1.1\r\ncontent-type: application/json\r\n\
         stripe-signature: t={at},v1={signature}"
    );
    Ok(exchange(address, &head, event).await?.0)
}

/// Everything that an event may change.
async fn standing(
    platform: &Platform,
    book: &Book,
) -> anyhow::Result<Vec<(Uuid, String, OffsetDateTime, OffsetDateTime)>> {
    let rows = sqlx::query_as(
        "SELECT order_id, state, due_at, updated_at FROM payments WHERE sale_id = $1 ORDER BY order_id",
    )
    .bind(book.sale.id)
    .fetch_all(&platform.pool)
    .await?;
    Ok(rows)
}

/// How many captures of these orders were learnt from events.
async fn learnt_by_events(platform: &Platform, book: &Book) -> anyhow::Result<u64> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM money_moves
         WHERE order_id = ANY($1) AND kind = 'CAPTURED' AND learnt_by = 'event'",
    )
    .bind(&book.orders)
    .fetch_one(&platform.pool)
    .await?;
    Ok(u64::try_from(count)?)
}

/// How many events payment has taken since the stand-in was started.
async fn delivered(platform: &Platform) -> anyhow::Result<u64> {
    let state = get(platform, "/_control/state").await?;
    Ok(state["webhooks"]["delivered"].as_u64().unwrap_or(0))
}
