//! Keeps the deadlines of dead letters.

use std::time::Duration;

use flashsale_service::Drain;

use crate::app::dead_letters::DeadLetters;

/// How often deadlines are checked.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The most dead letters of one check.
const BATCH: i64 = 100;

/// Gives up dead letters that were not decided in time, until the drain starts.
///
/// # Errors
/// None; the signature is that of a background task.
pub(crate) async fn expire(dead_letters: DeadLetters, drain: Drain) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(CHECK_EVERY) => {}
            () = drain.started() => return Ok(()),
        }
        if let Err(error) = dead_letters.expire(BATCH).await {
            tracing::warn!(%error, "the deadlines of dead letters cannot be kept yet");
        }
    }
}
