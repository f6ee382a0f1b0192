//! Inventory's access to the order queue: the messages of a rebuild, and finding orders that should
//! be in it.

use std::{collections::HashSet, time::Duration};

use async_nats::jetstream::{self, stream::RawMessageErrorKind};
use flashsale_failpoint::{Outside, Step};
use flashsale_queue::{NatsConfig, ORDERS, PublishError, QueueMessage, publish_order};
use flashsale_service::boottime::BootInstant;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::Floor;
use crate::{domain::Refusal, steps};

/// How many messages are searched for orders, and for how long: the queue may be long.
const LOOK_MESSAGES: usize = 5_000;
const LOOK_FOR: Duration = Duration::from_secs(3);

/// The most announced epochs that one look reads.
const MAX_ANNOUNCED: usize = 5_000;

/// The extent of the queue at one moment.
#[derive(Debug, Clone)]
pub struct Look {
    /// When the look began.
    pub begun: BootInstant,
    stream_created: OffsetDateTime,
    first_seq: u64,
    last_seq: u64,
}

impl Look {
    /// Whether nothing can have been missed between the look `before` and this one: it is the same
    /// stream, it has lost nothing, and what came since has not been purged.
    pub fn continues(&self, before: &Self) -> bool {
        self.stream_created == before.stream_created
            && self.last_seq >= before.last_seq
            && self.first_seq <= before.last_seq + 1
    }
}

/// The result of a search for orders.
#[derive(Debug, Default)]
pub struct FoundOrders {
    /// Orders whose message was found.
    pub orders: HashSet<Uuid>,
    /// Whether the queue was read to its end: only then is an order that was not found not there.
    pub whole: bool,
}

/// Access to `ORDERS`. A clone shares the connection.
#[derive(Debug, Clone)]
pub struct Queue {
    jetstream: Outside<jetstream::Context>,
    publish_timeout: Duration,
}

impl Queue {
    /// Connects in the background, and reconnects whenever the connection breaks.
    ///
    /// # Errors
    /// When the URL is invalid.
    pub async fn connect(config: &NatsConfig) -> anyhow::Result<Self> {
        let nats = flashsale_queue::connect(config, "inventory").await?;
        let publish_timeout = Duration::from_millis(config.publish_timeout_ms);
        let mut jetstream = jetstream::new(nats);
        jetstream.set_timeout(publish_timeout);
        Ok(Self { jetstream: Outside::new(jetstream), publish_timeout })
    }

    /// `ORDERS`, for reading.
    pub fn jetstream(&self) -> &jetstream::Context {
        self.jetstream.reads()
    }

    /// Checks that the queue could take a marker now.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] when it could not.
    pub async fn reachable(&self) -> Result<(), Refusal> {
        let found = self.jetstream.reads().get_stream(ORDERS);
        match tokio::time::timeout(self.publish_timeout, found).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Refusal::StoreAway { store: "nats", cause: error.to_string() }),
            Err(_) => Err(Refusal::StoreAway { store: "nats", cause: "no answer".to_owned() }),
        }
    }

    /// Publishes the marker behind which the stock of `epoch` is computed.
    ///
    /// # Errors
    /// When it may not be stored; publishing it again is harmless.
    pub async fn mark(&self, sale_id: Uuid, epoch: i64) -> Result<(), PublishError> {
        let marker = QueueMessage::Fence { sale_id, epoch };
        self.publish(steps::PUBLISH_MARKER, &marker).await
    }

    /// Publishes that instances serving an epoch before `epoch` have to stop.
    ///
    /// # Errors
    /// When it may not be stored; publishing it again is harmless.
    pub async fn close(&self, sale_id: Uuid, epoch: i64) -> Result<(), PublishError> {
        let closing = QueueMessage::Closing { sale_id, epoch };
        self.publish(steps::PUBLISH_CLOSING, &closing).await
    }

    async fn publish(&self, step: Step, message: &QueueMessage) -> Result<(), PublishError> {
        self.jetstream
            .step(step, |queue| publish_order(queue, message, self.publish_timeout))
            .await?;
        Ok(())
    }

    /// Reads the epochs announced since the look `before`, up to the present end of the queue:
    /// sales and epochs. `None` if the queue does not answer.
    pub async fn look(&self, before: Option<&Look>) -> Option<(Look, Vec<(Uuid, i64)>)> {
        let begun = BootInstant::now();
        let stream = self.jetstream.reads().get_stream(ORDERS).await.ok()?;
        let info = stream.cached_info();
        let look = Look {
            begun,
            stream_created: info.created,
            first_seq: info.state.first_sequence,
            last_seq: info.state.last_sequence,
        };
        let mut announced = Vec::new();
        let Some(before) = before.filter(|before| look.continues(before)) else {
            return Some((look, announced));
        };
        let mut next = before.last_seq + 1;
        while next <= look.last_seq {
            let message =
                stream.get_first_raw_message_by_subject(flashsale_queue::FENCE_SUBJECTS, next);
            let message = match message.await {
                Ok(message) => message,
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => break,
                Err(_) => return None,
            };
            next = message.sequence + 1;
            if let Ok(
                QueueMessage::Fence { sale_id, epoch } | QueueMessage::Closing { sale_id, epoch },
            ) = QueueMessage::decode(&message.payload)
            {
                announced.push((sale_id, epoch));
            }
            if announced.len() >= MAX_ANNOUNCED {
                // As if they had been purged: an instance that relies on looks has to ask Postgres
                // again.
                return Some((Look { first_seq: look.last_seq + 1, ..look }, announced));
            }
        }
        Some((look, announced))
    }

    /// Searches the messages behind the claims for placed orders of a sale, until all of `wanted`
    /// are found, the end is reached, or a bound is hit.
    pub async fn find(
        &self,
        sale_id: Uuid,
        floor: Option<Floor>,
        wanted: &HashSet<Uuid>,
    ) -> FoundOrders {
        let mut found = FoundOrders::default();
        let until = Instant::now() + LOOK_FOR;
        let looking = self.search(sale_id, floor, wanted, &mut found);
        if tokio::time::timeout_at(until, looking).await.is_err() {
            tracing::info!(%sale_id, "the queue was not read to its end in time");
        }
        found
    }

    async fn search(
        &self,
        sale_id: Uuid,
        floor: Option<Floor>,
        wanted: &HashSet<Uuid>,
        found: &mut FoundOrders,
    ) {
        let Ok(stream) = self.jetstream.reads().get_stream(ORDERS).await else { return };
        let created = stream.cached_info().created;
        let claimed = floor.filter(|floor| floor.counts_in(created)).map_or(0, |floor| floor.seq);
        let subject = flashsale_queue::place_subject(sale_id);
        let mut next = claimed + 1;
        for _ in 0..LOOK_MESSAGES {
            match stream.get_first_raw_message_by_subject(&subject, next).await {
                Ok(message) => {
                    next = message.sequence + 1;
                    if let Ok(body) = QueueMessage::decode(&message.payload) {
                        found.orders.extend(body.order_id());
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
