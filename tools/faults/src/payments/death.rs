//! An instance of payment stands still for longer than its lease, and the record or the provider
//! dies, while money is on its way.

use std::time::Duration;

use flashsale_failpoint::KILL_AT;
use flashsale_testbed::platform::{PaymentSettings, Settings, StripeOptions};
use nix::sys::signal::Signal;
use rand::Rng as _;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    book::{Book, CARD, brisk, serve},
    provider::{control, relent, slow_down, strike_some},
};
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{Platform, UNLIMITED},
    points,
    task::Task,
};

const WITHIN: Duration = Duration::from_secs(30);

/// Orders of which some are worked on when an instance stands still: more than it takes up at once.
const PAUSED_ORDERS: usize = 100;
/// A lease of payment's, the shortest that its waits allow.
const LEASE: Duration = Duration::from_millis(2_400);
/// How long an instance stands still.
const PAUSED_FOR: Duration = Duration::from_millis(3_200);
/// How much longer calls take, so that an instance stands still in the middle of some.
const CALLS_TAKE: Duration = Duration::from_millis(150);

/// Orders whose captures are not recorded when Postgres dies.
const UNRECORDED: usize = 12;
const CONFIRM: &str = "POST /v1/payment_intents/:id/confirm";
/// Where payment dies with the provider's word on what it captured, before it is recorded.
const BEFORE_IT_IS_RECORDED: &str = "commit/settle:before:1";

/// How long the answer of a payment that may die is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Orders that are paid while the provider dies, and in the short form.
const ORDERS: (usize, usize) = (400, 100);
/// How long it is away, and in the short form.
const AWAY: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(2));
/// Where it keeps its state.
const STATE: &str = "stripe-state.jsonl";

/// Of two instances one stands still for longer than its leases, and goes on where it was.
pub(super) async fn paused(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let base = brisk(&task.platform);
    let lease_ms = u64::try_from(LEASE.as_millis())?;
    let payment = PaymentSettings {
        timeout_ms: Some(400),
        budget_wait_ms: Some(200),
        lease_ms: Some(lease_ms),
        reconcile_after_ms: Some(lease_ms),
        ..base.payment
    };
    let settings = Settings { payment, ..base };
    let mut other = task.platform.second("payment")?;
    serve(&mut task.platform, settings.clone()).await?;
    other.start(settings).await?;
    for run in 0..task.asked {
        let moment = Duration::from_millis(task.random.random_range(0..300));
        let platform = &task.platform;
        let book = Book::of(platform, PAUSED_ORDERS, CARD).await?;
        slow_down(platform, "*", CALLS_TAKE, 1.0).await?;
        book.pay(platform).await?;
        until_some(WITHIN, "payments are worked on", async || {
            anyhow::Ok((book.leased(platform).await? > 0).then_some(()))
        })
        .await?;
        sleep(moment).await;
        let paused = if run % 2 == 0 { &platform.services.payment } else { &other };
        paused.signal(Signal::SIGSTOP).await;
        let leased = book.leased(platform).await?;
        sleep(PAUSED_FOR).await;
        let paid = book.captured(platform)?;
        paused.signal(Signal::SIGCONT).await;
        relent(platform).await?;
        figures.count("leased_when_paused", u64::try_from(leased)?);
        figures.count("captured_before_it_went_on", paid as u64);
        figures.expect(leased > 0, || "nothing was worked on".to_owned());
        book.conclude(platform, &["CONFIRMED"], figures).await?;
        figures.runs += 1;
    }
    other.stop().await?;
    Ok(())
}

/// The provider has taken the money, and Postgres dies before that is recorded; in turn payment
/// lives, and waits for an answer that never comes, or has died of what it was about to record.
pub(super) async fn postgres(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let settings = brisk(&task.platform);
    serve(&mut task.platform, settings).await?;
    for run in 0..task.asked {
        let moment = Duration::from_millis(task.random.random_range(200..1_000));
        let book = Book::of(&task.platform, UNRECORDED, CARD).await?;
        // Events would tell it at once.
        control(&task.platform, "webhooks", &json!({ "delay_ms": 5_000 })).await?;
        let dies = run % 2 == 1;
        if dies {
            let armed = [(KILL_AT, BEFORE_IT_IS_RECORDED.to_owned())];
            task.platform.services.payment.restart(&armed).await?;
            // It may die before it has answered.
            timeout(ANSWERED_WITHIN, book.pay(&task.platform)).await.ok();
            let killed = points::was_reached(&task.platform.services.payment, WITHIN).await;
            figures.expect(killed, || format!("never came by {BEFORE_IT_IS_RECORDED}"));
        } else {
            strike_some(&task.platform, CONFIRM, "hang_after", 1.0).await?;
            book.pay(&task.platform).await?;
        }
        // One is enough where payment dies of it.
        let captures = if dies { 1 } else { UNRECORDED };
        book.captures(&task.platform, captures, WITHIN).await?;
        unrecorded(&task.platform, &book, figures).await?;
        task.platform.postgres.kill().await;
        sleep(moment).await;
        relent(&task.platform).await?;
        task.platform.postgres.restart().await?;
        control(&task.platform, "webhooks", &json!({})).await?;
        if dies {
            task.platform.services.payment.restart(&[]).await?;
        }
        let platform = &task.platform;
        until_some(WITHIN, "the record answers", async || book.under_way(platform).await.map(Some))
            .await?;
        if dies {
            // Not all of them may have been recorded as due.
            book.pay(platform).await?;
        }
        book.conclude(platform, &["CONFIRMED"], figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

/// Counts captures that the record does not know of.
async fn unrecorded(platform: &Platform, book: &Book, figures: &mut Figures) -> anyhow::Result<()> {
    let captured = i64::try_from(book.captured(platform)?)?;
    let unrecorded = captured - book.payments(platform, "SUCCEEDED").await?;
    figures.expect(unrecorded > 0, || "all that was captured was recorded".to_owned());
    figures.count("captured_unrecorded", u64::try_from(unrecorded.max(0))?);
    Ok(())
}

/// The provider dies in the middle and comes back with what it had.
pub(super) async fn provider(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    // Of an earlier run, with another provider's account.
    std::fs::remove_file(task.platform.file(STATE)).ok();
    let with_state = StripeOptions {
        state: Some(STATE),
        latency_ms: Some(20),
        confirm_latency_ms: Some(50),
        ..UNLIMITED
    };
    task.platform.replace_provider(with_state).await?;
    let settings = brisk(&task.platform);
    serve(&mut task.platform, settings).await?;
    let (orders, away) = if task.short { (ORDERS.1, AWAY.1) } else { (ORDERS.0, AWAY.0) };
    for _ in 0..task.asked {
        let book = Book::of(&task.platform, orders, CARD).await?;
        book.pay(&task.platform).await?;
        book.captures(&task.platform, 1, WITHIN).await?;
        task.platform.provider_mut()?.down().await;
        sleep(away).await;
        let captured = book.captured(&task.platform)?;
        figures.count("captured_before", captured as u64);
        figures.expect(captured < orders, || "all was captured before it died".to_owned());
        task.platform.provider_mut()?.up().await?;
        book.conclude(&task.platform, &["CONFIRMED"], figures).await?;
        figures.runs += 1;
    }
    task.platform.replace_provider(UNLIMITED).await
}
