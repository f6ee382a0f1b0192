//! Keeps the stream `ORDERS`, which checkout owns.

use std::time::Duration;

use flashsale_queue::{KeepPauses, NatsConfig};
use flashsale_service::Drain;

use crate::store::Queue;

const PAUSES: KeepPauses =
    KeepPauses { retry: Duration::from_millis(500), check: Duration::from_secs(5) };

/// Creates `ORDERS` as soon as JetStream answers, and again if it vanishes, until the drain starts.
pub async fn keep(queue: Queue, config: NatsConfig, drain: Drain) -> anyhow::Result<()> {
    queue.keep(&config, PAUSES, drain.started()).await;
    Ok(())
}
