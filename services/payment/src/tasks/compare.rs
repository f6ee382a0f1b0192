//! Reads the provider's list of events for those that were not sent to us, and takes them.

use std::time::Duration;

use flashsale_service::Drain;
use time::OffsetDateTime;

use crate::{
    app::{
        account::AccountCheck,
        events::{EventTaker, TYPES},
    },
    metrics::Metrics,
    peers::stripe::{Event, ProviderError, Stripe},
    store::{LearntBy, Store, WindowRead},
};

/// How much time is read before it is noted as read.
const WINDOW: Duration = Duration::from_secs(10 * 60);
/// How far a window reaches back into the one before: our clock and the provider's may be apart.
const OVERLAP: Duration = Duration::from_secs(5 * 60);
/// How old an event is before it counts as missed. Until then it may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(60);
/// Between two calls.
const PACE: Duration = Duration::from_millis(500);
/// How long an instance has the reading to itself, from each page and each so many events on: one
/// that dies, or gets no answer, leaves it to the others soon. Two that read at once do no harm.
const LEASE: Duration = Duration::from_secs(15);
/// Events that are taken before the lease begins again.
const TAKEN_AT_ONCE: usize = 100;

/// Reads missed events.
#[derive(Debug)]
pub struct Comparer {
    pub store: Store,
    pub stripe: Stripe,
    /// Whose the secret key is.
    pub account: AccountCheck,
    /// Draws their consequences.
    pub events: EventTaker,
    pub metrics: Metrics,
    /// How often to look.
    pub every: Duration,
}

/// Why reading has stopped.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Store(#[from] sqlx::Error),
}

impl Comparer {
    /// Reads until the drain starts. What fails is read at the next look.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = drain.started() => return Ok(()),
                () = tokio::time::sleep(self.every) => {}
            }
            tokio::select! {
                () = drain.started() => return Ok(()),
                read = self.catch_up() => {
                    if let Err(error) = read {
                        tracing::warn!(%error, "the provider's events cannot be read");
                    }
                }
            }
        }
    }

    /// Reads window by window up to now.
    async fn catch_up(&self) -> Result<(), Stopped> {
        // The list of another account would count as read.
        if !self.account.standing().may_go_on() {
            return Ok(());
        }
        let Some(mut from) = self.store.lease_comparison(LEASE).await? else { return Ok(()) };
        loop {
            let now = flashsale_failpoint::now_utc();
            let to = now.min(from + WINDOW);
            let read = self.window(from - OVERLAP, to, now).await?;
            let last = to == now;
            // After the last window the next look may be another instance's.
            let lease = if last { Duration::ZERO } else { LEASE };
            self.store.advance_comparison(to, read, lease).await?;
            if read.missed > 0 {
                tracing::warn!(missed = read.missed, "events had not been sent to us");
            }
            self.metrics.events_missed(u64::try_from(read.missed).unwrap_or(0));
            if last {
                return Ok(());
            }
            from = to;
        }
    }

    /// Keeps the reading, as far as it has come.
    async fn keep(&self) -> sqlx::Result<()> {
        let nothing = WindowRead::default();
        self.store.advance_comparison(OffsetDateTime::UNIX_EPOCH, nothing, LEASE).await
    }

    async fn window(
        &self,
        from: OffsetDateTime,
        to: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<WindowRead, Stopped> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|last: &Event| last.id.as_str());
            let (events, more) = self.stripe.events(&TYPES, from..=to, after).await?;
            let last = events.is_empty() || !more;
            all.extend(events);
            if last {
                break;
            }
            self.keep().await?;
            tokio::time::sleep(PACE).await;
        }
        // They are listed newest first, and mean most in the order in which they came about.
        let mut read = WindowRead::default();
        for (place, event) in all.iter().rev().enumerate() {
            if place % TAKEN_AT_ONCE == TAKEN_AT_ONCE - 1 {
                self.keep().await?;
            }
            let new = self.events.take(event, LearntBy::Comparison).await?;
            let late = now - ON_ITS_WAY > from_unix(event.created);
            read.events += 1;
            read.missed += i64::from(new && late);
        }
        Ok(read)
    }
}

fn from_unix(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
