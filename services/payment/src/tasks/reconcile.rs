//! Takes up open payments that were left alone for long, whatever the reason: an event that was
//! lost, a pause that grew too long. And ends those that have waited for the provider too long
//! without being begun: while the breaker is open, nothing else takes them up.

use std::time::Duration;

use flashsale_service::Drain;

use crate::{
    app::{Bell, settlement::Settler},
    domain::State,
    store::{ENDED_AT_ONCE, Store},
};

/// When to do what.
#[derive(Debug, Clone, Copy)]
pub struct Reconciling {
    /// How often to look.
    pub every: Duration,
    /// How long an open payment may be left alone.
    pub untouched: Duration,
    /// How long a payment may wait for the provider.
    pub wait_limit: Duration,
}

/// Makes open payments due that were left alone, so that the provider is asked about them, and ends
/// those that have waited too long and that the provider has not heard of.
///
/// # Errors
/// Never: a store that is away is tried again.
pub async fn reconcile(
    store: Store,
    settler: Settler,
    bell: Bell,
    pace: Reconciling,
    drain: Drain,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = drain.started() => return Ok(()),
            () = tokio::time::sleep(pace.every) => {}
        }
        match store.reconcile(pace.untouched).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(count, "open payments are looked at again");
                bell.ring();
            }
            Err(error) => tracing::warn!(%error, "nothing can be reconciled"),
        }
        if let Err(error) = store.forget_events().await {
            tracing::warn!(%error, "old events cannot be forgotten");
        }
        // A full batch is followed by the next at once.
        loop {
            match store.end_waited_out(pace.wait_limit).await {
                Ok(ended) => {
                    for order in &ended {
                        settler.changed(*order, State::Cancelled).await;
                    }
                    if !ended.is_empty() {
                        tracing::error!(
                            count = ended.len(),
                            "payments have waited for the provider too long"
                        );
                    }
                    if ended.len() < ENDED_AT_ONCE || drain.is_draining() {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "payments that wait cannot be looked at");
                    break;
                }
            }
        }
    }
}
