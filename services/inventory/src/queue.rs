//! Inventory's side of the order queue: the marker of a rebuild, and looking for orders that should be in it.

use std::{collections::HashSet, time::Duration};

use async_nats::jetstream::{self, stream::RawMessageErrorKind};
use flashsale_failpoint::Step as _;
use flashsale_queue::{NatsConfig, ORDERS, PublishError, QueueMessage};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::Refusal;
use crate::store::Floor;

/// How many messages are looked at for orders that should be among them, and for how long: the queue may be long.
const LOOK_MESSAGES: usize = 5_000;
const LOOK_FOR: Duration = Duration::from_secs(3);

/// What a look into the queue found.
#[derive(Debug, Default)]
pub struct Found {
    /// Orders whose message is there.
    pub orders: HashSet<Uuid>,
    /// Whether it was read to its end: only then an order that was not found is not there.
    pub whole: bool,
}

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
        let asked = self.jetstream.get_stream(ORDERS);
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
        flashsale_queue::publish_order(&self.jetstream, &marker, self.publish_timeout)
            .step("publish/marker")
            .await?;
        Ok(())
    }

    /// Looks for placed orders of a sale behind the claims, until all of `wanted` are found, the end is reached, or it has been enough.
    pub async fn find(&self, sale_id: Uuid, floor: Option<Floor>, wanted: &HashSet<Uuid>) -> Found {
        let mut found = Found::default();
        let until = Instant::now() + LOOK_FOR;
        let looking = self.look(sale_id, floor, wanted, &mut found);
        if tokio::time::timeout_at(until, looking).await.is_err() {
            tracing::info!(%sale_id, "the queue was not read to its end in time");
        }
        found
    }

    async fn look(
        &self,
        sale_id: Uuid,
        floor: Option<Floor>,
        wanted: &HashSet<Uuid>,
        found: &mut Found,
    ) {
        let Ok(stream) = self.jetstream.get_stream(ORDERS).await else { return };
        let created = stream.cached_info().created;
        let claimed = floor.filter(|floor| floor.counts_in(created)).map_or(0, |floor| floor.seq);
        let subject = flashsale_queue::place_subject(sale_id);
        let mut next = claimed + 1;
        for _ in 0..LOOK_MESSAGES {
            match stream.get_first_raw_message_by_subject(&subject, next).await {
                Ok(message) => {
                    next = message.sequence + 1;
                    if let Ok(body) = QueueMessage::decode(&message.payload) {
                        found.orders.extend(body.order().map(|order| order.order_id));
                    }
                }
                Err(error) => {
                    found.whole = error.kind() == RawMessageErrorKind::NoMessageFound;
                    return;
                }
            }
            if wanted.is_subset(&found.orders) {
                found.whole = true;
                return;
            }
        }
        tracing::info!(%sale_id, "the queue is too long to be read to its end");
    }
}
