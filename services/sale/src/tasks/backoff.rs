//! Pauses between attempts.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::time::Instant;

/// When each failed thing is tried again: after `first`, then after twice as long each time, up to
/// `max`. Has one entry per thing that is failing.
#[derive(Debug)]
pub(crate) struct Backoffs<K> {
    first: Duration,
    max: Duration,
    waiting: HashMap<K, (Duration, Instant)>,
}

impl<K: Copy + Eq + Hash> Backoffs<K> {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, waiting: HashMap::new() }
    }

    pub(crate) fn is_due(&self, what: K, now: Instant) -> bool {
        self.waiting.get(&what).is_none_or(|(_, at)| *at <= now)
    }

    pub(crate) fn forget(&mut self, what: K) {
        self.waiting.remove(&what);
    }

    /// Notes a failure and returns the pause until the next attempt.
    pub(crate) fn failed(&mut self, what: K, now: Instant) -> Duration {
        let max = self.max;
        // Drop what another instance has finished meanwhile, or what is not tried any more.
        self.waiting.retain(|_, (_, at)| *at + max > now);
        let wait = self.waiting.get(&what).map_or(self.first, |(wait, _)| (*wait * 2).min(max));
        self.waiting.insert(what, (wait, now + wait));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(4);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoffs = Backoffs::new(FIRST, MAX);
        let sale = (1, 2);
        let mut now = Instant::now();
        for expected_ms in [500, 1_000, 2_000, 4_000, 4_000] {
            assert!(backoffs.is_due(sale, now));
            let wait = backoffs.failed(sale, now);
            assert_eq!(wait, Duration::from_millis(expected_ms));
            assert!(!backoffs.is_due(sale, now + wait - Duration::from_millis(1)));
            now += wait;
        }
        assert!(backoffs.is_due((1, 3), now - FIRST));
        backoffs.forget(sale);
        assert!(backoffs.waiting.is_empty());
    }

    #[test]
    fn entries_that_are_not_tried_again_go() {
        let mut backoffs = Backoffs::new(FIRST, MAX);
        let now = Instant::now();
        for n in 0..100 {
            backoffs.failed((n, 1), now);
        }
        backoffs.failed((0, 2), now + Duration::from_secs(60));
        assert_eq!(backoffs.waiting.len(), 1);
    }
}
