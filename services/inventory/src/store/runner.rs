//! Running scripts with the epoch and a deadline by the store's own clock.

use std::{sync::Arc, time::Duration};

use flashsale_redis::{EvalError, Script, ServerName, Store};
use flashsale_service::deadline;
use fred::types::Value;
use tokio::time::Instant;

use super::{
    clock::{StoreClock, StoreClocks},
    reply::Reply,
};
use crate::domain::Refusal;

/// How often a script is sent again because it was too late by the store's clock, though not by
/// ours: once because that clock was not known yet, once because it was set in between.
pub(super) const CLOCK_RETRIES: u32 = 2;

/// Access to the stores' scripts.
#[derive(Debug)]
pub(super) struct Runner {
    store: Store,
    clocks: StoreClocks,
    timeout: Duration,
}

impl Runner {
    /// Scripts in `store`, none of which may start later than `timeout` after its call.
    pub(super) fn new(store: Store, timeout: Duration) -> Self {
        Self { store, clocks: StoreClocks::default(), timeout }
    }

    /// The latest start of a script that is called now: the gRPC call may have a shorter deadline.
    pub(super) fn until(&self) -> Instant {
        let budget = deadline::remaining().map_or(self.timeout, |left| left.min(self.timeout));
        Instant::now() + budget
    }

    /// Runs a script on `keys`. Its arguments after the epoch and the deadline may depend on the
    /// clock of the server that runs it.
    pub(super) async fn run(
        &self,
        script: &Script,
        keys: Vec<String>,
        epoch: i64,
        until: Instant,
        args: impl Fn(&StoreClock) -> Vec<Value>,
    ) -> Result<Reply, Refusal> {
        let mut retries = 0;
        loop {
            if Instant::now() >= until {
                return Err(Refusal::TooLate);
            }
            // The deadline is by the clock of the server that has the keys when the script gets
            // there.
            let on = |server: &Arc<ServerName>| {
                let clock = self.clocks.of(server);
                let mut all: Vec<Value> = vec![epoch.into(), clock.at(until).into()];
                all.extend(args(&clock));
                all
            };
            let run = self.store.eval_with(script, keys.clone(), on);
            let answered = match tokio::time::timeout_at(until, run).await {
                Ok(Ok(answered)) => answered,
                Ok(Err(error)) => return Err(refusal(script, error)),
                Err(_) => return Err(Refusal::Unanswered),
            };
            let clock = self.clocks.of(&answered.server);
            let reply = Reply::read(answered.value)?;
            if reply.word != "TOO_LATE" {
                clock.hear(reply.now_ms);
                return Ok(reply);
            }
            clock.set(reply.now_ms);
            retries += 1;
            if retries > CLOCK_RETRIES {
                return Err(Refusal::TooLate);
            }
        }
    }
}

fn refusal(script: &Script, error: EvalError) -> Refusal {
    match error {
        EvalError::Timeout => Refusal::Unanswered,
        EvalError::Unavailable | EvalError::Refusing(_) => {
            Refusal::StoreAway { store: "redis", cause: error.to_string() }
        }
        EvalError::Other(cause) => Refusal::Fault { cause: format!("{}: {cause}", script.name()) },
    }
}
