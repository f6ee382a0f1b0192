//! The order queue: streams, subjects and bodies, as written in `docs/stores.md`, and the one way
//! to publish to it.

mod connection;
mod message;
mod space;
mod streams;

use std::time::Duration;

use async_nats::jetstream::{self, context::PublishErrorKind, message::PublishMessage};
pub use connection::{NatsError, connect};
pub use flashsale_record::{FIRST_PRICE_REVISION, Line, OrderDetails};
pub use message::{
    CancelTarget, OrderEvent, OrderMessage, PaymentEvent, QueueMessage, RecordedOrder,
    unreadable_order,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
pub use space::{Filled, Measuring, StreamSpace, bytes_for_orders};
pub use streams::{KeepPauses, ensure_events_stream, ensure_orders_stream, keep_stream};
use tracing::Instrument as _;
use uuid::Uuid;

/// The stream of placed and cancelled orders.
pub const ORDERS: &str = "ORDERS";
/// The stream that wakes those who wait for an order.
pub const ORDER_EVENTS: &str = "ORDER_EVENTS";
/// What `ORDERS` listens to.
pub const ORDERS_SUBJECTS: &str = "orders.>";
/// Where rebuilds announce themselves, of all sales.
pub const FENCE_SUBJECTS: &str = "orders.fence.>";
/// What `ORDER_EVENTS` listens to.
pub const EVENTS_SUBJECTS: &str = "events.>";
/// Changes of orders.
pub const ORDER_EVENT_SUBJECTS: &str = "events.order.*";
/// Changes of payments.
pub const PAYMENT_EVENT_SUBJECTS: &str = "events.payment.*";

/// The defaults of `[nats]`.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The `[nats]` section of a service's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// `nats://user:password@host:port` or `tls://…`, several with commas between.
    pub url: SecretString,
    /// The authorities that may sign the servers' certificates, PEM. Empty: the public ones.
    pub ca_file: String,
    /// The certificate that this service shows, PEM. Empty: none.
    pub cert_file: String,
    /// Its private key, PEM. Empty: none.
    pub key_file: String,
    /// The user's JWT and its seed (`.creds`). Empty: none.
    pub credentials_file: String,
    /// Whether servers may be on other machines without TLS.
    pub allow_plaintext: bool,
    /// How long a publish may take until its outcome counts as unknown.
    pub publish_timeout_ms: u64,
    /// The bound of `ORDERS`; when full, publishing is refused.
    pub orders_max_bytes: i64,
    /// The bound of `ORDER_EVENTS`; when full, the oldest go.
    pub events_max_bytes: i64,
    /// Copies of each stream: 3 in production, 1 on a single server.
    pub replicas: usize,
}

impl NatsConfig {
    /// The defaults, at `url`.
    #[allow(clippy::expect_used)] // They are compiled in, and the services' tests load them.
    pub fn at(url: impl Into<String>) -> Self {
        #[derive(Deserialize)]
        struct Defaults {
            nats: NatsConfig,
        }
        let defaults: Defaults = toml::from_str(DEFAULTS).expect("they have every key");
        Self { url: SecretString::from(url.into()), ..defaults.nats }
    }

    /// What is wrong with the section, each as (key, problem).
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = self.connection_problems();
        if self.publish_timeout_ms == 0 {
            problems.push(("nats.publish_timeout_ms".to_owned(), "must be above 0".to_owned()));
        }
        for (key, bytes) in [
            ("nats.orders_max_bytes", self.orders_max_bytes),
            ("nats.events_max_bytes", self.events_max_bytes),
        ] {
            if bytes < 1_048_576 {
                problems.push((key.to_owned(), "must be at least 1048576 (1 MiB)".to_owned()));
            }
        }
        if !(1..=5).contains(&self.replicas) {
            problems.push(("nats.replicas".to_owned(), "must be 1 to 5".to_owned()));
        }
        problems
    }
}

/// Where a placed order is published.
pub fn place_subject(sale: Uuid) -> String {
    format!("orders.place.{sale}")
}

/// Where the wish to cancel an order is published.
pub fn cancel_subject(sale: Uuid) -> String {
    format!("orders.cancel.{sale}")
}

/// Where a rebuild of a sale's stock marks how far the orders are counted in it.
pub fn fence_subject(sale: Uuid) -> String {
    format!("orders.fence.{sale}")
}

/// Where a placed hold that cannot be read is reported.
pub fn unreadable_subject(sale: Uuid) -> String {
    format!("orders.unreadable.{sale}")
}

/// Where a change of an order is announced.
pub fn order_event_subject(order: Uuid) -> String {
    format!("events.order.{order}")
}

/// Where a change of a payment is announced.
pub fn payment_event_subject(order: Uuid) -> String {
    format!("events.payment.{order}")
}

/// Why a publish has no ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No ack came: the message may or may not be stored. Publish it again under the same id; never
    /// undo on it.
    #[error("no ack came; the message may be stored")]
    Unknown,
    /// The stream has reached its bound, or orders what they may fill of it; the message is not
    /// stored.
    #[error("the stream is full")]
    Full,
    /// The message was not stored: no stream listens on the subject, or the connection is gone.
    #[error("the queue cannot be reached")]
    Unavailable,
}

/// The server's code for a stream at its bound under DiscardNew; the client reports it without a
/// kind of its own.
const STREAM_FULL: &str = "maximum bytes exceeded";

/// What a message takes in the stream beside its subject and body: its headers and the store's
/// frame.
const FRAME_BYTES: usize = 256;

/// Publishes a message and waits for the ack. Publishing again under the same id is harmless: the
/// order id is a primary key at the far end, the message id only saves work. Returns the message's
/// sequence in the stream.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish_order(
    jetstream: &jetstream::Context,
    message: &QueueMessage,
    timeout: Duration,
) -> Result<u64, PublishError> {
    publish(jetstream, None, message, message.message_id(), timeout).await
}

/// Publishes what has to leave space for markers and cancellations, a placed order for instance.
/// With `attempt` the message is set apart from an earlier one that JetStream might remember.
///
/// # Errors
/// See [`PublishError`]; [`PublishError::Full`] also where `space` has too little.
pub async fn publish_within(
    jetstream: &jetstream::Context,
    space: &StreamSpace,
    message: &QueueMessage,
    attempt: Option<&str>,
    timeout: Duration,
) -> Result<u64, PublishError> {
    let message_id =
        attempt.map_or_else(|| message.message_id(), |attempt| again(message, attempt));
    publish(jetstream, Some(space), message, message_id, timeout).await
}

/// Publishes the message of a dead letter again. `attempt` sets it apart from the first one,
/// which JetStream might remember.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish_again(
    jetstream: &jetstream::Context,
    message: &QueueMessage,
    attempt: &str,
    timeout: Duration,
) -> Result<u64, PublishError> {
    publish(jetstream, None, message, again(message, attempt), timeout).await
}

fn again(message: &QueueMessage, attempt: &str) -> String {
    format!("{}/again/{attempt}", message.message_id())
}

async fn publish(
    jetstream: &jetstream::Context,
    space: Option<&StreamSpace>,
    message: &QueueMessage,
    message_id: String,
    timeout: Duration,
) -> Result<u64, PublishError> {
    let span = tracing::info_span!(
        "publish",
        otel.name = "publish ORDERS",
        otel.kind = "producer",
        otel.status_code = tracing::field::Empty,
        messaging.system = "nats",
        messaging.operation.name = "publish",
        messaging.destination.name = ORDERS,
        order_id = tracing::field::Empty,
    );
    if let Some(order_id) = message.order_id() {
        span.record("order_id", tracing::field::display(order_id));
    }
    let (subject, body) = (message.subject(), message.encode());
    // Held until the publish has ended: what is under way may be in the stream or not.
    let taken = space.map(|space| {
        let bytes = subject.len() + body.len() + FRAME_BYTES;
        space.take(u64::try_from(bytes).unwrap_or(u64::MAX)).ok_or(PublishError::Full)
    });
    let _taken = match taken.transpose() {
        Ok(taken) => taken,
        Err(full) => {
            span.record("otel.status_code", "ERROR");
            return Err(full);
        }
    };
    let mut headers = async_nats::HeaderMap::new();
    span.in_scope(|| flashsale_telemetry::propagate::inject_nats(&mut headers));
    let publish =
        PublishMessage::build().payload(body.into()).headers(headers).message_id(message_id);
    let acked = async {
        let ack = jetstream.send_publish(subject, publish).await?;
        ack.await
    };
    let acked = tokio::time::timeout(timeout, acked).instrument(span.clone()).await;
    if !matches!(acked, Ok(Ok(_))) {
        span.record("otel.status_code", "ERROR");
    }
    // Unknown unless it is certain that nothing was stored.
    match acked {
        Err(_) => Err(PublishError::Unknown),
        Ok(Ok(ack)) => Ok(ack.sequence),
        Ok(Err(error)) => Err(match error.kind() {
            PublishErrorKind::StreamNotFound | PublishErrorKind::MaxPayloadExceeded => {
                PublishError::Unavailable
            }
            PublishErrorKind::Other if error.to_string().contains(STREAM_FULL) => {
                PublishError::Full
            }
            PublishErrorKind::TimedOut
            | PublishErrorKind::BrokenPipe
            | PublishErrorKind::WrongLastMessageId
            | PublishErrorKind::WrongLastSequence
            | PublishErrorKind::MaxAckPending
            | PublishErrorKind::Other => PublishError::Unknown,
        }),
    }
}

/// Announces a change. No receiver depends on it: one that misses it finds the change a little
/// later by polling.
pub async fn announce(client: &async_nats::Client, subject: String, event: &impl Serialize) {
    let mut headers = async_nats::HeaderMap::new();
    flashsale_telemetry::propagate::inject_nats(&mut headers);
    match serde_json::to_vec(event) {
        Ok(body) => {
            if client.publish_with_headers(subject, headers, body.into()).await.is_err() {
                tracing::debug!("a change was not announced");
            }
        }
        Err(error) => tracing::error!(%error, "an event cannot be written as JSON"),
    }
}
