//! Counts the payments that contradict the ledger or their orders, for the metrics. Needs nothing of
//! the provider.

use std::time::Duration;

use flashsale_service::{Drain, Ticks};

use crate::store::Store;

/// Payments that were recorded this long ago or later are compared.
const COMPARED: Duration = Duration::from_secs(48 * 60 * 60);
/// Differences that are counted.
const COUNTED: i64 = 10_000;

/// Compares every `every`, on one instance of all, until the drain starts. What fails is counted at
/// the next look.
///
/// # Errors
/// None; the signature is that of a background task.
pub async fn count_differences(store: Store, every: Duration, drain: Drain) -> anyhow::Result<()> {
    let mut ticks = Ticks::new(every, &drain);
    while ticks.next().await {
        if let Err(error) = count(&store, every).await {
            tracing::warn!(%error, "payments are not compared with the ledger");
        }
    }
    Ok(())
}

async fn count(store: &Store, every: Duration) -> sqlx::Result<()> {
    if !store.take_up_comparing(every).await? {
        return Ok(());
    }
    let since = flashsale_failpoint::now_utc() - COMPARED;
    let found = store.compare(None, since, COUNTED).await?.differences;
    if let Some(first) = found.first() {
        tracing::error!(
            differences = found.len(), order = %first.order_id, kind = ?first.kind,
            "payments contradict the ledger or their orders"
        );
    }
    store.note_differences(i64::try_from(found.len()).unwrap_or(i64::MAX)).await
}
