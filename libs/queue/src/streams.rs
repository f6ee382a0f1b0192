//! The two streams, created and kept as configured by the services that own them.

use std::{fmt::Display, future::Future, pin::pin, time::Duration};

use async_nats::jetstream::{
    self,
    context::CreateStreamError,
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
};

use crate::{EVENTS_SUBJECTS, NatsConfig, ORDER_EVENTS, ORDERS, ORDERS_SUBJECTS};

/// How long JetStream recognises a message id. It only saves work: the order id is the key.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The largest message, body and headers.
pub(crate) const MAX_MESSAGE_BYTES: i32 = 64 * 1024;

/// Creates `ORDERS`, or updates it to the configured bounds. Limits retention: it remembers
/// duplicates over a restart, which a work queue does not. One bound, in bytes, and no age limit:
/// what is claimed is purged, what is not stays.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn ensure_orders_stream(
    jetstream: &jetstream::Context,
    config: &NatsConfig,
) -> Result<Stream, CreateStreamError> {
    ensure(
        jetstream,
        Config {
            name: ORDERS.to_owned(),
            subjects: vec![ORDERS_SUBJECTS.to_owned()],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::New,
            max_bytes: config.orders_max_bytes,
            max_message_size: MAX_MESSAGE_BYTES,
            storage: StorageType::File,
            num_replicas: config.replicas,
            duplicate_window: DUPLICATE_WINDOW,
            ..Config::default()
        },
    )
    .await
}

/// Creates `ORDER_EVENTS`, or updates it to the configured bounds.
///
/// # Errors
/// When JetStream does not answer or refuses.
pub async fn ensure_events_stream(
    jetstream: &jetstream::Context,
    config: &NatsConfig,
) -> Result<Stream, CreateStreamError> {
    ensure(
        jetstream,
        Config {
            name: ORDER_EVENTS.to_owned(),
            subjects: vec![EVENTS_SUBJECTS.to_owned()],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            max_bytes: config.events_max_bytes,
            max_age: Duration::from_secs(3_600),
            max_message_size: MAX_MESSAGE_BYTES,
            storage: StorageType::File,
            num_replicas: config.replicas,
            duplicate_window: DUPLICATE_WINDOW,
            ..Config::default()
        },
    )
    .await
}

/// How long the owner of a stream pauses.
#[derive(Debug, Clone, Copy)]
pub struct KeepPauses {
    /// After a failed attempt to create it.
    pub retry: Duration,
    /// Between two checks that it exists.
    pub check: Duration,
}

/// Has the stream `name` exist until `until`: `create` is called as soon as JetStream answers, and
/// again if the stream vanishes. A step that is under way is completed.
pub async fn keep_stream<Created, E: Display>(
    jetstream: &jetstream::Context,
    name: &str,
    pauses: KeepPauses,
    until: impl Future<Output = ()>,
    create: impl Fn() -> Created,
) where
    Created: Future<Output = Result<(), E>>,
{
    let mut until = pin!(until);
    let (mut exists, mut pause) = (false, Duration::ZERO);
    loop {
        tokio::select! {
            biased;
            () = &mut until => return,
            () = tokio::time::sleep(pause) => {}
        }
        // While JetStream does not answer, the stream counts as gone.
        exists = exists && jetstream.get_stream(name).await.is_ok();
        if !exists {
            match create().await {
                Ok(()) => exists = true,
                Err(error) => tracing::warn!(%error, "{name} cannot be created yet"),
            }
        }
        pause = if exists { pauses.check } else { pauses.retry };
    }
}

async fn ensure(
    jetstream: &jetstream::Context,
    config: Config,
) -> Result<Stream, CreateStreamError> {
    jetstream.create_or_update_stream(config.clone()).await?;
    jetstream.get_or_create_stream(config).await
}
