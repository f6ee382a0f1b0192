//! The clocks of the store's servers, as far as their replies show them.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use flashsale_redis::ServerName;
use tokio::time::Instant;

/// The offset before the first reply.
const UNKNOWN: i64 = i64::MIN;
/// The bound between a slow reply and a changed clock: a reply that puts the clock back by less was
/// only delayed, one by more comes from a clock that was set or from another server.
const SLOW_REPLY_MS: i64 = 1_000;

/// How many clocks are kept: more than a cluster has masters. Servers come and go; beyond this
/// number all clocks are learned again.
const CAPACITY: usize = 256;

/// A clock for each server, by its name: the servers' clocks do not agree, and a server that takes
/// over has its own.
#[derive(Debug, Default)]
pub(super) struct StoreClocks {
    clocks: RwLock<HashMap<Arc<ServerName>, Arc<StoreClock>>>,
}

impl StoreClocks {
    /// The clock of this server; an unset one if the server is new.
    pub(super) fn of(&self, server: &Arc<ServerName>) -> Arc<StoreClock> {
        // No panic can leave guarded data half-changed.
        let known = self.clocks.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(clock) = known.get(server) {
            return Arc::clone(clock);
        }
        drop(known);
        let mut clocks = self.clocks.write().unwrap_or_else(PoisonError::into_inner);
        if clocks.len() >= CAPACITY {
            clocks.clear();
        }
        let clock = clocks.entry(Arc::clone(server)).or_insert_with(|| Arc::new(StoreClock::new()));
        Arc::clone(clock)
    }
}

/// One server's clock, in milliseconds since 1970. It need not agree with ours.
#[derive(Debug)]
pub(super) struct StoreClock {
    base: Instant,
    /// The store's time minus the time since `base`.
    offset_ms: AtomicI64,
}

impl StoreClock {
    pub(super) fn new() -> Self {
        Self { base: Instant::now(), offset_ms: AtomicI64::new(UNKNOWN) }
    }

    /// Records the time in a reply that has just arrived. The fastest reply is the most accurate.
    pub(super) fn hear(&self, store_ms: i64) {
        let new = store_ms - self.since_base(Instant::now());
        let old = self.offset_ms.load(Ordering::Relaxed);
        if old == UNKNOWN || new > old || old - new > SLOW_REPLY_MS {
            self.offset_ms.store(new, Ordering::Relaxed);
        }
    }

    /// As [`Self::hear`], when the estimate has proved wrong.
    pub(super) fn set(&self, store_ms: i64) {
        self.offset_ms.store(store_ms - self.since_base(Instant::now()), Ordering::Relaxed);
    }

    /// The store's time at `instant`. Before the first reply that is 0, which as a deadline has
    /// passed: the store answers with its time and does nothing.
    pub(super) fn at(&self, instant: Instant) -> i64 {
        match self.offset_ms.load(Ordering::Relaxed) {
            UNKNOWN => 0,
            offset_ms => self.since_base(instant) + offset_ms,
        }
    }

    fn since_base(&self, instant: Instant) -> i64 {
        millis(instant.saturating_duration_since(self.base))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn clock_follows_fastest_reply_and_step() {
        let clock = StoreClock::new();
        assert_eq!(clock.at(Instant::now()), 0);
        clock.hear(50_000);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(clock.at(Instant::now()), 50_100);
        // This reply took 40 ms longer to arrive.
        clock.hear(50_060);
        assert_eq!(clock.at(Instant::now()), 50_100);
        clock.hear(50_110);
        assert_eq!(clock.at(Instant::now()), 50_110);
        // Another server took over, five seconds behind.
        clock.hear(45_110);
        assert_eq!(clock.at(Instant::now()), 45_110);
        clock.set(45_000);
        assert_eq!(clock.at(Instant::now()), 45_000);
    }

    #[tokio::test(start_paused = true)]
    async fn each_server_has_own_clock() {
        let clocks = StoreClocks::default();
        let servers = ["a", "b"].map(|run_id| Arc::new(ServerName::new(run_id, "1")));
        clocks.of(&servers[0]).hear(50_000);
        // Less than a slow reply could explain, so that one clock for both would not show the
        // difference.
        clocks.of(&servers[1]).hear(49_500);
        assert_eq!(clocks.of(&servers[0]).at(Instant::now()), 50_000);
        assert_eq!(clocks.of(&servers[1]).at(Instant::now()), 49_500);
        for server in 0..1_000 {
            clocks.of(&Arc::new(ServerName::new(server.to_string(), "1")));
        }
        assert!(clocks.clocks.read().unwrap().len() <= CAPACITY);
    }
}
