//! Requests that take units, brought together: those of one sale that wait at the same time share one run of the script.

use std::{sync::Arc, time::Duration};

use flashsale_gather::{Asked, Full, Gather, Limits};
use fred::types::Value;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{
    clock::StoreClock,
    reply::Reply,
    runner::{CLOCK_RETRIES, Runner},
    scripts::Scripts,
};
use crate::domain::{HoldState, Line, Lines, MAX_TOTAL_MINOR, Proof, Refusal, Request};

/// What shares a run of the script: so many requests, and lines, that it does not keep the store from others for long.
const LIMITS: Limits = Limits {
    at_once: 2,
    // Of several connections one may hang.
    slow: Duration::from_millis(100),
    requests: 64,
    weight: 256,
    waiting: 10_000,
};

/// The stock of one epoch of one sale.
type Key = (Uuid, i64);
type Answer = Result<Reply, Refusal>;

/// What a request asks.
pub(super) struct Wanted<'a> {
    pub(super) request: &'a Request,
    /// Becomes the hold's id.
    pub(super) key: &'a str,
    pub(super) hash: &'a str,
    pub(super) lines: &'a Lines,
    pub(super) proof: &'a Proof,
    pub(super) details: &'a str,
    pub(super) epoch: i64,
}

/// The beginning of a hold as it is stored: what is known of it before the script runs.
#[derive(Serialize)]
struct Head<'a> {
    b: &'a str,
    e: i64,
    s: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    o: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    h: Option<&'a str>,
}

impl Wanted<'_> {
    /// The parts of the request as the script names them, without its deadline.
    fn args(&self) -> Result<Vec<Value>, Refusal> {
        let Self { request, key, hash, lines, proof, details, epoch } = self;
        let operation = request.content.operation();
        let placed = operation == "place";
        let state = if placed { HoldState::Placed } else { HoldState::Held };
        let mut head = json(&Head {
            b: &request.buyer_id,
            e: *epoch,
            s: state.as_str(),
            o: placed.then_some(*key),
            q: placed.then_some(request.request_id),
            h: placed.then_some(*hash),
        })?;
        // The script goes on from here.
        head.pop();
        let mut args: Vec<Value> = Vec::with_capacity(9 + 4 * lines.len());
        args.extend([
            operation.into(),
            (*key).into(),
            (*hash).into(),
            proof.verdict().into(),
            proof.id().into(),
            format!("\"j\":{}", json(proof.id())?).into(),
            (*details).into(),
            head.into(),
            lines.len().to_string().into(),
        ]);
        for Line { sku, quantity } in lines.iter() {
            args.extend([
                sku.as_str().into(),
                format!("{sku}\u{1f}{}", request.buyer_id).into(),
                (*quantity).into(),
                format!("[{},{quantity},", json(sku)?).into(),
            ]);
        }
        Ok(args)
    }
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<String, Refusal> {
    serde_json::to_string(value)
        .map_err(|error| Refusal::Fault { cause: format!("a hold cannot be written: {error}") })
}

/// One request, as the script has it.
struct Take {
    args: Vec<Value>,
    until: Instant,
}

/// The requests of all sales.
#[derive(Debug)]
pub(super) struct Takes(Gather<Key, Take, Answer>);

impl Takes {
    pub(super) fn new(runner: Arc<Runner>, scripts: Arc<Scripts>) -> Self {
        Self(Gather::new(LIMITS, move |key, takes| {
            run(Arc::clone(&runner), Arc::clone(&scripts), key, takes)
        }))
    }

    /// Runs `reserve.lua` for a request, perhaps with others of its sale.
    pub(super) async fn take(&self, wanted: Wanted<'_>, until: Instant) -> Answer {
        let (key, args) = ((wanted.request.sale_id, wanted.epoch), wanted.args()?);
        let mut retries = 0;
        loop {
            if Instant::now() >= until {
                return Err(Refusal::TooLate);
            }
            let take = Take { args: args.clone(), until };
            let answered = self.0.ask(key, take, wanted.lines.len());
            let answered = answered.map_err(|Full(waiting)| Refusal::StoreAway {
                store: "redis",
                cause: format!("{waiting} requests of the sale wait for it already"),
            })?;
            let reply = match timeout_at(until, answered).await {
                Ok(Ok(answer)) => answer?,
                Ok(Err(_)) | Err(_) => return Err(Refusal::Unanswered),
            };
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
    takes: Vec<Asked<Take, Answer>>,
) {
    let Some(until) = takes.iter().map(|take| take.ask().until).max() else { return };
    let args = |clock: &StoreClock| {
        let mut all: Vec<Value> = vec![MAX_TOTAL_MINOR.into()];
        for take in &takes {
            let Take { args, until } = take.ask();
            all.push(clock.at(*until).into());
            all.extend(args.iter().cloned());
        }
        all
    };
    let answered = runner.run(&scripts.reserve, sale_id, epoch, until, args).await;
    let answered = answered.and_then(|reply| match reply.word.as_str() {
        "TAKEN" => Ok(reply),
        _ => Err(reply.refusal()),
    });
    match answered {
        Ok(mut reply) => takes.into_iter().for_each(|take| take.answer(reply.part())),
        Err(refusal) => takes.into_iter().for_each(|take| take.answer(Err(refusal.clone()))),
    }
}
