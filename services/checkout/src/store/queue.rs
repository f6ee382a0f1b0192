//! The order queue: the JetStream stream `ORDERS`.

use std::{fmt::Display, time::Duration};

use async_nats::jetstream::{
    self,
    context::GetStreamError,
    stream::{LastRawMessageErrorKind, Stream},
};
use flashsale_errors::Failure;
use flashsale_queue::{
    KeepPauses, NatsConfig, ORDERS, ORDERS_SUBJECTS, PublishError, QueueMessage, StreamSpace,
    ensure_orders_stream, keep_stream, publish_order, publish_within,
};
use time::OffsetDateTime;
use tokio::time::{error::Elapsed, timeout};

/// The queue. Clones share the connection and the measured space.
#[derive(Debug, Clone)]
pub struct Queue {
    jetstream: jetstream::Context,
    space: StreamSpace,
    publish_timeout: Duration,
}

/// Why the state of the queue is unknown.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    #[error(transparent)]
    Late(#[from] Elapsed),
    /// JetStream does not answer, or there is no stream.
    #[error(transparent)]
    JetStream(#[from] GetStreamError),
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        unavailable(error)
    }
}

/// `STORE_UNAVAILABLE`, for a queue that does not answer or has no space.
pub fn unavailable(error: impl Display) -> Failure {
    Failure::store("order queue", error)
}

/// The stream's state at one moment.
#[derive(Debug)]
pub struct QueueState(Stream);

impl Queue {
    /// A publish without an ack within `publish_timeout` counts as failed.
    pub fn new(nats: async_nats::Client, publish_timeout: Duration) -> Self {
        let mut jetstream = jetstream::new(nats);
        jetstream.set_timeout(publish_timeout);
        Self { jetstream, space: StreamSpace::default(), publish_timeout }
    }

    /// The space for placed orders as last measured.
    pub fn space(&self) -> &StreamSpace {
        &self.space
    }

    /// Publishes a placed order, or the report of one that cannot be read, within the space for
    /// orders. `attempt` sets the message apart from an earlier one that JetStream might remember.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(
        &self,
        message: &QueueMessage,
        attempt: Option<&str>,
    ) -> Result<(), PublishError> {
        let (jetstream, space) = (&self.jetstream, &self.space);
        publish_within(jetstream, space, message, attempt, self.publish_timeout).await.map(drop)
    }

    /// Publishes the request to cancel an order; it may use the space that placed orders may not.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish_cancellation(&self, message: &QueueMessage) -> Result<(), PublishError> {
        publish_order(&self.jetstream, message, self.publish_timeout).await.map(drop)
    }

    /// The stream's state.
    ///
    /// # Errors
    /// JetStream does not answer within the publish timeout, or the stream does not exist.
    pub async fn state(&self) -> Result<QueueState, QueueError> {
        self.state_within(self.publish_timeout).await
    }

    /// The stream's state, which also updates [`Self::space`].
    ///
    /// # Errors
    /// JetStream does not answer within `within`, or the stream does not exist.
    pub async fn measure(&self, within: Duration) -> Result<QueueState, QueueError> {
        let measuring = self.space.measure();
        let state = self.state_within(within).await?;
        measuring.done(state.0.cached_info());
        Ok(state)
    }

    /// [`Self::measure`] within the publish timeout.
    ///
    /// # Errors
    /// JetStream does not answer in time, or the stream does not exist.
    pub async fn measure_for_publish(&self) -> Result<QueueState, QueueError> {
        self.measure(self.publish_timeout).await
    }

    async fn state_within(&self, within: Duration) -> Result<QueueState, QueueError> {
        Ok(QueueState(timeout(within, self.jetstream.get_stream(ORDERS)).await??))
    }

    /// Has the stream exist with the configured bounds until `until`.
    pub async fn keep(
        &self,
        config: &NatsConfig,
        pauses: KeepPauses,
        until: impl Future<Output = ()>,
    ) {
        let create = || async { ensure_orders_stream(&self.jetstream, config).await.map(drop) };
        keep_stream(&self.jetstream, ORDERS, pauses, until, create).await;
    }
}

impl QueueState {
    /// When the stream was created.
    pub fn created(&self) -> OffsetDateTime {
        self.0.cached_info().created
    }

    /// The sequence of the first message still stored.
    pub fn first_sequence(&self) -> u64 {
        self.0.cached_info().state.first_sequence
    }

    pub fn last_sequence(&self) -> u64 {
        self.0.cached_info().state.last_sequence
    }

    /// The age of the first message after `claimed`, in seconds; 0 if there is none, `None` if
    /// JetStream does not answer within `within`.
    pub async fn age_of_next(&self, claimed: u64, within: Duration) -> Option<f64> {
        let next = self.0.get_first_raw_message_by_subject(ORDERS_SUBJECTS, claimed + 1);
        match timeout(within, next).await {
            Ok(Ok(message)) => {
                Some((flashsale_failpoint::now_utc() - message.time).as_seconds_f64().max(0.0))
            }
            Ok(Err(error)) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Some(0.0),
            Ok(Err(_)) | Err(_) => None,
        }
    }
}
