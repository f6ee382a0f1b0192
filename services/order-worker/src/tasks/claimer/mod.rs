//! The claimer: reads `ORDERS` from the recorded position and writes it into the record in batches.
//!
//! It waits for Postgres only: all sales share it, and a rebuild of any of them waits for it. An
//! order of an older epoch behind the marker of a rebuild is parked (see `tasks::parked`), and the
//! claims go on.

mod marks;

use std::{sync::Arc, time::Duration};

use async_nats::jetstream;
use flashsale_pg::SteppedPool;
use flashsale_queue::ORDERS;
use flashsale_service::Drain;
use flashsale_telemetry::propagate;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    app::Wakeups,
    domain::Message,
    metrics::Metrics,
    store::{
        claims::{Claimed, claim},
        orders_stream::{Delivery, Reader},
        position::{self, Position},
        received::Received,
    },
};
use marks::Marks;

/// Between two attempts to open the stream; doubled up to the second value.
const REOPEN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How the claimer reads.
#[derive(Debug, Clone, Copy)]
pub struct ClaimPace {
    /// The most messages of one transaction.
    pub batch: usize,
    /// How long a batch waits to fill once its first message is there.
    pub fill: Duration,
    /// How long the stream may be silent before the claimer checks that it is still the same one.
    pub idle: Duration,
    /// Claimed messages are purged when there are this many of them…
    pub purge_messages: u64,
    /// …or when this much time has passed.
    pub purge_interval: Duration,
    /// No message is purged before it has been claimed for this long.
    pub purge_after: Duration,
    /// How long a dead letter waits for an operator's decision.
    pub review: Duration,
}

/// Reads orders and records them. Several instances may run: their transactions exclude each other,
/// and each skips what the others have recorded.
#[derive(Debug)]
pub struct Claimer {
    pub pool: SteppedPool,
    pub jetstream: jetstream::Context,
    pub pace: ClaimPace,
    pub wakeups: Arc<Wakeups>,
    pub metrics: Metrics,
}

/// Why one reading of the stream ended without a failure.
enum End {
    /// The process drains.
    Drained,
    /// The stream has to be opened again: it was created again, it lost its newest messages, or
    /// messages were lost on the way.
    Reopen,
}

/// The outcome of an attempt to record messages.
enum Progress {
    /// They are recorded.
    Made,
    /// Another instance moved the position.
    Overtaken,
}

impl Claimer {
    /// Claims until the drain starts. After a failure it starts again from the recorded position,
    /// so that no message is lost.
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

    /// Claims from `position` on until the stream has to be opened again. Purges what was claimed
    /// long enough ago.
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
            let batch = tokio::select! {
                batch = reader.next_batch(self.pace.batch, self.pace.fill, self.pace.idle) => batch?,
                () = drain.started() => return Ok(End::Drained),
            };
            let Some(mut messages) = batch else { return Ok(End::Reopen) };
            if messages.is_empty() {
                let state = reader.state().await?;
                // The stream was created again, or has lost its newest messages.
                if !state.continues(*position) {
                    return Ok(End::Reopen);
                }
                let unread = state.last_seq - position.seq;
                self.metrics.claim_lag(unread);
                // Twice in a row the stream has messages that were not delivered: they were lost on
                // the way.
                if unread > 0 && unread_at_rest == Some(state.last_seq) {
                    return Ok(End::Reopen);
                }
                unread_at_rest = Some(state.last_seq);
            } else {
                let pending = messages.last().map_or(0, |message| message.pending);
                loop {
                    // Drop what this claimer or another one has recorded by now.
                    messages.retain(|message| message.received.seq > position.seq);
                    if messages.is_empty() {
                        break;
                    }
                    match self.record(&messages, position).await? {
                        Progress::Made => continue,
                        Progress::Overtaken => {}
                    }
                    // Another claimer was faster: go on behind what it has claimed.
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
            // Purges none of the newest messages: inventory looks for markers among them.
            let upto = claimed.old(Instant::now());
            let due = upto.saturating_sub(purged.0) >= self.pace.purge_messages
                || purged.1.elapsed() >= self.pace.purge_interval;
            if due && upto > purged.0 {
                reader.purge(Position { seq: upto, ..*position }).await?;
                purged = (upto, Instant::now());
            }
        }
    }

    async fn record(
        &self,
        messages: &[Delivery],
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
        // Each span lasts as long as the batch: no order of it is claimed before all of them are.
        let spans: Vec<Span> = messages.iter().map(|message| claim_span(message, &span)).collect();
        let batch: Vec<Received> = messages
            .iter()
            .zip(&spans)
            .map(|(message, span)| Received {
                traceparent: propagate::to_text(span),
                ..message.received.clone()
            })
            .collect();
        let claimed =
            claim(&self.pool, ORDERS, *position, &batch, self.pace.review).instrument(span).await?;
        drop(spans);
        let summary = match claimed {
            Claimed::Done(summary) => summary,
            Claimed::Overtaken => return Ok(Progress::Overtaken),
        };
        // After the commit: a handler that is woken earlier finds no rows and sleeps again.
        let now = flashsale_failpoint::now_utc();
        for message in &batch {
            if let Ok(Message::Place(order)) = &message.content {
                self.metrics.claimed_after(now - order.placed_at);
            }
        }
        position.seq = batch.last().map_or(position.seq, |message| message.seq);
        self.wakeups.handlers(&summary.kinds);
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
fn claim_span(message: &Delivery, batch: &Span) -> Span {
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
    if let Ok(Some(order_id)) = message.received.content.as_ref().map(Message::order_id) {
        span.record("order_id", tracing::field::display(order_id));
    }
    propagate::set_parent(&span, message.trace.clone());
    propagate::link(&span, &batch.context());
    span
}
