//! A monotonic clock that goes on counting while the machine is suspended.
//!
//! `std::time::Instant` is `CLOCK_MONOTONIC`, which stands still during a suspend: to a process that
//! wakes up after an hour, a check made before the suspend would look a moment old.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

use nix::{
    sys::time::TimeValLike as _,
    time::{ClockId, clock_gettime},
};

/// A moment of `CLOCK_BOOTTIME`. Comparable only within one boot of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The present moment.
    pub fn now() -> Self {
        // What begins at an unknown moment counts as begun at the boot: as old as can be.
        Self(since_boot().unwrap_or(Duration::ZERO))
    }

    /// Time since this moment, suspended time included; zero if it lies ahead.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        since_boot().map_or(Duration::MAX, |now| now.saturating_sub(self.0))
    }

    /// Time from `earlier` to this moment; zero if `earlier` is the later one.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// `None` only where the kernel does not know the clock; Linux has had it since 2.6.39.
fn since_boot() -> Option<Duration> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    u64::try_from(now.num_nanoseconds()).ok().map(Duration::from_nanos)
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    /// Saturates at the end of time.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for BootInstant {
    type Output = Self;

    /// Saturates at the boot.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn moments_are_ordered_and_differences_saturate() {
        let now = BootInstant::now();
        assert_eq!((now + SECOND).saturating_duration_since(now), SECOND);
        assert_eq!(now.saturating_duration_since(now + SECOND), Duration::ZERO);
        assert_eq!((now + SECOND).elapsed(), Duration::ZERO);
        assert!(now - Duration::MAX < now && now < now + Duration::MAX);
        assert!((now - SECOND).elapsed() >= SECOND);
    }

    #[test]
    fn it_counts_from_the_boot() {
        // Seconds of CLOCK_BOOTTIME, rounded down to hundredths.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!(BootInstant::now() >= BootInstant(Duration::from_secs_f64(uptime)));
    }
}
