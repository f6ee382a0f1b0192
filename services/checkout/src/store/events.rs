//! Announcements of changed orders, over core NATS.

use std::collections::HashSet;

use async_nats::{Client, SubscribeError};
use flashsale_queue::{ORDER_EVENT_SUBJECTS, OrderEvent};
use futures::{Stream, StreamExt as _};
use uuid::Uuid;

#[derive(Debug, Clone)]
pub struct OrderEvents {
    nats: Client,
}

impl OrderEvents {
    pub fn new(nats: Client) -> Self {
        Self { nats }
    }

    /// The changed orders, in bursts of at most `most` announcements.
    ///
    /// # Errors
    /// NATS does not accept the subscription.
    pub async fn subscribe(
        &self,
        most: usize,
    ) -> Result<impl Stream<Item = HashSet<Uuid>> + use<>, SubscribeError> {
        let announcements = self.nats.subscribe(ORDER_EVENT_SUBJECTS).await?;
        Ok(announcements.ready_chunks(most).map(|burst| {
            burst
                .iter()
                .filter_map(|message| serde_json::from_slice::<OrderEvent>(&message.payload).ok())
                .map(|event| event.order_id)
                .collect()
        }))
    }
}
