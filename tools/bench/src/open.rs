//! An open loop: each request leaves when it is due, whatever became of those before it, as buyers
//! do who know nothing of each other.
//!
//! Times count from the moment a request was due. A generator that falls behind therefore reports
//! late answers and not fewer questions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use flashsale_errors::{DOMAIN, Reason};
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    cpu::{self, Seconds, Watched},
    drive::{Lane, Miss, times},
};

/// Requests without an answer, over all connections: one more waits, and is late.
const OUTSTANDING: u32 = 4_000;
/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of the requests.
pub(crate) struct Offered {
    /// Requests sent per second.
    pub(crate) rps: f64,
    /// Those that did what they are for, per second until the last answer.
    pub(crate) goodput_rps: f64,
    pub(crate) answers: Answers,
    /// From the first request to the last answer.
    pub(crate) seconds: f64,
    /// Processor seconds by who used them.
    pub(crate) cpu: Seconds,
}

/// The answers, told apart.
pub(crate) struct Answers {
    /// How long those took that did what they are for, in µs.
    pub(crate) accepted: Histogram<u32>,
    /// How long all others took, in µs.
    pub(crate) rejected: Histogram<u32>,
    /// How many of the others had which reason.
    pub(crate) reasons: BTreeMap<&'static str, u64>,
    /// Those of them that do not say when to come again.
    pub(crate) without_retry_info: u64,
    /// Orders that are placed and were not in the queue in time; they count neither as done nor as
    /// refused.
    pub(crate) not_durable: u64,
}

impl Answers {
    fn none() -> anyhow::Result<Self> {
        Ok(Self {
            accepted: times()?,
            rejected: times()?,
            reasons: BTreeMap::new(),
            without_retry_info: 0,
            not_durable: 0,
        })
    }

    fn add(&mut self, took: Duration, outcome: &Result<(), Miss>) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let Err(error) = outcome else {
            self.accepted.saturating_record(took_us);
            return;
        };
        let details = match error {
            Miss::NotDurable(_) => {
                self.not_durable += 1;
                return;
            }
            Miss::Refused(status) => status.get_error_details(),
            Miss::Failed(_) => ErrorDetails::new(),
        };
        self.rejected.saturating_record(took_us);
        let ours = details.error_info().filter(|info| info.domain == DOMAIN);
        let reason = ours.and_then(|info| Reason::parse(&info.reason));
        *self.reasons.entry(reason.map_or("_OTHER", Reason::as_str)).or_default() += 1;
        if details.retry_info().and_then(|retry| retry.retry_delay).is_none() {
            self.without_retry_info += 1;
        }
    }
}

/// Sends `requests` over `lanes` at `rate` a second.
pub(crate) async fn offer<L: Lane>(
    lanes: &[L],
    rate: f64,
    requests: Vec<L::Request>,
    watched: &Watched,
) -> anyhow::Result<Offered> {
    let count = requests.len();
    let room = Arc::new(Semaphore::new(OUTSTANDING as usize));
    let answers = Arc::new(Mutex::new(Answers::none()?));
    let cpu_before = watched.read();
    let began = Instant::now();
    for ((number, request), lane) in requests.into_iter().enumerate().zip(lanes.iter().cycle()) {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let place = Arc::clone(&room).acquire_owned().await?;
        let (mut lane, answers) = (lane.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            let outcome = lane.send(request).await;
            let took = due.elapsed();
            answers.lock().unwrap_or_else(PoisonError::into_inner).add(took, &outcome);
            drop(place);
        });
    }
    let sent_within = began.elapsed().as_secs_f64();
    let all = tokio::time::timeout(PATIENCE, room.acquire_many(OUTSTANDING)).await;
    let _all = all.with_context(|| format!("answers are missing after {PATIENCE:?}"))??;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu::between(&cpu_before, &watched.read());
    let none = Answers::none()?;
    let answers =
        std::mem::replace(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner), none);
    Ok(Offered {
        rps: count as f64 / sent_within,
        goodput_rps: answers.accepted.len() as f64 / seconds,
        answers,
        seconds,
        cpu,
    })
}
