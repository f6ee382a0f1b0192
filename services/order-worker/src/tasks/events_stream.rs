//! Keeps `ORDER_EVENTS`, which this service owns.

use std::time::Duration;

use flashsale_service::Drain;

use crate::store::events_stream::EventsStream;

/// Between two attempts to create the stream, and between two checks that it exists.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Creates the stream as soon as JetStream answers, and again if it vanishes, until the drain
/// starts.
///
/// # Errors
/// None; the signature is that of a background task.
pub(crate) async fn keep(events: EventsStream, drain: Drain) -> anyhow::Result<()> {
    let mut exists = false;
    while !drain.is_draining() {
        if exists {
            exists = events.exists().await;
        }
        if !exists {
            match events.create().await {
                Ok(()) => exists = true,
                Err(error) => tracing::warn!(%error, "ORDER_EVENTS cannot be made yet"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(CHECK_EVERY) => {}
            () = drain.started() => return Ok(()),
        }
    }
    Ok(())
}
