//! When a failed attempt is repeated.

use std::time::Duration;

/// The pauses between attempts: `first`, doubled with each further failure up to `ceiling`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The pause after a first failure.
    pub first: Duration,
    /// The longest pause.
    pub ceiling: Duration,
}

impl Backoff {
    /// The pause after this many failed attempts. Up to half of it is left off at random, so that
    /// attempts that failed together are not repeated together.
    pub fn pause_after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let full = (self.first * (1 << doublings)).min(self.ceiling);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}
