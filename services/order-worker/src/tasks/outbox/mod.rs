//! The carriers: each takes consequences of one kind from the outbox and carries them out until they are confirmed.

mod charge;
mod close_hold;
mod event;
mod held_off;
mod mail;
mod payments;

use std::{future::Future, sync::Arc, time::Duration};

pub use charge::Charge;
pub use close_hold::CloseHold;
pub use event::Event;
pub use held_off::HeldOff;
pub use mail::Mail;
pub use payments::{CancelCharge, Refund};

use flashsale_errors::{Failure, Reason, Retry};
use flashsale_service::Drain;
use flashsale_telemetry::propagate;
use futures::{StreamExt as _, stream};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

use crate::{
    app::Wakeups,
    domain::Kind,
    metrics::Metrics,
    store::outbox::{self, Leased},
};

/// How often a consequence is refused for good until it is given up.
const REFUSALS: u32 = 10;

/// Calls of one batch at once, where a call is about one order.
pub(crate) const CALLS: usize = 8;

/// What became of one consequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Confirmed by whoever it concerns.
    Done,
    /// Not confirmed, for this reason: a short code. Tried again, later and later.
    Again(&'static str),
    /// The other side says that it will never take it; given up after a few more tries.
    Refused(&'static str),
    /// The sale that it is about is closed: tried again after this, however often that has been.
    HeldOff(&'static str, Duration),
}

/// Carries consequences of one kind out. It may be asked for the same one twice: everything it does is idempotent.
pub trait Carrier: Send + Sync + 'static {
    /// The kind.
    const KIND: Kind;

    /// Sales that are closed at the moment: their rows leave the batches to others.
    fn held_off(&self) -> Vec<Uuid> {
        Vec::new()
    }

    /// Tries all of `rows`; answers one outcome per row, in the same order.
    fn carry_out(&self, rows: &[Leased]) -> impl Future<Output = Vec<Outcome>> + Send;
}

/// Makes `calls`, a few at once; answers in their order.
async fn each<F: Future>(calls: Vec<F>, at_once: usize) -> Vec<F::Output> {
    stream::iter(calls).buffered(at_once).collect().await
}

/// The span of carrying one row out: in the trace of the order it is owed to, with a link to the batch it was taken with.
fn span_of(kind: Kind, row: &Leased) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "carry_out",
        otel.name = format!("outbox {}", kind.as_str()),
        about = row.about,
        attempt = row.attempts,
        order_id = %row.order_id,
    );
    propagate::set_parent(&span, propagate::from_text(row.traceparent.as_deref()));
    propagate::link(&span, &Span::current().context());
    span
}

/// How a carrier works through the outbox.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Rows taken at once.
    pub batch: usize,
    /// Batches carried at once.
    pub concurrency: usize,
    /// How long a row belongs to whoever took it: longer than any attempt can last.
    pub lease: Duration,
    /// How often it looks for rows that nobody woke it for.
    pub poll: Duration,
    /// The pause after a first failure; doubled with each further one.
    pub retry: Duration,
    /// The longest pause.
    pub retry_ceiling: Duration,
}

/// Everything a carrier runs on.
#[derive(Debug)]
pub struct Runner<C> {
    /// What it does.
    pub carrier: Arc<C>,
    /// The record.
    pub pool: PgPool,
    /// How fast.
    pub pace: Pace,
    /// What wakes it.
    pub wakeups: Arc<Wakeups>,
    /// What to count.
    pub metrics: Metrics,
}

impl<C: Carrier> Runner<C> {
    /// Carries out what is due until the drain starts, and then what it has begun.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let runner = Arc::new(self);
        let mut batches = JoinSet::new();
        while !drain.is_draining() {
            while batches.len() >= runner.pace.concurrency {
                observe(batches.join_next().await);
            }
            while let Some(ended) = batches.try_join_next() {
                observe(Some(ended));
            }
            let pace = runner.pace;
            let held_off = runner.carrier.held_off();
            let rows = outbox::lease(&runner.pool, C::KIND, pace.batch, pace.lease, &held_off)
                .await
                .unwrap_or_else(|error| {
                    tracing::warn!(kind = C::KIND.as_str(), %error, "the outbox cannot be read");
                    Vec::new()
                });
            let more = rows.len() == pace.batch;
            if !rows.is_empty() {
                let runner = Arc::clone(&runner);
                let span = tracing::info_span!(
                    "carry_out_batch",
                    otel.name = format!("outbox {} batch", C::KIND.as_str()),
                    rows = rows.len(),
                );
                for row in &rows {
                    propagate::link(&span, &propagate::from_text(row.traceparent.as_deref()));
                }
                batches.spawn(async move { runner.carry(&rows).await }.instrument(span));
            }
            if !more {
                tokio::select! {
                    () = runner.wakeups.of(C::KIND).notified() => {}
                    () = tokio::time::sleep(pace.poll) => {}
                    () = drain.started() => break,
                }
            }
        }
        while let Some(ended) = batches.join_next().await {
            observe(Some(ended));
        }
        Ok(())
    }

    async fn carry(&self, rows: &[Leased]) {
        let outcomes = self.carrier.carry_out(rows).await;
        let (mut done, mut again) = (Vec::new(), Vec::new());
        let mut given_up = 0;
        for (row, outcome) in rows.iter().zip(outcomes) {
            match outcome {
                Outcome::Done => done.push((row, None)),
                Outcome::Refused(code) if row.attempts >= REFUSALS => {
                    tracing::error!(
                        kind = C::KIND.as_str(),
                        order_id = %row.order_id,
                        about = row.about,
                        code,
                        "a consequence is given up: the other side refuses it"
                    );
                    given_up += 1;
                    done.push((row, Some(code.to_owned())));
                }
                Outcome::HeldOff(code, pause) => {
                    again.push((row.outbox_id, pause, code.to_owned()));
                }
                Outcome::Again(code) | Outcome::Refused(code) => {
                    tracing::warn!(
                        kind = C::KIND.as_str(),
                        order_id = %row.order_id,
                        about = row.about,
                        attempts = row.attempts,
                        code,
                        "a consequence is not confirmed yet"
                    );
                    again.push((
                        row.outbox_id,
                        self.pace.pause_after(row.attempts),
                        code.to_owned(),
                    ));
                }
            }
        }
        self.metrics.carried(C::KIND, "done", done.len() - given_up);
        self.metrics.carried(C::KIND, "retry", again.len());
        self.metrics.carried(C::KIND, "given_up", given_up);
        let noted = async {
            flashsale_pg::retry_conflicts(|| outbox::done(&self.pool, &done)).await?;
            flashsale_pg::retry_conflicts(|| outbox::retry(&self.pool, &again)).await
        };
        if let Err(error) = noted.await {
            // They come up again when their lease ends, and confirm again.
            tracing::warn!(kind = C::KIND.as_str(), %error, "results are not noted");
        }
    }
}

impl Pace {
    /// The pause after a failed attempt: doubled each time up to the ceiling, half of it by chance, so that what failed together does not
    /// come back together.
    fn pause_after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let full = (self.retry * (1 << doublings)).min(self.retry_ceiling);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}

fn observe(ended: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = ended {
        // The rows come up again when their lease ends.
        tracing::error!(%error, "a carrier broke off");
    }
}

/// The short code of a failed call, and whether the peer would refuse the same call again.
fn code_of(peer: &'static str, status: &tonic::Status) -> (&'static str, bool) {
    let reason = Failure::from_peer(peer, status).reason();
    let refused = match reason.retry() {
        // A fault of the peer's may be gone next time.
        Retry::Never => reason != Reason::Internal,
        Retry::SameAfter(_) => false,
    };
    (reason.as_str(), refused)
}

/// What stands for an answer that does not fit its question.
const ANSWER_INVALID: &str = "ANSWER_INVALID";
/// What stands for a record that does not answer.
const STORE_UNAVAILABLE: &str = Reason::StoreUnavailable.as_str();
