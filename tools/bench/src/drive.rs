//! A closed loop: so many calls in flight, each answered before the next one is sent.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use flashsale_proto::checkout::OrderState;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::Status;

use crate::cpu::{self, Seconds, Watched};

/// The longest call that is told apart, in µs; longer ones count as this.
const LONGEST_US: u64 = 60_000_000;

/// A way to send one kind of request.
pub(crate) trait Lane: Clone + Send + 'static {
    /// What is sent.
    type Request: Send + 'static;

    /// Sends it and waits for the answer.
    fn send(&mut self, request: Self::Request) -> impl Future<Output = Result<(), Miss>> + Send;
}

/// Why a request did not do what it is for. An error of `anyhow` would cost more than most refusals
/// do: it looks where it comes from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Miss {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Status),
    /// An order that is placed, and is not known to be in the queue yet.
    #[error("an order is {0:?} and not durable")]
    NotDurable(OrderState),
    /// The answer is not what it should be, or there is none.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// What one measurement came to.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Calls, all of them answered well.
    pub(crate) calls: u64,
    /// Calls per second.
    pub(crate) rps: f64,
    /// The median of their times, in µs.
    pub(crate) p50_us: f64,
    /// The 99th percentile of their times, in µs.
    pub(crate) p99_us: f64,
    /// Processor seconds that 10,000 calls took, by who used them.
    pub(crate) cpu_s_per_10k: Seconds,
}

/// Sends all `requests` over `lanes`, `in_flight` at a time. The first call that fails ends it: a
/// rate of refusals says nothing.
pub(crate) async fn drive<L: Lane>(
    lanes: &[L],
    in_flight: u32,
    requests: Vec<L::Request>,
    watched: &Watched,
) -> anyhow::Result<Measured> {
    let calls = requests.len();
    let requests = Arc::new(Mutex::new(requests.into_iter()));
    let mut senders = JoinSet::new();
    let cpu_before = watched.read();
    let began = Instant::now();
    for lane in lanes.iter().cycle().take(in_flight as usize) {
        let (mut lane, requests) = (lane.clone(), Arc::clone(&requests));
        senders.spawn(async move {
            let mut times = times()?;
            loop {
                let next = requests.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(request) = next else { return anyhow::Ok(times) };
                let sent = Instant::now();
                lane.send(request).await?;
                times.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
            }
        });
    }
    let mut all = times()?;
    while let Some(sender) = senders.join_next().await {
        all.add(sender??)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut cpu = cpu::between(&cpu_before, &watched.read());
    cpu.values_mut().for_each(|used| *used *= 10_000.0 / calls as f64);
    Ok(Measured {
        calls: all.len(),
        rps: calls as f64 / seconds,
        p50_us: all.value_at_quantile(0.50) as f64,
        p99_us: all.value_at_quantile(0.99) as f64,
        cpu_s_per_10k: cpu,
    })
}

/// No times yet, in µs.
pub(crate) fn times() -> anyhow::Result<Histogram<u32>> {
    Ok(Histogram::new_with_max(LONGEST_US, 3)?)
}
