//! Background work that is repeated until the drain starts.

use std::{future::Future, time::Duration};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::Drain;

/// Runs `work` now and then every `every`, one run at a time, until the drain starts, which also
/// cancels a run under way. A run that takes longer than `every` delays those after it: missed ones
/// are not made up for.
///
/// # Panics
/// When `every` is zero.
pub async fn periodic<Fut>(every: Duration, drain: &Drain, mut work: impl FnMut() -> Fut)
where
    Fut: Future<Output = ()>,
{
    let mut ticks = Ticks::new(every, drain);
    let runs = async {
        while ticks.next().await {
            work().await;
        }
    };
    tokio::select! {
        () = drain.started() => {}
        () = runs => {}
    }
}

/// The beat of [`periodic`], for a loop that keeps state between its runs, or that completes the
/// run under way when the drain starts.
#[derive(Debug)]
pub struct Ticks {
    interval: Interval,
    ended: CancellationToken,
}

impl Ticks {
    /// Ticks now and then every `every`, until the drain starts.
    ///
    /// # Panics
    /// When `every` is zero.
    pub fn new(every: Duration, drain: &Drain) -> Self {
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { interval, ended: drain.token() }
    }

    /// Waits for the next tick; false once the drain has started.
    pub async fn next(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => false,
            _ = self.interval.tick() => true,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn runs_at_once_and_then_periodically() {
        let (drain, mut runs) = (Drain::new(), 0);
        let every = Duration::from_secs(1);
        let work = periodic(every, &drain, || {
            runs += 1;
            std::future::ready(())
        });
        tokio::time::timeout(every * 5 / 2, work).await.unwrap_err();
        assert_eq!(runs, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_cancels_a_run() {
        let drain = Drain::new();
        let work = periodic(Duration::from_secs(1), &drain, std::future::pending);
        tokio::join!(work, async { drain.start() });
        assert!(!Ticks::new(Duration::from_secs(1), &drain).next().await);
    }
}
