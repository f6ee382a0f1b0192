//! Beats: writing at Redis, confirming the server in Postgres, and reading the epochs.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use flashsale_service::boottime::BootInstant;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Beaten, Seen, Serving};
use crate::{
    domain::{COVER, Refusal},
    store::Slot,
};

/// The timeout of a beat's write at Redis, and of each of its statements.
const STEP_WITHIN: Duration = Duration::from_millis(900);
/// The shortest time between the starts of two beats, however many callers want one.
const AT_MOST_EVERY: Duration = Duration::from_millis(10);
/// How often old rows are removed.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

impl Serving {
    /// Writes at Redis, confirms the server in Postgres, and then reads the epochs: in this order,
    /// each as a statement of its own.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] when a store does not answer; what was known stays.
    pub async fn beat(&self) -> Result<Arc<Beaten>, Refusal> {
        let called = BootInstant::now();
        let mut last = self.beating.lock().await;
        // A beat that began after this call is as good as one of its own.
        if let Some(last) = *last
            && last >= called
        {
            let done = self.read().last.clone().filter(|done| done.begun == last);
            return done.ok_or_else(|| Refusal::StoreAway {
                store: "postgres",
                cause: "the beat that was waited for has failed".to_owned(),
            });
        }
        if let Some(last) = *last {
            let since = last.elapsed();
            if since < AT_MOST_EVERY {
                tokio::time::sleep(AT_MOST_EVERY - since).await;
            }
        }
        let begun = BootInstant::now();
        *last = Some(begun);
        let result = self.beat_from(begun).await;
        if let Err(refusal) = &result {
            tracing::debug!(?refusal, "this instance's Redis is not confirmed");
            self.judge(true);
        }
        result
    }

    async fn beat_from(&self, begun: BootInstant) -> Result<Arc<Beaten>, Refusal> {
        let reached = self.reach().await;
        let named = reached.is_empty() || self.beats.is_named(STEP_WITHIN).await;
        let reached: HashMap<Slot, Seen> = reached
            .into_iter()
            .filter(|_| named)
            .map(|(slot, server)| (slot, Seen { server: server.into(), at: begun }))
            .collect();
        {
            let mut state = self.write();
            state.named = named;
            if !named {
                state.reached.clear();
            }
            state.reached.extend(reached.clone());
        }
        let mut names: Vec<String> = reached.values().map(|seen| seen.server.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        // All on one connection: a Postgres that was replaced can still be read, but confirms
        // nothing.
        let mut postgres = within(self.servers.connection()).await?;
        let counting: HashSet<String> = if names.is_empty() {
            HashSet::new()
        } else {
            within(postgres.confirm(&names)).await?.into_iter().collect()
        };
        let read_at = BootInstant::now();
        let sales = within(postgres.epochs()).await?;
        let rows = within(postgres.read(&names)).await?;
        drop(postgres);
        let read = BootInstant::now();
        let retired = names.iter().any(|name| !counting.contains(name));
        let beaten = {
            let mut state = self.write();
            for (slot, seen) in reached {
                if counting.contains(&*seen.server) {
                    state.confirmed.0.insert(slot, seen);
                } else {
                    // Postgres says that the server does not count, and the queue must not stand in
                    // for that.
                    state.reached.remove(&slot);
                    state.confirmed.0.remove(&slot);
                }
            }
            // A row counts as unchanged only over an unbroken series of reads: during an outage of
            // Postgres no server could be confirmed.
            let watched = state.rows_read.is_some_and(|at| at.elapsed() < COVER);
            state.rows_read = Some(read);
            let before = if watched { std::mem::take(&mut state.rows) } else { HashMap::new() };
            state.rows = rows
                .into_iter()
                .map(|(server, row)| {
                    let since = before
                        .get(&server)
                        .filter(|(was, _)| was.beats == row.beats)
                        .map_or(read, |(_, since)| *since);
                    (server, (row, since))
                })
                .collect();
            state.sales = sales.iter().map(|sale| (sale.sale_id, sale.clone())).collect();
            state.retired = retired;
            let confirmed = state.confirmed.clone();
            let beaten = Arc::new(Beaten { begun, read_at, confirmed, sales });
            state.last = Some(Arc::clone(&beaten));
            beaten
        };
        self.judge(false);
        self.forget_old().await;
        Ok(beaten)
    }

    /// Writes at each slot that matters; slots that do not answer are missing in the result.
    async fn reach(&self) -> HashMap<Slot, String> {
        let sales: Vec<Uuid> = {
            let mut state = self.write();
            // Callers that still need one ask again.
            let wanted = std::mem::take(&mut state.wanted);
            state.sales.keys().copied().chain(wanted).collect()
        };
        self.beats.write(&sales, STEP_WITHIN).await
    }

    /// The servers that this instance speaks to now, and the others that unfinished sales stand on.
    pub async fn sides(&self) -> (Vec<String>, Vec<String>) {
        let reached = self.reach().await;
        let own: HashSet<String> = reached.values().cloned().collect();
        let state = self.read();
        // A slot that did not answer says nothing about the server recorded for it.
        let others: HashSet<String> = state
            .sales
            .values()
            .filter(|sale| reached.contains_key(&self.slot(sale.sale_id)))
            .filter(|sale| !sale.server.is_empty() && !own.contains(&sale.server))
            .map(|sale| sale.server.clone())
            .collect();
        let sorted = |servers: HashSet<String>| {
            let mut servers: Vec<String> = servers.into_iter().collect();
            servers.sort_unstable();
            servers
        };
        (sorted(own), sorted(others))
    }

    async fn forget_old(&self) {
        let due = {
            let forgot = self.forgot.read().unwrap_or_else(PoisonError::into_inner);
            forgot.is_none_or(|at| at.elapsed() > FORGET_EVERY)
        };
        if due {
            *self.forgot.write().unwrap_or_else(PoisonError::into_inner) = Some(BootInstant::now());
            if let Err(refusal) = within(self.servers.forget_old()).await {
                tracing::debug!(?refusal, "old rows of Redis servers are not removed yet");
            }
        }
    }
}

async fn within<T>(statement: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    timeout(STEP_WITHIN, statement).await.unwrap_or_else(|_| {
        Err(Refusal::StoreAway { store: "postgres", cause: "no answer to a beat".to_owned() })
    })
}
