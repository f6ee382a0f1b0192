//! Reads `ORDERS` from the recorded position on, without acknowledgements: the position commits
//! with the claims.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use flashsale_failpoint::Outside;
use flashsale_pg::SteppedPool;
use flashsale_queue::ORDERS;
use futures::StreamExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    position::{self, Position},
    received::{Received, receive},
};
use crate::steps;

/// The server removes a consumer that has not been read for this long.
const INACTIVE: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// The least number of messages to request at once, so that small batches do not each wait for a
/// round trip.
const MIN_READ_AHEAD: usize = 64;
const EXPIRES: Duration = Duration::from_secs(5);

/// One message as the stream delivered it.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) received: Received,
    /// How many messages are behind it in the stream.
    pub(crate) pending: u64,
    /// The trace of its publisher.
    pub(crate) trace: opentelemetry::Context,
}

/// The stream's own figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    pub(crate) created: time::OffsetDateTime,
    pub(crate) last_seq: u64,
}

impl State {
    /// Whether `position` belongs to this stream and is not ahead of it.
    pub(crate) fn continues(self, position: Position) -> bool {
        self.created == position.created && self.last_seq >= position.seq
    }
}

/// An open consumer on `ORDERS`.
pub(crate) struct Reader {
    stream: Outside<jetstream::stream::Stream>,
    consumer: String,
    messages: pull::Stream,
    /// The consumer's count of its deliveries; a gap means that a message was lost on the way.
    delivered: u64,
}

impl Reader {
    /// Opens the stream at the recorded position.
    pub(crate) async fn open(
        jetstream: &jetstream::Context,
        pool: &SteppedPool,
        batch: usize,
    ) -> anyhow::Result<(Self, Position)> {
        let stream = jetstream.get_stream(ORDERS).await.context("ORDERS cannot be opened")?;
        let stream = Outside::new(stream);
        let state = state_of(stream.reads().cached_info());
        let position = position::open(pool, ORDERS, state.created, state.last_seq)
            .await
            .context("the position cannot be read")?;
        let config = pull::Config {
            description: Some("order-worker claims".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: position.seq + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = stream
            .step(steps::CONSUMER_CREATE, |stream| stream.create_consumer(config))
            .await
            .context("no consumer on ORDERS")?;
        let messages = consumer
            .stream()
            .max_messages_per_batch((batch * 2).max(MIN_READ_AHEAD))
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await
            .context("ORDERS cannot be read")?;
        let consumer = consumer.cached_info().name.clone();
        Ok((Self { stream, consumer, messages, delivered: 0 }, position))
    }

    /// Takes up to `limit` messages: waits up to `idle` for the first and then up to `fill` for the
    /// others. Empty if none came; `None` if some were lost on the way, so that the stream has to
    /// be opened again.
    pub(crate) async fn next_batch(
        &mut self,
        limit: usize,
        fill: Duration,
        idle: Duration,
    ) -> anyhow::Result<Option<Vec<Delivery>>> {
        let mut batch = Vec::new();
        let Ok(first) = timeout(idle, self.messages.next()).await else { return Ok(Some(batch)) };
        let mut next = first;
        let until = Instant::now() + fill;
        loop {
            let message = next.context("the reading of ORDERS has ended")?.context("ORDERS")?;
            let Some(message) = self.take(&message)? else { return Ok(None) };
            batch.push(message);
            if batch.len() >= limit {
                return Ok(Some(batch));
            }
            match timeout_at(until, self.messages.next()).await {
                Ok(more) => next = more,
                Err(_) => return Ok(Some(batch)),
            }
        }
    }

    fn take(&mut self, message: &jetstream::Message) -> anyhow::Result<Option<Delivery>> {
        let info =
            message.info().map_err(|error| anyhow::anyhow!("no position in a message: {error}"))?;
        if info.consumer_sequence != self.delivered + 1 {
            return Ok(None);
        }
        self.delivered = info.consumer_sequence;
        let trace = message
            .headers
            .as_ref()
            .map(flashsale_telemetry::propagate::extract_nats)
            .unwrap_or_default();
        Ok(Some(Delivery {
            received: receive(info.stream_sequence, message.payload.to_vec()),
            pending: info.pending,
            trace,
        }))
    }

    /// Asks the server for the stream's figures.
    pub(crate) async fn state(&self) -> anyhow::Result<State> {
        let info = self.stream.reads().get_info().await.context("ORDERS does not answer")?;
        Ok(state_of(&info))
    }

    /// Purges the messages up to `position`, which are claimed. Checks first that the stream is
    /// still the one that `position` belongs to: a new stream of the same name must not lose
    /// messages that are not claimed. (If it is replaced in between, the placed holds are published
    /// again.)
    pub(crate) async fn purge(&self, position: Position) -> anyhow::Result<()> {
        if self.state().await?.continues(position) {
            self.stream
                .step(steps::PURGE_ORDERS, |stream| {
                    stream.purge().sequence(position.seq + 1).into_future()
                })
                .await
                .context("ORDERS cannot be purged")?;
        }
        Ok(())
    }

    /// Deletes the consumer; if that fails, the server removes it after `INACTIVE`.
    pub(crate) async fn close(self) {
        let deleted = self
            .stream
            .step(steps::CONSUMER_DELETE, |stream| stream.delete_consumer(&self.consumer));
        let _ = timeout(HEARTBEAT, deleted).await;
    }
}

fn state_of(info: &jetstream::stream::Info) -> State {
    State { created: Position::start_of(info.created).created, last_seq: info.state.last_sequence }
}
