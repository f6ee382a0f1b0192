//! The provider is away, for a moment or for longer than a buyer waits, or is switched off by
//! operators for longer than it remembers idempotency keys.

use std::time::Duration;

use anyhow::ensure;
use flashsale_failpoint::CLOCK_OFFSET_MS;
use flashsale_proto::payment::{BreakerForce, BreakerState};
use flashsale_testbed::platform::{BreakerSettings, PaymentSettings, Settings};
use rand::{Rng as _, seq::SliceRandom as _};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    book::{Book, CARD, brisk, pay, serve},
    calls::{breaker, force},
    provider::{control, relent, strike_some, traffic},
};
use crate::{figures::Figures, patience::until_some, platform::Platform, task::Task};

/// How often the provider's counts are looked at.
const POLL: Duration = Duration::from_millis(20);
/// Calls that go well before the provider is away, and in the short form.
const CALLS_BEFORE: (u64, u64) = (50_000, 300);
/// How long those may take; what was reached by then is said.
const CALLS_WITHIN: Duration = Duration::from_secs(240);
/// Orders of which each part of those calls consists, and in the short form.
const PART: (usize, usize) = (500, 50);
/// How long such a part may take.
const PART_WITHIN: Duration = Duration::from_secs(120);
/// Orders that are paid while the provider is away.
const ORDERS: usize = 60;
/// A reset answers at once; a provider that hangs takes a timeout, which is 5 s unless it is set.
const RESET: (&str, Duration) = ("reset_before", Duration::from_secs(10));
const HANG: (&str, Duration) = ("hang_before", Duration::from_secs(8));
/// How long the breaker stays open between probes; 30 s unless it is set.
const OPEN: Duration = Duration::from_secs(1);
/// How long calls may be on their way that the breaker let through before it opened.
const ON_THEIR_WAY: Duration = Duration::from_millis(300);
/// How long the probes are watched, and in the short form.
const WATCHED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_millis(2_500));
/// The most calls of one round of probes, as configured.
const PROBES: u64 = 3;
/// How long the breaker may take to close from the first call that goes through.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
/// How long it is waited for that at most.
const WITHIN: Duration = Duration::from_secs(30);

/// The longest a buyer may take to authenticate, and in the short form.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// Orders that wait for longer than that. Not many: a provider that limits calls is asked slowly
/// for a while.
const PATIENT_ORDERS: usize = 12;

/// How long operators have the provider switched off: longer than it knows a key, which is a day.
const FORCED_FOR: Duration = Duration::from_secs(25 * 60 * 60);
/// How long a payment may wait for the provider then.
const WAIT_LIMIT: Duration = Duration::from_secs(72 * 60 * 60);
const FORCED_ORDERS: usize = 30;

fn ms(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_millis()).ok()
}

/// After many calls that went well every call is reset, or hangs: the breaker opens in time, lets no
/// more than its probes through, and closes soon after the first of them that can succeed.
pub(super) async fn down(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let base = brisk(&task.platform);
    // The long form has the timeout that is configured by default: a hang takes as long as it does
    // in production.
    let timeout_ms = if task.short { 1_000 } else { 5_000 };
    let payment = PaymentSettings {
        timeout_ms: Some(timeout_ms),
        lease_ms: Some(4 * (timeout_ms + 500)),
        reconcile_after_ms: Some(4 * (timeout_ms + 500)),
        breaker: BreakerSettings { open_ms: ms(OPEN), ..BreakerSettings::default() },
        ..base.payment
    };
    serve(&mut task.platform, Settings { payment, ..base }).await?;
    for _ in 0..task.asked {
        let mut book = Book::open(&task.platform).await?;
        calls_before(task, &mut book, figures).await?;
        let mut ways = vec![RESET, HANG];
        ways.shuffle(&mut task.random);
        ways.truncate(if task.short { 1 } else { 2 });
        for way in ways {
            away(task, &mut book, way, figures).await?;
        }
        book.conclude(&task.platform, &["CONFIRMED"], figures).await?;
        figures.runs += 1;
    }
    figures.more.insert("breaker_open_ms".to_owned(), json!(ms(OPEN)));
    Ok(())
}

/// Pays orders until so many calls went well, or that takes too long.
async fn calls_before(task: &Task, book: &mut Book, figures: &mut Figures) -> anyhow::Result<()> {
    let platform = &task.platform;
    let (wanted, part) =
        if task.short { (CALLS_BEFORE.1, PART.1) } else { (CALLS_BEFORE.0, PART.0) };
    let (before, since) = (traffic(platform).await?.requests, Instant::now());
    let mut calls = 0;
    while calls < wanted && since.elapsed() < CALLS_WITHIN {
        let orders = book.record(platform, part, CARD).await?;
        pay(platform, &orders).await?;
        book.ended(platform, PART_WITHIN).await?;
        calls = traffic(platform).await?.requests - before;
    }
    figures.count("calls_before_asked", wanted);
    figures.count("calls_before", calls);
    Ok(())
}

/// The provider is away in this way, for as long as its probes are watched.
async fn away(
    task: &mut Task,
    book: &mut Book,
    (kind, opens_within): (&str, Duration),
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let watched = if task.short { WATCHED.1 } else { WATCHED.0 };
    // Not always at the same point of a round of probes.
    let watched = watched + Duration::from_millis(task.random.random_range(0..500));
    let platform = &task.platform;
    let orders = book.record(platform, ORDERS, CARD).await?;
    strike_some(platform, "*", kind, 1.0).await?;
    let since = Instant::now();
    pay(platform, &orders).await?;
    until_some(WITHIN, "the breaker opens", async || {
        let (state, _) = breaker(platform).await?;
        anyhow::Ok((state == BreakerState::Open).then_some(()))
    })
    .await?;
    let opened = since.elapsed();
    figures.longest("open_seconds_max", opened);
    figures.expect(opened <= opens_within, || format!("{kind}: open after {opened:?}"));

    sleep(ON_THEIR_WAY).await;
    let rounds = probes(platform, watched).await?;
    let most = rounds.iter().copied().max().unwrap_or(0);
    figures.most("probe_calls_max", most);
    figures.count("probe_rounds", rounds.len() as u64);
    figures.expect(!rounds.is_empty(), || format!("{kind}: no probe in {watched:?}"));
    figures.expect(most <= PROBES, || format!("{kind}: {most} calls in a round of probes"));

    let passed = traffic(platform).await?.passed();
    relent(platform).await?;
    until_some(WITHIN, "a probe goes through", async || {
        anyhow::Ok((traffic(platform).await?.passed() > passed).then_some(()))
    })
    .await?;
    let since = Instant::now();
    until_some(WITHIN, "the breaker closes", async || {
        let (state, _) = breaker(platform).await?;
        anyhow::Ok((state == BreakerState::Closed).then_some(()))
    })
    .await?;
    let closed = since.elapsed();
    figures.longest("closed_after_seconds_max", closed);
    figures.expect(closed <= CLOSED_WITHIN, || format!("{kind}: closed after {closed:?}"));
    book.ended(platform, WITHIN).await
}

/// Watches for this long what reaches the stand-in while all of it is struck: the calls of each
/// round of probes. Between two rounds lies most of the time for which the breaker stays open.
async fn probes(platform: &Platform, watched: Duration) -> anyhow::Result<Vec<u64>> {
    let mut rounds: Vec<u64> = Vec::new();
    let mut seen = traffic(platform).await?.struck;
    let mut latest: Option<Instant> = None;
    let until = Instant::now() + watched;
    while Instant::now() < until {
        let struck = traffic(platform).await?.struck;
        if struck > seen {
            let now = Instant::now();
            let same = latest.is_some_and(|latest| now - latest < OPEN / 2);
            match rounds.last_mut().filter(|_| same) {
                Some(round) => *round += struck - seen,
                None => rounds.push(struck - seen),
            }
            (seen, latest) = (struck, Some(now));
        }
        sleep(POLL).await;
    }
    Ok(rounds)
}

/// No call comes through, for longer than a buyer would have to authenticate: an outage, a key that
/// is refused, a limit. The orders wait.
pub(super) async fn longer_than_patience(
    task: &mut Task,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let patience = if task.short { PATIENCE.1 } else { PATIENCE.0 };
    let base = brisk(&task.platform);
    let payment = PaymentSettings { patience_ms: ms(patience), ..base.payment };
    serve(&mut task.platform, Settings { payment, ..base }).await?;
    let mut kinds = ["reset_before", "unauthorized_401", "rate_limit_429"];
    kinds.shuffle(&mut task.random);
    for kind in kinds.into_iter().cycle().take(usize::try_from(task.asked)?) {
        let platform = &task.platform;
        let book = Book::of(platform, PATIENT_ORDERS, CARD).await?;
        let before = traffic(platform).await?.struck;
        strike_some(platform, "*", kind, 1.0).await?;
        book.pay(platform).await?;
        sleep(2 * patience).await;
        let struck = traffic(platform).await?.struck - before;
        let waiting = book.under_way(platform).await?;
        relent(platform).await?;
        figures.expect(struck > 0, || format!("{kind}: no call was struck"));
        figures.count("calls_struck", struck);
        figures.count("waited", u64::try_from(waiting)?);
        let before = figures.broken.len();
        book.conclude(platform, &["CONFIRMED"], figures).await?;
        if figures.broken.len() > before {
            figures.broken.push(format!("that was {kind}"));
        }
        figures.runs += 1;
    }
    Ok(())
}

/// Operators switch the provider off in the middle, with answers lost, and on again when it has
/// forgotten the keys of what it did before.
pub(super) async fn forced_open(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let forced_ms = ms(FORCED_FOR).unwrap_or_default();
    for _ in 0..task.asked {
        let base = brisk(&task.platform);
        let payment = PaymentSettings {
            wait_limit_ms: ms(WAIT_LIMIT),
            // Slow enough that most are still open when operators decide.
            retry_base_ms: Some(5_000),
            retry_cap_ms: Some(5_000),
            ..base.payment
        };
        serve(&mut task.platform, Settings { payment, ..base }).await?;
        let platform = &task.platform;
        // No event tells what the lost answers said.
        control(platform, "webhooks", &json!({ "delay_ms": 600_000 })).await?;
        let book = Book::of(platform, FORCED_ORDERS, CARD).await?;
        strike_some(platform, "POST *", "reset_after", 0.5).await?;
        book.pay(platform).await?;
        book.captures(platform, 1, WITHIN).await?;
        force(platform, BreakerForce::Open).await?;
        until_some(WITHIN, "what is under way is put back", async || {
            let leased = book.leased(platform).await?;
            ensure!(leased == 0, "{leased} payments are worked on");
            anyhow::Ok(Some(()))
        })
        .await?;
        relent(platform).await?;
        let captured = book.captured(platform)?;
        let open = book.under_way(platform).await?;
        let paid = book.payments(platform, "SUCCEEDED").await?;
        figures.count("open_when_forced", u64::try_from(open)?);
        figures.count("captured_unrecorded", (captured as u64).saturating_sub(paid.unsigned_abs()));
        figures.expect(open > 0, || "nothing was left open".to_owned());

        // Both clocks go on; what was recorded before stays where it was.
        control(platform, "clock", &json!({ "advance_ms": forced_ms })).await?;
        control(platform, "webhooks", &json!({})).await?;
        platform.services.payment.restart(&[(CLOCK_OFFSET_MS, forced_ms.to_string())]).await?;
        force(platform, BreakerForce::Auto).await?;
        // Its waits go by the clock of the record, which has not moved.
        sqlx::query(
            "UPDATE payments SET due_at = now() WHERE sale_id = $1 AND lease_until IS NULL",
        )
        .bind(book.sale.id)
        .execute(&platform.pool)
        .await?;
        book.conclude(platform, &["CONFIRMED"], figures).await?;
        figures.runs += 1;
        // Its clock does not go back: another one goes by the machine's.
        task.platform.replace_provider(crate::platform::UNLIMITED).await?;
    }
    Ok(())
}
