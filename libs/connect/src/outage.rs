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
        // Some causes tell the time, in figures, or the port of our side.
        let kind: String = cause.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_some_and(|(last, at)| *last == kind && at.elapsed() < AGAIN) {
            return false;
        }
        *told = Some((kind, Instant::now()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_cause_is_told_once() {
        let outage = Outage::of("redis");
        let causes = ["refused", "refused", "expired at 7", "expired at 8", "refused"];
        let news = causes.map(|cause| outage.is_news(cause));
        assert_eq!(news, [true, false, true, false, true]);
    }
}
