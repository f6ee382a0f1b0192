//! Leases rows of the outbox and has a handler carry them out.

use std::{sync::Arc, time::Duration};

use flashsale_pg::SteppedPool;
use flashsale_service::Drain;
use flashsale_telemetry::propagate;
use tokio::task::{JoinError, JoinSet};
use tracing::Instrument as _;

use super::handler::{Handler, Outcome};
use crate::{
    app::Wakeups,
    domain::Backoff,
    metrics::Metrics,
    store::outbox::{self, Leased},
};

/// A consequence that is refused this often is given up.
const REFUSALS: u32 = 10;

/// How the rows of one kind are worked off.
#[derive(Debug, Clone, Copy)]
pub struct DispatchPace {
    /// The most rows of one batch.
    pub batch: usize,
    /// Batches under way at once.
    pub concurrency: usize,
    /// How long a row is leased: longer than any attempt can last.
    pub lease: Duration,
    /// How often the outbox is polled, for wake-ups that were lost.
    pub poll: Duration,
    /// The pauses between attempts.
    pub backoff: Backoff,
}

/// Works off the rows of one kind. Several instances may run.
#[derive(Debug)]
pub struct Dispatcher<H> {
    /// What carries the rows out.
    pub handler: Arc<H>,
    pub pool: SteppedPool,
    pub pace: DispatchPace,
    pub wakeups: Arc<Wakeups>,
    pub metrics: Metrics,
}

impl<H: Handler> Dispatcher<H> {
    /// Works off due rows until the drain starts, then waits for the batches under way.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let dispatcher = Arc::new(self);
        let mut batches = JoinSet::new();
        while !drain.is_draining() {
            while batches.len() >= dispatcher.pace.concurrency {
                observe(batches.join_next().await);
            }
            while let Some(ended) = batches.try_join_next() {
                observe(Some(ended));
            }
            let pace = dispatcher.pace;
            let held_off = dispatcher.handler.held_off();
            let rows = outbox::lease(&dispatcher.pool, H::KIND, pace.batch, pace.lease, &held_off)
                .await
                .unwrap_or_else(|error| {
                    tracing::warn!(kind = H::KIND.as_str(), %error, "the outbox cannot be read");
                    Vec::new()
                });
            let more = rows.len() == pace.batch;
            if !rows.is_empty() {
                let dispatcher = Arc::clone(&dispatcher);
                let span = tracing::info_span!(
                    "carry_out_batch",
                    otel.name = format!("outbox {} batch", H::KIND.as_str()),
                    rows = rows.len(),
                );
                for row in &rows {
                    propagate::link(&span, &propagate::from_text(row.traceparent.as_deref()));
                }
                batches.spawn(async move { dispatcher.dispatch(&rows).await }.instrument(span));
            }
            if !more {
                tokio::select! {
                    () = dispatcher.wakeups.of(H::KIND).notified() => {}
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

    async fn dispatch(&self, rows: &[Leased]) {
        let outcomes = self.handler.handle(rows).await;
        let (mut done, mut retry) = (Vec::new(), Vec::new());
        let mut given_up = 0;
        for (row, outcome) in rows.iter().zip(outcomes) {
            match outcome {
                Outcome::Done => done.push((row, None)),
                // Done, with its code for an operator: it is neither tried nor counted as pending
                // any more.
                Outcome::Refused(code) if row.attempts >= REFUSALS => {
                    tracing::error!(
                        kind = H::KIND.as_str(),
                        order_id = %row.order_id,
                        about = row.about,
                        code,
                        "a consequence is given up: the other side refuses it"
                    );
                    given_up += 1;
                    done.push((row, Some(code.to_owned())));
                }
                Outcome::HeldOff(code, pause) => {
                    retry.push((row.outbox_id, pause, code.to_owned()));
                }
                Outcome::Retry(code) | Outcome::Refused(code) => {
                    tracing::warn!(
                        kind = H::KIND.as_str(),
                        order_id = %row.order_id,
                        about = row.about,
                        attempts = row.attempts,
                        code,
                        "a consequence is not confirmed yet"
                    );
                    retry.push((
                        row.outbox_id,
                        self.pace.backoff.pause_after(row.attempts),
                        code.to_owned(),
                    ));
                }
            }
        }
        self.metrics.carried(H::KIND, "done", done.len() - given_up);
        self.metrics.carried(H::KIND, "retry", retry.len());
        self.metrics.carried(H::KIND, "given_up", given_up);
        let noted = async {
            flashsale_pg::retry_conflicts(|| outbox::done(&self.pool, &done)).await?;
            flashsale_pg::retry_conflicts(|| outbox::retry(&self.pool, &retry)).await
        };
        if let Err(error) = noted.await {
            // The rows are due again when their lease ends, and are then confirmed again.
            tracing::warn!(kind = H::KIND.as_str(), %error, "results are not noted");
        }
    }
}

fn observe(ended: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = ended {
        // The rows are due again when their lease ends.
        tracing::error!(%error, "an outbox handler broke off");
    }
}
