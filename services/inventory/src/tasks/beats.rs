//! The background tasks that keep an instance serving: beats at its Redis, and looks into the
//! queue.

use std::sync::Arc;

use flashsale_service::{Drain, periodic};

use crate::{
    app::Inventory,
    domain::{BEAT_EVERY, LOOK_EVERY},
};

/// Confirms this instance's server every second until the drain starts. The next beat makes up for
/// one that fails.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn beat(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    periodic(BEAT_EVERY, &drain, || {
        let inventory = Arc::clone(&inventory);
        async move {
            if let Err(refusal) = inventory.beat().await {
                tracing::debug!(?refusal, "no beat");
            }
        }
    })
    .await;
    Ok(())
}

/// Looks into the queue twice a second until the drain starts.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn look(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    periodic(LOOK_EVERY, &drain, || {
        let inventory = Arc::clone(&inventory);
        async move { inventory.look().await }
    })
    .await;
    Ok(())
}
