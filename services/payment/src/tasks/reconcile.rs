//! Takes up open payments that were left alone for long, whatever the reason: an event that was
//! lost, a pause that grew too long.

use std::time::Duration;

use flashsale_service::Drain;

use crate::{app::Bell, store::Store};

/// Every `every`, makes open payments due that were left alone for `untouched`, so that the
/// provider is asked about them.
///
/// # Errors
/// Never: a store that is away is tried again.
pub async fn reconcile(
    store: Store,
    bell: Bell,
    every: Duration,
    untouched: Duration,
    drain: Drain,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = drain.started() => return Ok(()),
            () = tokio::time::sleep(every) => {}
        }
        match store.reconcile(untouched).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::info!(count, "open payments are looked at again");
                bell.ring();
            }
            Err(error) => tracing::warn!(%error, "nothing can be reconciled"),
        }
    }
}
