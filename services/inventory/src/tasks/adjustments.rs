//! The background task that carries through adjustments which were cut off.

use std::{sync::Arc, time::Duration};

use flashsale_service::{Drain, periodic};

use crate::app::Inventory;

/// How often the task looks for adjustments that were cut off.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an adjustment must be untouched: longer than a call that still works on it takes.
const IDLE: Duration = Duration::from_secs(5);

/// Carries through adjustments that were cut off, until the drain starts.
///
/// # Errors
/// None: what fails now is tried again later.
pub async fn run(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    periodic(LOOK_EVERY, &drain, || async {
        if let Err(refusal) = inventory.finish_adjustments(IDLE).await {
            tracing::debug!(?refusal, "adjustments that were cut off cannot be read");
        }
    })
    .await;
    Ok(())
}
