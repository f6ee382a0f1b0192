//! The claimer: reads `ORDERS` from the position in the record and writes batches of it into the record.
//!
//! It waits for Postgres and for nothing else: all sales share it, and a rebuild of any of them
//! waits for it. An order of an older epoch that stands behind the marker of a rebuild is parked
//! (see `parked`), and the claims go on.

mod marks;

use std::{sync::Arc, time::Duration};

use async_nats::jetstream;
use flashsale_queue::ORDERS;
use flashsale_service::Drain;
use flashsale_telemetry::propagate;
use sqlx::PgPool;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    app::Wakeups,
    domain::Intake,
    metrics::Metrics,
    store::{
        claims::{Claimed, Received, claim},
        orders_stream::{Message, Reader},
        position::{self, Position},
    },
};
use marks::Marks;

/// Between two attempts to open the stream; doubled up to the second value.
const REOPEN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How the claimer reads.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The most messages of one transaction.
    pub batch: usize,
    /// How long it waits for a batch to fill once its first message is there.
    pub gather: Duration,
    /// How long the stream may be silent before the claimer looks whether it is still the same.
    pub idle: Duration,
    /// Claimed messages are purged when there are this many of them…
    pub purge_messages: u64,
    /// …or when this much time has passed.
    pub purge_interval: Duration,
    /// No message is purged before it has been claimed for this long.
    pub purge_after: Duration,
    /// How long somebody has to decide about a message that cannot be recorded.
    pub review: Duration,
}

/// Reads orders and records them. Several may run: one at a time gets into the transaction, the others skip what it recorded.
#[derive(Debug)]
pub struct Claimer {
    /// The record.
    pub pool: PgPool,
    /// The queue.
    pub jetstream: jetstream::Context,
    /// How fast.
    pub pace: Pace,
    /// Whom to wake.
    pub wakeups: Arc<Wakeups>,
    /// What to count.
    pub metrics: Metrics,
}

/// Why one reading of the stream ended without a failure.
enum End {
    /// The process drains.
    Drained,
    /// The stream has to be opened again: made anew, gone back, or messages were missed on the way.
    Reopen,
}

/// What an attempt to record messages came to.
enum Progress {
    /// They are in the record.
    Made,
    /// Somebody else moved the position.
    Overtaken,
}

impl Claimer {
    /// Claims until the drain starts. What fails is tried again, from the position in the record: nothing is lost by failing.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let mut pause = REOPEN.0;
        while !drain.is_draining() {
            let began = Instant::now();
            match self.read(&drain).await {
                Ok(End::Drained) => break,
                Ok(End::Reopen) => {}
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "claiming is interrupted")
                }
            }
            if began.elapsed() > REOPEN.1 {
                pause = REOPEN.0;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = drain.started() => break,
            }
            pause = (pause * 2).min(REOPEN.1);
        }
        Ok(())
    }

    async fn read(&self, drain: &Drain) -> anyhow::Result<End> {
        let (mut reader, mut position) =
            Reader::open(&self.jetstream, &self.pool, self.pace.batch).await?;
        tracing::info!(stream = ORDERS, seq = position.seq, "claiming");
        let end = self.claim_from(&mut reader, &mut position, drain).await;
        reader.close().await;
        end
    }

    async fn claim_from(
        &self,
        reader: &mut Reader,
        position: &mut Position,
        drain: &Drain,
    ) -> anyhow::Result<End> {
        let mut purged = (position.seq, Instant::now());
        let mut claimed = Marks::new(self.pace.purge_after);
        let mut unread_at_rest = None;
        loop {
            let gathered = tokio::select! {
                gathered = reader.gather(self.pace.batch, self.pace.gather, self.pace.idle) => gathered?,
                () = drain.started() => return Ok(End::Drained),
            };
            let Some(mut messages) = gathered else { return Ok(End::Reopen) };
            if messages.is_empty() {
                let state = reader.state().await?;
                if !state.continues(*position) {
                    return Ok(End::Reopen);
                }
                let unread = state.last_seq - position.seq;
                self.metrics.claim_lag(unread);
                // Messages that did not come although the stream has them, twice in a row: they were lost on the way here.
                if unread > 0 && unread_at_rest == Some(state.last_seq) {
                    return Ok(End::Reopen);
                }
                unread_at_rest = Some(state.last_seq);
            } else {
                let pending = messages.last().map_or(0, |message| message.pending);
                loop {
                    // What is recorded by now, by this claimer or another one.
                    messages.retain(|message| message.received.seq > position.seq);
                    if messages.is_empty() {
                        break;
                    }
                    match self.record(&messages, position).await? {
                        Progress::Made => continue,
                        Progress::Overtaken => {}
                    }
                    match position::read(&self.pool, ORDERS).await? {
                        Some(now) if now.created == position.created && now.seq >= position.seq => {
                            *position = now;
                        }
                        Some(_) | None => return Ok(End::Reopen),
                    }
                }
                self.metrics.claim_lag(pending);
            }
            claimed.note(position.seq, Instant::now());
            let upto = claimed.old(Instant::now());
            let due = upto.saturating_sub(purged.0) >= self.pace.purge_messages
                || purged.1.elapsed() >= self.pace.purge_interval;
            if due && upto > purged.0 {
                reader.purge(Position { seq: upto, ..*position }).await?;
                purged = (upto, Instant::now());
            }
        }
    }

    /// Records a batch.
    async fn record(
        &self,
        messages: &[Message],
        position: &mut Position,
    ) -> anyhow::Result<Progress> {
        let span = tracing::info_span!(
            "claim_batch",
            otel.name = "claim ORDERS",
            otel.kind = "consumer",
            messaging.system = "nats",
            messaging.destination.name = ORDERS,
            messaging.batch.message_count = messages.len(),
            from_seq = position.seq,
        );
        for message in messages {
            propagate::link(&span, &message.trace);
        }
        // Each lasts as long as the batch: none of its orders is claimed before all are.
        let own: Vec<Span> = messages.iter().map(|message| claim_span(message, &span)).collect();
        let batch: Vec<Received> = messages
            .iter()
            .zip(&own)
            .map(|(message, own)| Received {
                traceparent: propagate::to_text(own),
                ..message.received.clone()
            })
            .collect();
        let claimed =
            claim(&self.pool, ORDERS, *position, &batch, self.pace.review).instrument(span).await?;
        drop(own);
        let summary = match claimed {
            Claimed::Done(summary) => summary,
            Claimed::Overtaken => return Ok(Progress::Overtaken),
        };
        let now = flashsale_failpoint::now_utc();
        for message in &batch {
            if let Ok(Intake::Place(order)) = &message.content {
                self.metrics.claimed_after(now - order.placed_at);
            }
        }
        position.seq = batch.last().map_or(position.seq, |message| message.seq);
        self.wakeups.carriers(&summary.kinds);
        if summary.parked > 0 {
            self.wakeups.parked().notify_one();
        }
        for state in &summary.states {
            self.metrics.reached(*state);
        }
        self.metrics.dead_letters(summary.dead);
        tracing::debug!(
            messages = batch.len(),
            orders = summary.states.len(),
            dead = summary.dead,
            parked = summary.parked,
            seq = position.seq,
            "batch claimed"
        );
        Ok(Progress::Made)
    }
}

/// The claim of one order: in the order's own trace, with a link to the batch it is part of.
fn claim_span(message: &Message, batch: &Span) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "claim",
        otel.name = "claim order",
        otel.kind = "consumer",
        messaging.system = "nats",
        messaging.destination.name = ORDERS,
        seq = message.received.seq,
        order_id = tracing::field::Empty,
    );
    if let Ok(Some(order)) = message.received.content.as_ref().map(Intake::order) {
        span.record("order_id", tracing::field::display(order.order_id));
    }
    propagate::set_parent(&span, message.trace.clone());
    propagate::link(&span, &batch.context());
    span
}
