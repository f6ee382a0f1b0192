//! How much of `ORDERS` placed orders may fill.
//!
//! The stream has one bound for everything in it, and the server cannot bound a subject. So placed
//! orders stop short of it: the marker of a rebuild and the wish to cancel still fit when orders
//! have filled the queue. A full queue would otherwise keep out the markers that the claims, and
//! with them the purge that makes space, wait for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::jetstream::stream::Info;

use crate::streams::MAX_MESSAGE_BYTES;

/// One part in this many of the stream's bound is kept for markers and cancellations.
const RESERVED_PART: u64 = 8;

/// What placed orders may fill of a stream bounded to `max_bytes`; a stream without a bound has
/// none.
pub fn bytes_for_orders(max_bytes: i64) -> u64 {
    match u64::try_from(max_bytes) {
        Ok(bound) if bound > 0 => bound - bound / RESERVED_PART,
        Ok(_) | Err(_) => u64::MAX,
    }
}

/// The space for placed orders in `ORDERS`: the stream's size as last measured, and what this
/// process has published since. What others publish between two measurements is not seen; the
/// reserve is large beside it. Without a measurement there is space. A clone is the same space.
#[derive(Debug, Clone, Default)]
pub struct StreamSpace(Arc<Mutex<Sizes>>);

/// All in bytes.
#[derive(Debug, Default)]
struct Sizes {
    /// What orders may fill, and what is in the stream, as measured last.
    measured: Option<(u64, u64)>,
    /// Of all publishes ever begun.
    begun: u64,
    /// Of all publishes ever ended.
    ended: u64,
    /// `ended` when the last measurement began: what ended before is in its figure.
    counted: u64,
}

/// A measurement that has begun.
#[derive(Debug)]
#[must_use]
pub struct Measuring {
    space: StreamSpace,
    ended: u64,
}

/// Space that a publish uses. Dropped when it ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taken {
    space: StreamSpace,
    bytes: u64,
}

/// How full the stream is with regard to placed orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filled {
    /// Bytes in the stream, as far as this process knows.
    pub bytes: u64,
    /// What placed orders may fill.
    pub bound: u64,
}

impl StreamSpace {
    fn lock(&self) -> MutexGuard<'_, Sizes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a measurement; the stream's info has to be asked for after this.
    pub fn measure(&self) -> Measuring {
        Measuring { space: self.clone(), ended: self.lock().ended }
    }

    /// How full it is; `None` before the first measurement.
    pub fn filled(&self) -> Option<Filled> {
        let sizes = self.lock();
        sizes.measured.map(|(bound, stored)| Filled { bytes: sizes.now(stored), bound })
    }

    /// Whether the largest order there can be would still fit.
    pub fn is_open(&self) -> bool {
        self.filled().is_none_or(|filled| {
            filled.bytes.saturating_add(u64::from(MAX_MESSAGE_BYTES.unsigned_abs())) <= filled.bound
        })
    }

    /// Takes space for a message; `None` if there is too little.
    pub(crate) fn take(&self, bytes: u64) -> Option<Taken> {
        let mut sizes = self.lock();
        if let Some((bound, stored)) = sizes.measured
            && sizes.now(stored).saturating_add(bytes) > bound
        {
            return None;
        }
        sizes.begun = sizes.begun.saturating_add(bytes);
        Some(Taken { space: self.clone(), bytes })
    }
}

impl Sizes {
    fn now(&self, stored: u64) -> u64 {
        stored.saturating_add(self.begun.saturating_sub(self.counted))
    }
}

impl Measuring {
    /// Ends it with what the server has answered.
    pub fn done(self, info: &Info) {
        self.is(info.config.max_bytes, info.state.bytes);
    }

    fn is(self, max_bytes: i64, stored: u64) {
        let mut sizes = self.space.lock();
        sizes.measured = Some((bytes_for_orders(max_bytes), stored));
        sizes.counted = self.ended;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut sizes = self.space.lock();
        sizes.ended = sizes.ended.saturating_add(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BOUND: i64 = 8 << 20;
    const ORDERS: u64 = 7 << 20;

    #[test]
    fn eighth_is_kept_unless_unbounded() {
        assert_eq!(bytes_for_orders(BOUND), ORDERS);
        assert_eq!(bytes_for_orders(-1), u64::MAX);
        assert_eq!(bytes_for_orders(0), u64::MAX);
    }

    #[test]
    fn publishes_since_the_measurement_count() {
        let space = StreamSpace::default();
        assert!(space.is_open() && space.take(u64::MAX).is_some());

        let space = StreamSpace::default();
        space.measure().is(BOUND, ORDERS - 200_000);
        assert!(space.is_open());
        let first = space.take(150_000).unwrap();
        assert!(!space.is_open());
        drop(first);
        // Ended, and not measured yet.
        assert!(space.take(60_000).is_none());
        drop(space.take(50_000).unwrap());
        assert!(space.take(1).is_none());
        assert_eq!(space.filled(), Some(Filled { bytes: ORDERS, bound: ORDERS }));
        // The claims purge.
        space.measure().is(BOUND, 0);
        assert_eq!(space.filled(), Some(Filled { bytes: 0, bound: ORDERS }));
    }

    #[test]
    fn publish_during_a_measurement_counts() {
        let space = StreamSpace::default();
        let under_way = space.take(100).unwrap();
        let measuring = space.measure();
        drop(under_way);
        measuring.is(BOUND, 0);
        assert_eq!(space.filled().unwrap().bytes, 100);
        space.measure().is(BOUND, 100);
        assert_eq!(space.filled().unwrap().bytes, 100);
    }
}
