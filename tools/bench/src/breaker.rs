//! What the breaker adds to a call that does nothing, in processor time of the calling thread.

use std::{
    future::ready,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use flashsale_breaker::{Open, Rules, Verdict, breaker};
use serde_json::{Value, json};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::{
    Settings,
    cpu::of_this_thread,
    payments,
    report::{median, rounded},
};

/// The rate at which it is measured: each call finds the processor's caches used by others.
const CALLS_PER_S: f64 = 2_000.0;
/// Calls in a row, on either side, when none waits.
const IN_A_ROW: u32 = 1_000;
/// The shortest time that one measurement takes: fewer calls say nothing.
const LEAST_SECONDS: f64 = 0.5;

/// As many calls through the breaker as past it.
#[derive(Debug, Default)]
struct Pairs {
    /// Of each kind.
    calls: u32,
    /// Processor time through the breaker, and without it.
    with: Duration,
    without: Duration,
    /// How long both took together.
    took: Duration,
}

impl Pairs {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.with += other.with;
        self.without += other.without;
    }

    fn added_us(&self) -> f64 {
        let added = self.with.as_secs_f64() - self.without.as_secs_f64();
        added * 1_000_000.0 / f64::from(self.calls)
    }

    fn calls_per_s(&self) -> f64 {
        f64::from(self.calls) / self.took.as_secs_f64()
    }
}

/// Blocks its thread, which makes no other calls meanwhile.
pub(crate) fn measure(settings: &Settings) -> anyhow::Result<Value> {
    let (layer, _) = breaker(
        "bench",
        &payments::defaults()?.breaker,
        Rules { judge: |_: &Result<(), Open>| Verdict::Success, bypass: |_: &()| false },
    )?;
    let without = service_fn(|()| ready(Ok::<(), Open>(())));
    let with = layer.layer(without);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let seconds = settings.seconds.max(LEAST_SECONDS);
    let (mut paced, mut unpaced) = (Vec::new(), Vec::new());
    for round in 0..=settings.rounds {
        let at_rate = runtime.block_on(at_rate(&with, &without, seconds))?;
        let in_a_row = runtime.block_on(in_a_row(&with, &without, seconds))?;
        // The first round is the warm-up.
        if round > 0 {
            paced.push(at_rate);
            unpaced.push(in_a_row);
        }
    }
    let added = |rounds: &[Pairs]| rounded(median(rounds.iter().map(Pairs::added_us)), 3);
    let rate = |rounds: &[Pairs]| median(rounds.iter().map(Pairs::calls_per_s)).round();
    let each = |rounds: &[Pairs]| -> Vec<f64> {
        rounds.iter().map(|round| rounded(round.added_us(), 3)).collect()
    };
    Ok(json!({
        "added_us": added(&paced),
        "calls_per_s": rate(&paced),
        "unpaced": { "added_us": added(&unpaced), "calls_per_s": rate(&unpaced) },
        "calls": paced.iter().map(|round| u64::from(round.calls)).sum::<u64>(),
        "rounds": { "added_us": each(&paced), "unpaced_added_us": each(&unpaced) },
    }))
}

/// One call of each kind whenever one is due.
async fn at_rate<B, N>(with: &B, without: &N, seconds: f64) -> anyhow::Result<Pairs>
where
    B: Service<(), Response = (), Error = Open> + Clone,
    N: Service<(), Response = (), Error = Open> + Clone,
{
    let between = Duration::from_secs_f64(1.0 / CALLS_PER_S);
    let mut pairs = Pairs::default();
    let began = Instant::now();
    for call in 0..(seconds * CALLS_PER_S) as u32 {
        // The thread and not the task: waking a runtime costs more than what is measured.
        thread::sleep((between * call).saturating_sub(began.elapsed()));
        pairs.add(&pair(with, without, 1, call % 2 == 0).await?);
    }
    pairs.took = began.elapsed();
    Ok(pairs)
}

/// Calls without a pause, many of one kind and then many of the other.
async fn in_a_row<B, N>(with: &B, without: &N, seconds: f64) -> anyhow::Result<Pairs>
where
    B: Service<(), Response = (), Error = Open> + Clone,
    N: Service<(), Response = (), Error = Open> + Clone,
{
    let mut pairs = Pairs::default();
    let began = Instant::now();
    let mut with_first = true;
    while began.elapsed().as_secs_f64() < seconds {
        pairs.add(&pair(with, without, IN_A_ROW, with_first).await?);
        with_first = !with_first;
    }
    pairs.took = began.elapsed();
    Ok(pairs)
}

/// So many calls of each kind. The second kind finds the caches warm, so callers take turns with
/// which comes first.
async fn pair<B, N>(with: &B, without: &N, calls: u32, with_first: bool) -> anyhow::Result<Pairs>
where
    B: Service<(), Response = (), Error = Open> + Clone,
    N: Service<(), Response = (), Error = Open> + Clone,
{
    let mut pairs = Pairs { calls, ..Pairs::default() };
    if with_first {
        pairs.with = used(with, calls).await?;
        pairs.without = used(without, calls).await?;
    } else {
        pairs.without = used(without, calls).await?;
        pairs.with = used(with, calls).await?;
    }
    Ok(pairs)
}

/// Processor time of so many calls. Reading the clock is in it, on both sides.
async fn used<S>(service: &S, calls: u32) -> anyhow::Result<Duration>
where
    S: Service<(), Response = (), Error = Open> + Clone,
{
    let before = of_this_thread()?;
    for _ in 0..calls {
        black_box(service.clone().oneshot(()).await)?;
    }
    Ok(of_this_thread()?.saturating_sub(before))
}
