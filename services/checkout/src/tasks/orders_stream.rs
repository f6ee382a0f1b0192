//! Keeps the stream `ORDERS` in existence; checkout owns it.

use std::time::Duration;

use flashsale_queue::NatsConfig;
use flashsale_service::Drain;

use crate::store::Queue;

/// How long to wait after a failed attempt.
const STREAM_RETRY: Duration = Duration::from_millis(500);

/// Creates `ORDERS` as soon as JetStream answers, and again if it vanishes.
pub async fn keep(queue: Queue, config: NatsConfig, drain: Drain) -> anyhow::Result<()> {
    let ended = drain.token();
    let mut there = false;
    while !ended.is_cancelled() {
        let pause = if there { STREAM_RETRY * 10 } else { STREAM_RETRY };
        if there {
            there = queue.exists().await;
        }
        if !there {
            match queue.ensure(&config).await {
                Ok(()) => there = true,
                Err(error) => tracing::warn!(%error, "the order stream cannot be made yet"),
            }
            if there {
                continue;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ended.cancelled() => {}
        }
    }
    Ok(())
}
