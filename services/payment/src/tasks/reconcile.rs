//! Looks after open payments that nobody has touched for long, whatever the reason: an event that was lost, a wait that grew too long.

use std::time::Duration;

use flashsale_service::Drain;

use super::Bell;
use crate::store::Store;

/// Every `every`, makes open payments due that were left alone for `untouched`: the provider is asked where they stand.
///
/// # Errors
/// None: a store that is away is waited for.
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
