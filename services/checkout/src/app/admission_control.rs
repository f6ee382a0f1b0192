//! The door: how many placed orders wait for their claim, and whether another one may come in.
//!
//! Measured beside the calls, never within one, so that PlaceOrder reaches neither Postgres nor the stream's figures.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use flashsale_errors::{Failure, Reason};
use flashsale_queue::{Filled, Room};
use uuid::Uuid;

use crate::config::IntakeConfig;

/// What callers are told to wait at least and at most, before it is spread.
const WAIT: std::ops::RangeInclusive<f64> = 0.5..=30.0;
/// What callers are told to wait while their sale has too many parked orders: these go once it is
/// open again, in bulk.
const PARKED_WAIT: Duration = Duration::from_secs(5);

/// What waits for its claim.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    /// Orders.
    pub orders: u64,
    /// Since the oldest of them was published, in seconds.
    pub age_s: f64,
}

/// The door. A clone is the same door.
#[derive(Debug, Clone)]
pub struct AdmissionControl {
    measured: Arc<Measured>,
    /// For placed orders in the stream.
    room: Room,
    max_backlog: u64,
    max_claim_lag: Duration,
    max_parked: u32,
}

/// What was measured last.
#[derive(Debug, Default)]
struct Measured {
    backlog: AtomicU64,
    claim_lag_ms: AtomicU64,
    /// Orders claimed per second, lately.
    claim_rate: AtomicU64,
    /// The stream refused since.
    queue_full: AtomicBool,
    /// The sales that have too many parked orders, and how many.
    parked: RwLock<HashMap<Uuid, i64>>,
}

/// How new orders fare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdmissionStatus {
    /// Whether they are let in.
    pub accepting: bool,
    /// Orders that wait for their claim.
    pub backlog: u64,
    /// How many may.
    pub max_backlog: u64,
    /// How long the oldest of them has waited.
    pub claim_lag: Duration,
    /// How long it may.
    pub max_claim_lag: Duration,
    /// Orders claimed per second, lately.
    pub claims_per_second: u64,
    /// How full the stream is; `None` until it was measured.
    pub queue: Option<Filled>,
}

impl AdmissionControl {
    /// An open door, until something is measured. `room` is that of the queue.
    pub fn new(config: &IntakeConfig, room: Room) -> Self {
        Self {
            measured: Arc::default(),
            room,
            max_backlog: config.max_backlog,
            max_claim_lag: Duration::from_millis(config.max_claim_lag_ms),
            max_parked: config.max_parked,
        }
    }

    /// How it stands.
    pub fn status(&self) -> AdmissionStatus {
        let Measured { backlog, claim_lag_ms, claim_rate, queue_full, parked: _ } = &*self.measured;
        let backlog = backlog.load(Ordering::Relaxed);
        let claim_lag = Duration::from_millis(claim_lag_ms.load(Ordering::Relaxed));
        let bounded = backlog < self.max_backlog && claim_lag < self.max_claim_lag;
        AdmissionStatus {
            accepting: bounded && self.room.is_open() && !queue_full.load(Ordering::Relaxed),
            backlog,
            max_backlog: self.max_backlog,
            claim_lag,
            max_claim_lag: self.max_claim_lag,
            claims_per_second: claim_rate.load(Ordering::Relaxed),
            queue: self.room.filled(),
        }
    }

    /// Refuses before anything is taken while too many orders wait, one has waited for too long,
    /// the stream has no more room for orders, or too many orders of this sale are parked.
    ///
    /// # Errors
    /// `QUEUE_FULL`, with the time the claims need for what is too much.
    pub fn admit(&self, sale_id: &str) -> Result<(), Failure> {
        let status = self.status();
        if status.accepting {
            return self.admit_sale(sale_id);
        }
        // A tenth of the bound has to go before a retry has a fair chance; when it is the time, all that waits has to.
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

    /// The same for one sale alone. What is no sale's id is not for the door to refuse.
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

    /// The stream itself refused: shut the door until the next measurement.
    pub fn note_queue_full(&self) {
        self.measured.queue_full.store(true, Ordering::Relaxed);
    }

    /// The most parked orders one sale may have.
    pub fn max_parked(&self) -> u32 {
        self.max_parked
    }

    /// Takes note of the sales that have too many parked orders, and how many.
    pub fn set_parked(&self, parked: HashMap<Uuid, i64>) {
        *self.measured.parked.write().unwrap_or_else(PoisonError::into_inner) = parked;
    }

    /// Takes note of what waits, which ends a refusal of the stream's, and of the rate of the
    /// claims if it is known.
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
        AdmissionControl::new(&config, Room::default())
    }

    /// For a sale without parked orders.
    fn admit(control: &AdmissionControl) -> Result<(), Failure> {
        control.admit("00000000-0000-0000-0000-000000000001")
    }

    /// Each is told up to half as much again, so that not all come back at once.
    fn seconds(failure: Failure) -> f64 {
        failure.delay().unwrap().as_secs_f64()
    }

    #[test]
    fn the_door_shuts_at_the_bound_and_says_how_long() {
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
    fn the_door_shuts_when_an_order_has_waited_for_too_long() {
        let control = control();
        control.measured.backlog.store(100, Ordering::Relaxed);
        control.measured.claim_rate.store(10, Ordering::Relaxed);
        control.measured.claim_lag_ms.store(59_999, Ordering::Relaxed);
        assert!(admit(&control).is_ok());
        control.measured.claim_lag_ms.store(60_000, Ordering::Relaxed);
        assert!(!control.status().accepting);
        assert!((10.0..=15.0).contains(&seconds(admit(&control).unwrap_err())));
        // Nothing drains: nobody knows, so that the longest wait is told.
        control.measured.claim_rate.store(0, Ordering::Relaxed);
        assert!((30.0..=45.0).contains(&seconds(admit(&control).unwrap_err())));
    }

    #[test]
    fn the_door_shuts_when_the_stream_is_full() {
        let control = control();
        control.note_queue_full();
        assert!((30.0..=45.0).contains(&seconds(admit(&control).unwrap_err())));
    }
}
