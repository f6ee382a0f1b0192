//! Requests that take units, brought together: those of one sale that wait at the same time share one run of the script.
//!
//! Nobody waits for company. As long as fewer than [`AT_ONCE`] runs of a sale are under way, a request starts one with whoever is
//! waiting; only beyond that does it wait, for the end of one of them. So a lone request goes at once, and the fuller it gets the
//! more share a run.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fred::types::Value;
use serde::Serialize;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::{
    clock::StoreClock,
    reply::Reply,
    runner::{CLOCK_RETRIES, Runner},
    scripts::Scripts,
};
use crate::domain::{HoldState, Line, Lines, MAX_TOTAL_MINOR, Proof, Refusal, Request};

/// Runs of one sale that may be under way: one at the store while the answers of the other are read and the next come together.
const AT_ONCE: usize = 2;
/// A run that takes longer keeps the others no longer: of several connections one may hang.
const SLOW: Duration = Duration::from_millis(100);
/// Requests, and lines, that share a run at most, so that it does not keep the store from others for long.
const MAX_REQUESTS: usize = 64;
const MAX_LINES: usize = 256;
/// Requests of one sale that may wait; more are refused at once.
const MAX_WAITING: usize = 10_000;

/// The stock of one epoch of one sale.
type Key = (Uuid, i64);
type Answer = Result<Reply, Refusal>;

/// What a request asks.
pub(super) struct Asked<'a> {
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

impl Asked<'_> {
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

/// One request.
struct Take {
    args: Vec<Value>,
    lines: usize,
    until: Instant,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Take>,
    /// Runs under way.
    running: usize,
}

/// The requests of all sales.
pub(super) struct Takes {
    runner: Arc<Runner>,
    scripts: Arc<Scripts>,
    queues: Arc<Queues>,
}

#[derive(Default)]
struct Queues(Mutex<HashMap<Key, Queue>>);

impl std::fmt::Debug for Takes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Takes").finish_non_exhaustive()
    }
}

impl Takes {
    pub(super) fn new(runner: Arc<Runner>, scripts: Arc<Scripts>) -> Self {
        Self { runner, scripts, queues: Arc::default() }
    }

    /// Runs `reserve.lua` for a request, perhaps with others of its sale.
    pub(super) async fn take(&self, asked: Asked<'_>, until: Instant) -> Answer {
        let (key, args) = ((asked.request.sale_id, asked.epoch), asked.args()?);
        let mut retries = 0;
        loop {
            if Instant::now() >= until {
                return Err(Refusal::TooLate);
            }
            let (answer, answered) = oneshot::channel();
            let take = Take { args: args.clone(), lines: asked.lines.len(), until, answer };
            if self.queues.join(key, take)? {
                tokio::spawn(self.turns(key));
            }
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

    /// Runs the script until nobody is waiting.
    fn turns(&self, key: Key) -> impl Future<Output = ()> + Send + use<> {
        let (runner, scripts) = (Arc::clone(&self.runner), Arc::clone(&self.scripts));
        let mut turn = Turn { queues: Arc::clone(&self.queues), key, over: false };
        async move {
            loop {
                // Whoever has arrived but was not polled yet can join.
                tokio::task::yield_now().await;
                let takes = turn.next();
                if takes.is_empty() {
                    return;
                }
                let run = run(Arc::clone(&runner), Arc::clone(&scripts), key, takes);
                // One that takes longer goes on by itself, until its deadline at most.
                drop(tokio::time::timeout(SLOW, tokio::spawn(run)).await);
            }
        }
    }
}

async fn run(runner: Arc<Runner>, scripts: Arc<Scripts>, (sale_id, epoch): Key, takes: Vec<Take>) {
    let Some(until) = takes.iter().map(|take| take.until).max() else { return };
    let args = |clock: &StoreClock| {
        let mut all: Vec<Value> = vec![MAX_TOTAL_MINOR.into()];
        for take in &takes {
            all.push(clock.at(take.until).into());
            all.extend(take.args.iter().cloned());
        }
        all
    };
    let answered = runner.run(&scripts.reserve, sale_id, epoch, until, args).await;
    let answered = answered.and_then(|reply| match reply.word.as_str() {
        "TAKEN" => Ok(reply),
        _ => Err(reply.refusal()),
    });
    match answered {
        // Whoever does not wait any more needs no answer.
        Ok(mut reply) => takes.into_iter().for_each(|take| drop(take.answer.send(reply.part()))),
        Err(refusal) => {
            takes.into_iter().for_each(|take| drop(take.answer.send(Err(refusal.clone()))));
        }
    }
}

impl Queues {
    /// Nothing that is guarded can be left half-changed by a panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request wait; true if the caller is to start a run.
    fn join(&self, key: Key, take: Take) -> Result<bool, Refusal> {
        let mut queues = self.lock();
        let queue = queues.entry(key).or_default();
        if queue.waiting.len() >= MAX_WAITING {
            let cause = format!("{MAX_WAITING} requests of the sale wait for it already");
            return Err(Refusal::StoreAway { store: "redis", cause });
        }
        queue.waiting.push_back(take);
        let start = queue.running < AT_ONCE;
        queue.running += usize::from(start);
        Ok(start)
    }
}

/// A run, and those that follow it as long as somebody is waiting.
struct Turn {
    queues: Arc<Queues>,
    key: Key,
    over: bool,
}

impl Turn {
    /// Those that share the next run; nobody if the turn is over. Whoever gave up while waiting is not among them: what was never sent is
    /// not done.
    fn next(&mut self) -> Vec<Take> {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&self.key) else { return Vec::new() };
        let (mut takes, mut lines) = (Vec::new(), 0);
        while let Some(take) = queue.waiting.pop_front() {
            if take.answer.is_closed() {
                continue;
            }
            let full = takes.len() == MAX_REQUESTS || lines + take.lines > MAX_LINES;
            if full && !takes.is_empty() {
                queue.waiting.push_front(take);
                break;
            }
            lines += take.lines;
            takes.push(take);
        }
        if takes.is_empty() {
            // In the same moment in which nobody is waiting: whoever comes next has to know that they start.
            self.over = true;
            leave(&mut queues, self.key);
        }
        takes
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // A turn that broke off must not keep others from theirs, nor leave anybody waiting for one that never comes.
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&self.key).filter(|queue| queue.running == 1) {
            queue.waiting.clear();
        }
        leave(&mut queues, self.key);
    }
}

fn leave(queues: &mut HashMap<Key, Queue>, key: Key) {
    if let Some(queue) = queues.get_mut(&key) {
        queue.running -= 1;
        if queue.running == 0 && queue.waiting.is_empty() {
            queues.remove(&key);
        }
    }
}
