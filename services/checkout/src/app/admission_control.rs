//! Admission control: whether a new order is accepted, by how many placed orders wait for their
//! claim.
//!
//! The figures are measured outside the calls, so that PlaceOrder reaches neither Postgres nor the
//! stream's state.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use flashsale_errors::{Failure, Reason};
use flashsale_queue::{Filled, StreamSpace};
use uuid::Uuid;

use crate::config::IntakeConfig;

/// The least and the most that callers are told to wait, in seconds, before jitter.
const WAIT: std::ops::RangeInclusive<f64> = 0.5..=30.0;
/// How long callers are told to wait while their sale has too many parked orders: these are claimed
/// in bulk once it is open again.
const PARKED_WAIT: Duration = Duration::from_secs(5);

/// The orders that wait for their claim.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    pub orders: u64,
    /// Age of the oldest of them since its publish, in seconds.
    pub age_s: f64,
}

/// The measured load and its bounds. Clones share the measurements.
#[derive(Debug, Clone)]
pub struct AdmissionControl {
    measured: Arc<Measured>,
    /// The space for placed orders in the stream.
    space: StreamSpace,
    max_backlog: u64,
    max_claim_lag: Duration,
    max_parked: u32,
}

#[derive(Debug, Default)]
struct Measured {
    backlog: AtomicU64,
    claim_lag_ms: AtomicU64,
    /// Orders claimed per second between the last two measurements.
    claim_rate: AtomicU64,
    /// The stream has refused an order since the last measurement.
    queue_full: AtomicBool,
    /// The sales that have too many parked orders, and how many.
    parked: RwLock<HashMap<Uuid, i64>>,
}

/// What operators and the waiting room are told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdmissionStatus {
    /// Whether new orders are accepted.
    pub accepting: bool,
    /// Orders that wait for their claim.
    pub backlog: u64,
    /// The bound of `backlog`.
    pub max_backlog: u64,
    /// How long the oldest of them has waited.
    pub claim_lag: Duration,
    /// The bound of `claim_lag`.
    pub max_claim_lag: Duration,
    /// Orders claimed per second between the last two measurements.
    pub claims_per_second: u64,
    /// How full the stream is; `None` until it was measured.
    pub queue: Option<Filled>,
}

impl AdmissionControl {
    /// Accepts orders until something is measured. `space` is the queue's.
    pub fn new(config: &IntakeConfig, space: StreamSpace) -> Self {
        Self {
            measured: Arc::default(),
            space,
            max_backlog: config.max_backlog,
            max_claim_lag: Duration::from_millis(config.max_claim_lag_ms),
            max_parked: config.max_parked,
        }
    }

    pub fn status(&self) -> AdmissionStatus {
        let Measured { backlog, claim_lag_ms, claim_rate, queue_full, parked: _ } = &*self.measured;
        let backlog = backlog.load(Ordering::Relaxed);
        let claim_lag = Duration::from_millis(claim_lag_ms.load(Ordering::Relaxed));
        let bounded = backlog < self.max_backlog && claim_lag < self.max_claim_lag;
        AdmissionStatus {
            accepting: bounded && self.space.is_open() && !queue_full.load(Ordering::Relaxed),
            backlog,
            max_backlog: self.max_backlog,
            claim_lag,
            max_claim_lag: self.max_claim_lag,
            claims_per_second: claim_rate.load(Ordering::Relaxed),
            queue: self.space.filled(),
        }
    }

    /// Refuses, before any stock is taken, while too many orders wait, one has waited too long, the
    /// stream has no more space for orders, or too many orders of this sale are parked.
    ///
    /// # Errors
    /// `QUEUE_FULL`, with the time the claims need to work off the excess.
    pub fn admit(&self, sale_id: &str) -> Result<(), Failure> {
        let status = self.status();
        if status.accepting {
            return self.admit_sale(sale_id);
        }
        // Where the backlog is the cause, a tenth of the bound has to drain before a retry has a
        // fair chance; where the age is, everything that waits has to.
        let excess = if status.claim_lag < status.max_claim_lag {
            status.backlog.saturating_sub(self.max_backlog) + self.max_backlog / 10
        } else {
            status.backlog
        };
        let wait = excess as f64 / status.claims_per_second.max(1) as f64;
        let wait = wait.clamp(*WAIT.start(), *WAIT.end());
        let mut failure = Failure::new(Reason::QueueFull, "too many orders wait to be recorded")
            .with("backlog", status.backlog)
            .with("max_backlog", status.max_backlog)
            .with("claim_lag_ms", status.claim_lag.as_millis())
            .with("max_claim_lag_ms", status.max_claim_lag.as_millis());
        if let Some(queue) = status.queue {
            failure = failure.with("queue_bytes", queue.bytes).with("max_queue_bytes", queue.bound);
        }
        Err(failure.retry_after(Duration::from_secs_f64(wait)))
    }

    /// [`Self::admit`] for one sale. An id that is not a UUID passes: inventory refuses it with the
    /// proper reason.
    fn admit_sale(&self, sale_id: &str) -> Result<(), Failure> {
        let parked = self.measured.parked.read().unwrap_or_else(PoisonError::into_inner);
        let parked = sale_id.parse().ok().and_then(|sale: Uuid| parked.get(&sale).copied());
        match parked {
            None => Ok(()),
            Some(parked) => {
                let what = "too many orders of the sale wait for their units to be taken anew";
                Err(Failure::new(Reason::QueueFull, what)
                    .with("parked", parked)
                    .with("max_parked", self.max_parked)
                    .retry_after(PARKED_WAIT))
            }
        }
    }

    /// Refuses new orders until the next measurement: the stream itself has refused one.
    pub fn note_queue_full(&self) {
        self.measured.queue_full.store(true, Ordering::Relaxed);
    }

    pub fn max_parked(&self) -> u32 {
        self.max_parked
    }

    /// Replaces the sales that have too many parked orders, and their numbers.
    pub fn set_parked(&self, parked: HashMap<Uuid, i64>) {
        *self.measured.parked.write().unwrap_or_else(PoisonError::into_inner) = parked;
    }

    /// Replaces the backlog and, if it is known, the rate of the claims. Ends the effect of
    /// [`Self::note_queue_full`].
    pub fn set_backlog(&self, new: Backlog, claims_per_second: Option<u64>) {
        let Measured { backlog, claim_lag_ms, claim_rate, queue_full, parked: _ } = &*self.measured;
        backlog.store(new.orders, Ordering::Relaxed);
        claim_lag_ms.store((new.age_s * 1_000.0) as u64, Ordering::Relaxed);
        queue_full.store(false, Ordering::Relaxed);
        if let Some(rate) = claims_per_second {
            claim_rate.store(rate, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn control() -> AdmissionControl {
        let config = IntakeConfig {
            max_backlog: 1_000,
            max_claim_lag_ms: 60_000,
            measure_ms: 1,
            max_parked: 10,
        };
        AdmissionControl::new(&config, StreamSpace::default())
    }

    /// Admits an order of a sale without parked orders.
    fn admit(control: &AdmissionControl) -> Result<(), Failure> {
        control.admit("00000000-0000-0000-0000-000000000001")
    }

    /// Jitter adds up to half of the delay, so that callers do not come back together.
    fn seconds(failure: Failure) -> f64 {
        failure.delay().unwrap().as_secs_f64()
    }

    #[test]
    fn refuses_at_backlog_bound_with_delay() {
        let control = control();
        control.measured.backlog.store(999, Ordering::Relaxed);
        assert!(admit(&control).is_ok());
        control.measured.backlog.store(1_900, Ordering::Relaxed);
        control.measured.claim_rate.store(500, Ordering::Relaxed);
        let failure = admit(&control).unwrap_err();
        assert_eq!(failure.reason(), Reason::QueueFull);
        assert!((2.0..=3.0).contains(&seconds(failure)));
    }

    #[test]
    fn refuses_at_claim_lag_bound() {
        let control = control();
        control.measured.backlog.store(100, Ordering::Relaxed);
        control.measured.claim_rate.store(10, Ordering::Relaxed);
        control.measured.claim_lag_ms.store(59_999, Ordering::Relaxed);
        assert!(admit(&control).is_ok());
        control.measured.claim_lag_ms.store(60_000, Ordering::Relaxed);
        assert!(!control.status().accepting);
        assert!((10.0..=15.0).contains(&seconds(admit(&control).unwrap_err())));
        // No claims: the wait cannot be estimated, so that the longest one is told.
        control.measured.claim_rate.store(0, Ordering::Relaxed);
        assert!((30.0..=45.0).contains(&seconds(admit(&control).unwrap_err())));
    }

    #[test]
    fn refuses_while_stream_is_full() {
        let control = control();
        control.note_queue_full();
        assert!((30.0..=45.0).contains(&seconds(admit(&control).unwrap_err())));
    }
}
