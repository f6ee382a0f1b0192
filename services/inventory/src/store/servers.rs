//! The Redis servers on record: confirmed by beats, replaced by raises, retired by takeovers.
//!
//! Rows are locked in the order `sale_stock`, `redis_servers`.

use std::{collections::HashMap, time::Duration};

use flashsale_pg::{SteppedConnection, SteppedPool, statement};
use flashsale_record::SaleState;
use sqlx::{PgConnection, PgPool, query_file, query_file_scalar};
use uuid::Uuid;

use super::postgres::away;
use crate::{
    domain::{Closing, Recorded, Refusal, may_raise},
    steps,
};

/// What is on record of a sale's epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleEpoch {
    pub sale_id: Uuid,
    pub state: SaleState,
    /// Its latest epoch.
    pub epoch: i64,
    /// The server that the epoch was raised on.
    pub server: String,
    /// Whether its stock is whole there.
    pub open: bool,
}

/// For how long the row of a server has been unchanged, as observed by an instance: the number of
/// beats, and since when it has been that.
pub type Unchanged = Option<(i64, Duration)>;

#[derive(Debug, Clone)]
pub struct Servers {
    pool: SteppedPool,
    /// For beats, so that a living server is still confirmed when other work uses up the pool.
    beats: SteppedPool,
}

/// A connection for the statements of one beat.
#[derive(Debug)]
pub struct Connection(SteppedConnection);

impl Servers {
    /// The servers on record behind `pool`; beats go over `beats`.
    pub fn new(pool: PgPool, beats: PgPool) -> Self {
        Self { pool: SteppedPool::new(pool), beats: SteppedPool::new(beats) }
    }

    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn connection(&self) -> Result<Connection, Refusal> {
        self.beats.acquire().await.map(Connection).map_err(away)
    }

    /// Removes the rows of servers that have not been confirmed for a week.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn forget_old(&self) -> Result<(), Refusal> {
        statement!(steps::SQL_SERVERS_FORGET, query_file!("sql/servers_forget.sql"))
            .execute(&self.pool)
            .await
            .map_err(away)?;
        Ok(())
    }

    /// Makes `own` the servers that count: retires `others`, which may be alive, and records the
    /// reason. A repeated request takes effect once. Returns the servers that were retired.
    ///
    /// # Errors
    /// [`Refusal::RequestReused`]; [`Refusal::Fenced`] when the same request runs at the same time;
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn take_over(
        &self,
        request_id: Uuid,
        own: &[String],
        others: &[String],
        reason: &str,
    ) -> Result<Vec<String>, Refusal> {
        let mut transaction = self.pool.begin().await.map_err(away)?;
        let own_text = own.join(" ");
        let known = query_file!("sql/takeover_find.sql", request_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(away)?;
        if let Some(known) = known {
            let same = known.server == own_text && known.reason == reason;
            return if same { Ok(known.retired) } else { Err(Refusal::RequestReused) };
        }
        let retired = query_file_scalar!("sql/takeover_retire.sql", own, others)
            .fetch_all(&mut *transaction)
            .await
            .map_err(away)?;
        let done = query_file!("sql/takeover_insert.sql", request_id, own_text, &retired, reason)
            .execute(&mut *transaction)
            .await
            .map_err(away)?;
        if done.rows_affected() == 0 {
            // The same request at the same time: the caller retries and gets its answer.
            return Err(Refusal::Fenced);
        }
        transaction.commit(steps::COMMIT_TAKEOVER).await.map_err(away)?;
        Ok(retired)
    }

    /// Hands out the epoch after `seen` to `rebuilder` on the server `own`, under a lease. `seen`
    /// is the epoch on record and whether its stock was whole. `None` when another rebuilder has
    /// the lease, that has changed since it was read, or the recorded server still counts.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn raise(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        lease: Duration,
        seen: (i64, bool),
        own: &str,
        unchanged: Unchanged,
    ) -> Result<Option<(i64, Closing)>, Refusal> {
        let mut transaction = self.pool.begin().await.map_err(away)?;
        let current = query_file!("sql/lock_stock.sql", sale_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(away)?;
        // Another rebuilder may have opened the epoch since it was found closed: raised over it,
        // the sale would be closed again at once.
        let Some(current) = current
            .filter(|row| (row.epoch, !row.run_id.is_empty()) == seen)
            .filter(|row| !row.leased)
        else {
            return Ok(None);
        };
        if !judge(&mut transaction, &current.server, own, unchanged).await? {
            return Ok(None);
        }
        let lease_ms = lease.as_secs_f64() * 1_000.0;
        let epoch = query_file_scalar!("sql/rebuild_raise.sql", sale_id, rebuilder, lease_ms, own)
            .fetch_one(&mut *transaction)
            .await
            .map_err(away)?;
        transaction.commit(steps::COMMIT_REBUILD_RAISE).await.map_err(away)?;
        Ok(Some((epoch, Closing::of(&current.opened_on, own))))
    }
}

impl Connection {
    /// Confirms servers that were just written at; returns those that count, which retired ones do
    /// not.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn confirm(&mut self, servers: &[String]) -> Result<Vec<String>, Refusal> {
        statement!(
            steps::SQL_SERVERS_CONFIRM,
            query_file_scalar!("sql/servers_confirm.sql", servers)
        )
        .fetch_all_on(&mut self.0)
        .await
        .map_err(away)
    }

    /// The epochs of unfinished sales.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn epochs(&mut self) -> Result<Vec<SaleEpoch>, Refusal> {
        let rows = statement!(steps::SQL_EPOCHS_READ, query_file!("sql/epochs_read.sql"))
            .fetch_all_on(&mut self.0)
            .await
            .map_err(away)?;
        let epochs = rows.into_iter().filter_map(|row| {
            let Some(state) = SaleState::parse(&row.state) else {
                // It fails on its own when it is looked up; the others are served.
                tracing::error!(sale_id = %row.sale_id, state = row.state, "a sale's state is unknown");
                return None;
            };
            let (sale_id, epoch, server) = (row.sale_id, row.epoch, row.server);
            Some(SaleEpoch { sale_id, state, epoch, server, open: row.open })
        });
        Ok(epochs.collect())
    }

    /// The rows of the servers that unfinished sales stand on, and of `own`.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn read(&mut self, own: &[String]) -> Result<HashMap<String, Recorded>, Refusal> {
        let rows = statement!(steps::SQL_SERVERS_READ, query_file!("sql/servers_read.sql", own))
            .fetch_all_on(&mut self.0)
            .await
            .map_err(away)?;
        let row = rows
            .into_iter()
            .map(|row| (row.server, Recorded { beats: row.beats, retired: row.retired }));
        Ok(row.collect())
    }
}

/// Whether an epoch may move from the server `recorded` to `own`. The former cannot be confirmed
/// until the transaction ends.
pub(super) async fn judge(
    transaction: &mut PgConnection,
    recorded: &str,
    own: &str,
    unchanged: Unchanged,
) -> Result<bool, Refusal> {
    // Stock loaded before servers were recorded is served by no server: scripts do not know an
    // empty name.
    if recorded == own || recorded.is_empty() {
        return Ok(true);
    }
    query_file!("sql/servers_know.sql", recorded).execute(&mut *transaction).await.map_err(away)?;
    let row = query_file!("sql/servers_lock.sql", recorded)
        .fetch_one(&mut *transaction)
        .await
        .map_err(away)?;
    let recorded = Recorded { beats: row.beats, retired: row.retired };
    Ok(may_raise(false, recorded, unchanged))
}
