//! `ORDER_EVENTS`, the stream of this service that wakes the watchers of orders.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use flashsale_failpoint::Outside;
use flashsale_queue::{
    KeepPauses, NatsConfig, ORDER_EVENTS, OrderEvent, ensure_events_stream, keep_stream,
    order_event_subject,
};
use futures::TryFutureExt as _;

use crate::steps;

/// The stream. A clone uses the same connection.
#[derive(Debug, Clone)]
pub struct EventsStream {
    jetstream: Outside<jetstream::Context>,
    config: NatsConfig,
}

impl EventsStream {
    /// Over a connection that may not be established yet.
    pub fn new(jetstream: jetstream::Context, config: NatsConfig) -> Self {
        Self { jetstream: Outside::new(jetstream), config }
    }

    /// Has the stream exist until `until`.
    pub(crate) async fn keep(&self, pauses: KeepPauses, until: impl Future<Output = ()>) {
        keep_stream(self.jetstream.reads(), ORDER_EVENTS, pauses, until, || self.create()).await;
    }

    async fn create(&self) -> Result<(), jetstream::context::CreateStreamError> {
        self.jetstream
            .step(steps::STREAM_EVENTS, |jetstream| ensure_events_stream(jetstream, &self.config))
            .await?;
        Ok(())
    }

    /// Publishes an event and waits for JetStream's ack, up to the configured timeout.
    ///
    /// # Errors
    /// A short code: the event cannot be encoded, or there was no ack.
    pub(crate) async fn publish(&self, event: &OrderEvent) -> Result<(), &'static str> {
        let Ok(body) = serde_json::to_vec(event) else { return Err("EVENT_UNWRITABLE") };
        let mut headers = HeaderMap::new();
        flashsale_telemetry::propagate::inject_nats(&mut headers);
        let subject = order_event_subject(event.order_id);
        let acked = self.jetstream.step(steps::PUBLISH_EVENT, |jetstream| {
            jetstream
                .publish_with_headers(subject, headers, body.into())
                .and_then(IntoFuture::into_future)
        });
        let timeout = Duration::from_millis(self.config.publish_timeout_ms);
        match tokio::time::timeout(timeout, acked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err("QUEUE_UNAVAILABLE"),
            Err(_) => Err("QUEUE_TIMEOUT"),
        }
    }
}
