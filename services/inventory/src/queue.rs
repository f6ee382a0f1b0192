//! Inventory's side of the order queue: the marker of a rebuild.

use std::time::Duration;

use async_nats::jetstream;
use flashsale_queue::{NatsConfig, PublishError, QueueMessage};
use uuid::Uuid;

use crate::domain::Refusal;

/// The way to `ORDERS`. A clone shares the connection.
#[derive(Debug, Clone)]
pub struct Queue {
    jetstream: jetstream::Context,
    publish_timeout: Duration,
}

impl Queue {
    /// Connects in the background, and again whenever the connection breaks.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub async fn connect(config: &NatsConfig) -> anyhow::Result<Self> {
        let nats = flashsale_queue::connect(config, "inventory").await?;
        let publish_timeout = Duration::from_millis(config.publish_timeout_ms);
        let mut jetstream = jetstream::new(nats);
        jetstream.set_timeout(publish_timeout);
        Ok(Self { jetstream, publish_timeout })
    }

    /// `ORDERS`, for reading.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Whether the queue is there to take a marker.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] when it is not.
    pub async fn there(&self) -> Result<(), Refusal> {
        let asked = self.jetstream.get_stream(flashsale_queue::ORDERS);
        match tokio::time::timeout(self.publish_timeout, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Refusal::StoreAway { store: "nats", cause: error.to_string() }),
            Err(_) => Err(Refusal::StoreAway { store: "nats", cause: "no answer".to_owned() }),
        }
    }

    /// Publishes the marker that the stock of `epoch` is computed behind.
    ///
    /// # Errors
    /// When it may not be stored; publishing it again is harmless.
    pub async fn mark(&self, sale_id: Uuid, epoch: i64) -> Result<(), PublishError> {
        let marker = QueueMessage::Fence { sale_id, epoch };
        flashsale_queue::publish_order(&self.jetstream, &marker, self.publish_timeout).await?;
        Ok(())
    }
}
