//! What an outbox handler is, and what handlers share.

use std::{future::Future, time::Duration};

use flashsale_pg::Fault;
use flashsale_telemetry::propagate;
use futures::{StreamExt as _, stream};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

use crate::{domain::Kind, store::outbox::Leased};

/// Calls of one batch at once, where a call is about one order.
pub(crate) const CALLS: usize = 8;

/// The code for an answer that does not match its request.
pub(super) const ANSWER_INVALID: &str = "ANSWER_INVALID";
/// The code for a row whose order does not exist.
pub(super) const ORDER_MISSING: &str = "ORDER_MISSING";

/// The outcome of one attempt at a consequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The other side has confirmed it.
    Done,
    /// It is not confirmed, for the reason in this short code. Tried again, with growing pauses.
    Retry(&'static str),
    /// The other side will never accept it; given up after a few more attempts.
    Refused(&'static str),
    /// Its sale is closed: tried again after this pause, any number of times.
    HeldOff(&'static str, Duration),
}

/// Carries out consequences of one kind. Every handler is idempotent: it may be given the same
/// consequence twice.
pub trait Handler: Send + Sync + 'static {
    const KIND: Kind;

    /// Sales that are closed at the moment: their rows are left out of the batches.
    fn held_off(&self) -> Vec<Uuid> {
        Vec::new()
    }

    /// Attempts all of `rows`; returns one outcome per row, in the same order.
    fn handle(&self, rows: &[Leased]) -> impl Future<Output = Vec<Outcome>> + Send;
}

/// The outcome where Postgres fails: a broken constraint is `INTERNAL` and a lost connection
/// `STORE_UNAVAILABLE`, as in the answers of every service. Logs the error.
pub(super) fn record_failed(error: &sqlx::Error) -> Outcome {
    let code = Fault::of(error).reason().as_str();
    tracing::warn!(%error, code, "the record of a consequence cannot be read or written");
    Outcome::Retry(code)
}

/// The orders of `rows`, in the same order.
pub(super) fn orders_of(rows: &[Leased]) -> Vec<Uuid> {
    rows.iter().map(|row| row.order_id).collect()
}

/// Awaits `calls`, up to `at_once` at a time; returns their results in the same order.
pub(super) async fn each<F: Future>(calls: Vec<F>, at_once: usize) -> Vec<F::Output> {
    stream::iter(calls).buffered(at_once).collect().await
}

/// The span of one row: in the trace of its order, linked to the batch that it was leased with.
pub(super) fn span_of(kind: Kind, row: &Leased) -> Span {
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
