//! How the streams of watched tickets end when the process drains: spread over a part of the time
//! that a drain has, so that their clients do not all come back to the other instances at once.

use std::{sync::OnceLock, time::Duration};

use flashsale_service::Drain;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The time between two ends, unless there are too many streams for it.
const BETWEEN_ENDS: Duration = Duration::from_millis(10);

/// The ends of all streams of this process.
#[derive(Debug)]
pub(crate) struct Farewell {
    drain: CancellationToken,
    /// How long a drain may take before connections are cut.
    grace: Duration,
    /// When the drain has started, and how long after that the last stream ends.
    begun: OnceLock<(Instant, Duration)>,
}

impl Farewell {
    pub(crate) fn new(drain: &Drain, grace: Duration) -> Self {
        Self { drain: drain.token(), grace, begun: OnceLock::new() }
    }

    /// Resolves when the drain has started and the stream of this ticket has to end. `streams`
    /// counts those that are open; the first to notice the drain asks it for all.
    pub(crate) async fn of(&self, number: i64, streams: impl Fn() -> usize + Send) {
        let (since, spread) = self.begun(streams).await;
        sleep_until(since + spread.mul_f64(share(number))).await;
    }

    /// Resolves when the drain has started, with the time at which all streams have ended.
    pub(crate) async fn last(&self, streams: impl Fn() -> usize + Send) -> Instant {
        let (since, spread) = self.begun(streams).await;
        since + spread
    }

    async fn begun(&self, streams: impl Fn() -> usize + Send) -> (Instant, Duration) {
        self.drain.cancelled().await;
        *self.begun.get_or_init(|| (Instant::now(), spread(streams(), self.grace)))
    }
}

/// How long the ends of so many streams are spread: three quarters of the grace at most, so that
/// the last answers arrive before connections are cut.
fn spread(streams: usize, grace: Duration) -> Duration {
    let streams = u32::try_from(streams).unwrap_or(u32::MAX);
    BETWEEN_ENDS.saturating_mul(streams).min(grace / 4 * 3)
}

/// Where in the spread a ticket is, from 0 to below 1: Fibonacci hashing (Knuth), which spreads
/// numbers evenly also where they follow each other.
fn share(number: i64) -> f64 {
    let hash = number.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    f64::from(u32::try_from(hash).unwrap_or(u32::MAX)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::{collections::BTreeMap, sync::Arc};

    use tokio::task::JoinSet;

    use super::*;

    #[test]
    fn few_streams_end_soon_and_many_within_the_grace() {
        let grace = Duration::from_secs(25);
        for (streams, millis) in [(0, 0), (1, 10), (100, 1_000), (1_875, 18_750), (100_000, 18_750)]
        {
            assert_eq!(spread(streams, grace), Duration::from_millis(millis), "{streams}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ends_are_spread_evenly_and_before_the_grace_is_over() {
        const STREAMS: usize = 1_000;
        let (drain, grace) = (Drain::new(), Duration::from_secs(4));
        let farewell = Arc::new(Farewell::new(&drain, grace));
        let mut streams = JoinSet::new();
        // Numbers that follow each other, as those who came together have them.
        for number in 500_000..501_000 {
            let farewell = Arc::clone(&farewell);
            streams.spawn(async move {
                farewell.of(number, || STREAMS).await;
                Instant::now()
            });
        }
        tokio::task::yield_now().await;
        assert!(streams.try_join_next().is_none(), "one ended before the drain");
        let since = Instant::now();
        drain.start();
        let mut ended: BTreeMap<u128, usize> = BTreeMap::new();
        while let Some(at) = streams.join_next().await {
            *ended.entry((at.unwrap() - since).as_millis() / 300).or_default() += 1;
        }
        // In each tenth of the spread about a tenth of them.
        assert!(Instant::now() - since < grace, "the last ended after the grace");
        assert!(ended.len() >= 10, "{ended:?}");
        assert!(ended.values().all(|ends| *ends < STREAMS / 5), "{ended:?}");
        assert!(farewell.last(|| 0).await - since <= grace / 4 * 3);
    }
}
