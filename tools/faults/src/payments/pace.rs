//! How fast the provider answers, and what it says: slow answers, a storm of refusals, and limits
//! that instances share.

use std::time::Duration;

use anyhow::ensure;
use flashsale_proto::payment::{BreakerCause, BreakerState};
use flashsale_testbed::platform::{BreakerSettings, PaymentSettings, Settings, StripeOptions};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    book::{BAD_CARD, Book, CARD, brisk, serve},
    calls::breaker,
    provider::{relent, slow_down, traffic},
};
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{Platform, UNLIMITED},
    task::Task,
};

const POLL: Duration = Duration::from_millis(50);
/// Orders that meet a slow provider: more than the breaker asks for before it judges.
const SLOW_ORDERS: usize = 100;
/// How long half of the calls take at most, and the others at least: a median that opens the
/// breaker, which calls 3 s slow, and one that does not.
const SLOW: Duration = Duration::from_secs(4);
const BEARABLE: Duration = Duration::from_secs(2);
/// How far calls are from the median.
const SPREAD: Duration = Duration::from_millis(400);
/// How long the breaker may take to open.
const OPENS_WITHIN: Duration = Duration::from_secs(15);
/// How long it has to stay closed.
const CLOSED_FOR: Duration = Duration::from_secs(8);
/// Calls that have to be answered meanwhile for that to mean something: the fewest it judges by.
const MIN_CALLS: u64 = 20;

/// Refusals of a storm, and in the short form.
const REFUSALS: (usize, usize) = (600, 60);
const STORM_WITHIN: Duration = Duration::from_secs(120);

/// Orders that two instances share, and in the short form.
const SHARED: (usize, usize) = (2_000, 60);
/// What a sandbox allows a second, at each endpoint and in all.
const SANDBOX: u32 = 25;
/// How long they may take: four calls each, and as long again.
const SHARED_WITHIN: Duration = Duration::from_secs(640);
/// So many limited calls say nothing, however few calls there were.
const LIMITED_ANYWAY: u64 = 5;

/// Half of the calls take more than 4 s: the breaker opens. More than 2 s: it stays closed.
pub(super) async fn slow(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for run in 0..task.asked {
        let base = brisk(&task.platform);
        let payment = PaymentSettings {
            timeout_ms: Some(5_000),
            lease_ms: Some(22_000),
            reconcile_after_ms: Some(22_000),
            breaker: BreakerSettings { open_ms: Some(2_000), ..BreakerSettings::default() },
            ..base.payment
        };
        serve(&mut task.platform, Settings { payment, ..base }).await?;
        let platform = &task.platform;
        let median = if run % 2 == 0 { SLOW } else { BEARABLE };
        let book = Book::of(platform, SLOW_ORDERS, CARD).await?;
        let before = traffic(platform).await?;
        slow_down(platform, "*", median + SPREAD, 0.5).await?;
        slow_down(platform, "*", median - SPREAD, 1.0).await?;
        book.pay(platform).await?;
        if median == SLOW {
            opens_for_slowness(platform, figures).await?;
        } else {
            stays_closed(platform, CLOSED_FOR, figures).await?;
            let slowed = traffic(platform).await?.struck - before.struck;
            // Those of the last two seconds are not answered yet.
            figures.expect(slowed >= 2 * MIN_CALLS, || format!("only {slowed} calls were slow"));
        }
        relent(platform).await?;
        figures.count("calls_slowed", traffic(platform).await?.struck - before.struck);
        book.conclude(platform, &["CONFIRMED"], figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

async fn opens_for_slowness(platform: &Platform, figures: &mut Figures) -> anyhow::Result<()> {
    let since = Instant::now();
    let cause = until_some(OPENS_WITHIN, "the breaker opens", async || {
        let (state, cause) = breaker(platform).await?;
        ensure!(state == BreakerState::Open, "it is {state:?}");
        anyhow::Ok(Some(cause))
    })
    .await?;
    figures.longest("open_seconds_max", since.elapsed());
    figures.expect(cause == BreakerCause::Slow, || format!("the breaker opened for {cause:?}"));
    Ok(())
}

/// Looks at the breaker all the time; whatever it is seen at but closed is wrong.
async fn stays_closed(
    platform: &Platform,
    watched: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let until = Instant::now() + watched;
    while Instant::now() < until {
        let (state, cause) = breaker(platform).await?;
        if state != BreakerState::Closed {
            figures.broken.push(format!("the breaker is {state:?} for {cause:?}"));
            return Ok(());
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Every card is refused: that is an answer and no failure.
pub(super) async fn declines(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let base = brisk(&task.platform);
    // The first refusal is the end.
    let payment = PaymentSettings { card_retry_ms: Some(0), ..base.payment };
    serve(&mut task.platform, Settings { payment, ..base }).await?;
    let refusals = if task.short { REFUSALS.1 } else { REFUSALS.0 };
    for _ in 0..task.asked {
        let platform = &task.platform;
        let book = Book::of(platform, refusals, BAD_CARD).await?;
        book.pay(platform).await?;
        let since = Instant::now();
        while since.elapsed() < STORM_WITHIN && book.under_way(platform).await? > 0 {
            stays_closed(platform, POLL, figures).await?;
        }
        stays_closed(platform, POLL, figures).await?;
        book.conclude(platform, &["DECLINED"], figures).await?;
        let captured = book.captured(platform)?;
        figures.expect(captured == 0, || format!("{captured} refused orders were captured"));
        figures.runs += 1;
    }
    Ok(())
}

/// Two instances have the pace of one account between them.
pub(super) async fn shared(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let sandbox = StripeOptions { rate_per_endpoint: SANDBOX, rate_total: SANDBOX, ..UNLIMITED };
    task.platform.replace_provider(sandbox).await?;
    let base = brisk(&task.platform);
    // As configured by default: for a sandbox that is what Stripe allows one.
    let payment = PaymentSettings {
        global_budget_per_s: None,
        endpoint_budget_per_s: None,
        budget_wait_ms: None,
        timeout_ms: None,
        lease_ms: None,
        reconcile_after_ms: None,
        compare_every_ms: None,
        ..base.payment
    };
    let settings = Settings { payment, ..base };
    let mut other = task.platform.second("payment")?;
    serve(&mut task.platform, settings.clone()).await?;
    other.start(settings).await?;
    let orders = if task.short { SHARED.1 } else { SHARED.0 };
    for _ in 0..task.asked {
        let platform = &task.platform;
        let book = Book::of(platform, orders, CARD).await?;
        let before = traffic(platform).await?;
        let since = Instant::now();
        book.pay(platform).await?;
        book.ended(platform, SHARED_WITHIN).await?;
        figures.longest("paid_within_seconds_max", since.elapsed());
        let after = traffic(platform).await?;
        let (calls, limited) = (after.requests - before.requests, after.limited - before.limited);
        figures.count("calls", calls);
        figures.count("limited", limited);
        figures.more.insert("limited_share".to_owned(), json!(share(limited, calls)));
        figures.expect(limited <= LIMITED_ANYWAY.max(calls / 100), || {
            format!("{limited} of {calls} calls were limited")
        });
        book.conclude(platform, &["CONFIRMED"], figures).await?;
        figures.runs += 1;
    }
    other.stop().await?;
    task.platform.replace_provider(UNLIMITED).await
}

/// To four digits.
fn share(part: u64, of: u64) -> f64 {
    let in_ten_thousand = (part * 10_000).div_ceil(of.max(1));
    u32::try_from(in_ten_thousand).map_or(1.0, f64::from) / 10_000.0
}
