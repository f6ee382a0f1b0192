//! Saying why a store cannot be used.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long the same cause is not repeated.
const AGAIN: Duration = Duration::from_secs(10);

/// Why a store cannot be used, for the log. Its driver goes on trying several times a second, on
/// several connections: the same cause is told once in ten seconds.
#[derive(Debug)]
pub struct Outage {
    store: &'static str,
    told: Mutex<Option<(String, Instant)>>,
}

impl Outage {
    /// Nothing told yet of `store`.
    pub const fn of(store: &'static str) -> Self {
        Self { store, told: Mutex::new(None) }
    }

    /// Writes the cause to the log. It is the driver's own words about a connection, which hold no
    /// credentials.
    pub fn tell(&self, cause: &impl Display) {
        let cause = cause.to_string();
        if self.is_news(&cause) {
            tracing::warn!(store = self.store, cause, "store unavailable");
        }
    }

    fn is_news(&self, cause: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_some_and(|(last, at)| last == cause && at.elapsed() < AGAIN) {
            return false;
        }
        *told = Some((cause.to_owned(), Instant::now()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_is_told_once() {
        let outage = Outage::of("redis");
        let news = ["refused", "refused", "expired", "refused"].map(|cause| outage.is_news(cause));
        assert_eq!(news, [true, false, true, true]);
    }
}
