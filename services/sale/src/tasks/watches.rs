//! Keeps the watched sales up to date.

use std::{sync::Arc, time::Duration};

use flashsale_service::Drain;

use crate::app::watches::Watches;

/// Refreshes the watched sales every `interval`, until the drain starts.
///
/// # Errors
/// Never: failures are logged and tried again.
pub async fn refresh(
    watches: Arc<Watches>,
    interval: Duration,
    drain: Drain,
) -> anyhow::Result<()> {
    let rounds = async {
        loop {
            tokio::time::sleep(interval).await;
            if let Err(error) = watches.refresh().await {
                tracing::warn!(%error, "cannot look after the watched sales");
            }
        }
    };
    tokio::select! {
        () = drain.started() => Ok(()),
        () = rounds => Ok(()),
    }
}
