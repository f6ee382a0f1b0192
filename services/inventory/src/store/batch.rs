//! Batches of requests that take units: requests of one sale that wait at the same time share one
//! run of `reserve.lua`.

use std::{sync::Arc, time::Duration};

use flashsale_batch::{Batcher, Full, Limits};
use fred::types::Value;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{
    clock::StoreClock,
    keys::keys_with_places,
    reply::Reply,
    runner::{CLOCK_RETRIES, Runner},
    scripts::Scripts,
    stored_hold,
};
use crate::domain::{Line, Lines, MAX_TOTAL_MINOR, Proof, Refusal, Request};

/// Bounds of a batch: a run of the script blocks the store for all other callers, so it must be
/// short.
const LIMITS: Limits = Limits {
    at_once: 2,
    // One of several connections may hang.
    slow: Duration::from_millis(100),
    requests: 64,
    weight: 256,
    waiting: 10_000,
};

/// The stock of one epoch of one sale.
type Key = (Uuid, i64);
type BatchReply = Result<Reply, Refusal>;

/// A request to take units.
pub(super) struct BatchRequest<'a> {
    pub(super) request: &'a Request,
    /// The request's key, which becomes the hold's id.
    pub(super) key: &'a str,
    pub(super) hash: &'a str,
    pub(super) lines: &'a Lines,
    pub(super) proof: &'a Proof,
    pub(super) details: &'a str,
    /// The total it may cost, with its currency behind a comma; empty for any.
    pub(super) expected: &'a str,
    pub(super) epoch: i64,
}

impl BatchRequest<'_> {
    /// The request's arguments in the order of `reserve.lua`, without its deadline.
    fn args(&self) -> Result<Vec<Value>, Refusal> {
        let Self { request, key, hash, lines, proof, details, expected, epoch } = self;
        let [number, generation] = proof.place();
        let mut args: Vec<Value> = Vec::with_capacity(13 + 4 * lines.len());
        args.extend([
            request.content.operation().as_str().into(),
            (*key).into(),
            (*hash).into(),
            proof.verdict().into(),
            proof.id().into(),
            stored_hold::admission(proof.id())?.into(),
            number.into(),
            generation.into(),
            request.buyer_id.as_str().into(),
            (*details).into(),
            (*expected).into(),
            stored_hold::head(request, *epoch, key, hash)?.into(),
            lines.len().to_string().into(),
        ]);
        for Line { sku, quantity } in lines.iter() {
            args.extend([
                sku.as_str().into(),
                format!("{sku}\u{1f}{}", request.buyer_id).into(),
                (*quantity).into(),
                stored_hold::line_start(sku, *quantity)?.into(),
            ]);
        }
        Ok(args)
    }
}

/// One request of a batch.
struct BatchItem {
    /// As [`BatchRequest::args`].
    args: Vec<Value>,
    /// When the script must have started.
    until: Instant,
}

/// The batches of all sales.
#[derive(Debug)]
pub(super) struct Batches(Batcher<Key, BatchItem, BatchReply>);

impl Batches {
    pub(super) fn new(runner: Arc<Runner>, scripts: Arc<Scripts>) -> Self {
        Self(Batcher::new(LIMITS, move |key, batch| {
            run(Arc::clone(&runner), Arc::clone(&scripts), key, batch)
        }))
    }

    /// Runs `reserve.lua` for a request, in one batch with others of its sale.
    pub(super) async fn run(&self, request: BatchRequest<'_>, until: Instant) -> BatchReply {
        let (key, args) = ((request.request.sale_id, request.epoch), request.args()?);
        let mut retries = 0;
        loop {
            if Instant::now() >= until {
                return Err(Refusal::TooLate);
            }
            let item = BatchItem { args: args.clone(), until };
            let answered = self.0.submit(key, item, request.lines.len());
            let answered = answered.map_err(|Full(waiting)| Refusal::StoreAway {
                store: "redis",
                cause: format!("{waiting} requests of the sale wait for it already"),
            })?;
            let reply = match timeout_at(until, answered).await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) | Err(_) => return Err(Refusal::Unanswered),
            };
            // The deadline was too early by a clock that was not known yet, or was set meanwhile.
            retries += 1;
            if reply.word != "TOO_LATE" || retries > CLOCK_RETRIES {
                return Ok(reply);
            }
        }
    }
}

async fn run(
    runner: Arc<Runner>,
    scripts: Arc<Scripts>,
    (sale_id, epoch): Key,
    batch: Vec<flashsale_batch::Request<BatchItem, BatchReply>>,
) {
    // The run may start as long as one of its requests may; the script judges each deadline.
    let Some(until) = batch.iter().map(|request| request.item().until).max() else { return };
    let args = |clock: &StoreClock| {
        let mut all: Vec<Value> = vec![MAX_TOTAL_MINOR.into()];
        for request in &batch {
            let BatchItem { args, until } = request.item();
            all.push(clock.at(*until).into());
            all.extend(args.iter().cloned());
        }
        all
    };
    let answered =
        runner.run(&scripts.reserve, keys_with_places(sale_id), epoch, until, args).await;
    let answered = answered.and_then(|reply| match reply.word.as_str() {
        "TAKEN" => Ok(reply),
        _ => Err(reply.refusal()),
    });
    match answered {
        Ok(mut reply) => batch.into_iter().for_each(|request| request.answer(reply.part())),
        Err(refusal) => {
            batch.into_iter().for_each(|request| request.answer(Err(refusal.clone())));
        }
    }
}
