//! How long a payment waits before the provider is asked again.

use std::time::Duration;

/// What a lock or a limit lasts.
const MOMENT: Duration = Duration::from_secs(2);

/// Doubling waits with jitter.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The wait after the first attempt.
    pub base: Duration,
    /// No wait is longer, before jitter.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after attempt number `attempt` (from 1). `chance` in 0..1 spreads it over 80 % to
    /// 120 %, so that payments that failed together are not tried again together. It is never
    /// shorter than the provider's `Retry-After`.
    pub fn wait(self, attempt: i32, chance: f64, retry_after: Option<Duration>) -> Duration {
        let doublings = u32::try_from(attempt.max(1) - 1).unwrap_or(0).min(20);
        let wait = self.base.saturating_mul(1 << doublings).min(self.cap);
        spread(wait, chance, retry_after)
    }

    /// The longest wait, spread like any other.
    pub fn longest(self, chance: f64, retry_after: Option<Duration>) -> Duration {
        spread(self.cap, chance, retry_after)
    }

    /// The wait while another request is under way, or a limit lasts: a moment between a half and
    /// one and a half of [`MOMENT`], and no longer than any other wait.
    pub fn moment(self, chance: f64, retry_after: Option<Duration>) -> Duration {
        let wait = MOMENT.min(self.cap).mul_f64(0.5 + chance.clamp(0.0, 1.0));
        wait.max(retry_after.unwrap_or_default())
    }
}

fn spread(wait: Duration, chance: f64, retry_after: Option<Duration>) -> Duration {
    let wait = wait.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0));
    wait.max(retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const BACKOFF: Backoff =
        Backoff { base: Duration::from_secs(30), cap: Duration::from_secs(300) };

    #[test]
    fn waits_double_up_to_the_cap() {
        let secs = |attempt| BACKOFF.wait(attempt, 0.5, None).as_secs_f64().round();
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 9, i32::MAX].map(secs),
            [30., 30., 60., 120., 240., 300., 300., 300.]
        );
    }

    #[test]
    fn jitter_is_a_fifth_either_way() {
        assert_eq!(BACKOFF.wait(1, 0.0, None), Duration::from_secs(24));
        assert_eq!(BACKOFF.wait(1, 1.0, None), Duration::from_secs(36));
    }

    #[test]
    fn a_moment_is_one_to_three_seconds() {
        assert_eq!(BACKOFF.moment(0.0, None), Duration::from_secs(1));
        assert_eq!(BACKOFF.moment(1.0, None), Duration::from_secs(3));
        assert_eq!(BACKOFF.moment(0.0, Some(Duration::from_secs(9))), Duration::from_secs(9));
        let quick = Backoff { cap: Duration::from_millis(100), ..BACKOFF };
        assert!(quick.moment(1.0, None) < Duration::from_secs(1));
    }

    #[test]
    fn the_longest_wait_is_the_cap() {
        assert_eq!(BACKOFF.longest(0.5, None), Duration::from_secs(300));
    }

    #[test]
    fn retry_after_is_a_lower_bound() {
        let retry_after = Some(Duration::from_secs(1_000));
        assert_eq!(BACKOFF.wait(1, 0.5, retry_after), Duration::from_secs(1_000));
        assert_eq!(BACKOFF.wait(2, 0.5, Some(Duration::from_secs(1))), Duration::from_secs(60));
    }
}
