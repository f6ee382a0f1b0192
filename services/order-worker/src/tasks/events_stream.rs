//! Keeps `ORDER_EVENTS`, which this service owns.

use std::time::Duration;

use flashsale_queue::KeepPauses;
use flashsale_service::Drain;

use crate::store::events_stream::EventsStream;

const PAUSES: KeepPauses =
    KeepPauses { retry: Duration::from_secs(1), check: Duration::from_secs(1) };

/// Creates the stream as soon as JetStream answers, and again if it vanishes, until the drain
/// starts.
///
/// # Errors
/// None; the signature is that of a background task.
pub(crate) async fn keep(events: EventsStream, drain: Drain) -> anyhow::Result<()> {
    events.keep(PAUSES, drain.started()).await;
    Ok(())
}
