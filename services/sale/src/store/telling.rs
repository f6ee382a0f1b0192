//! Which sales inventory and the waiting room have to be told of, and the lock of the instance that
//! tells them.

use flashsale_pg::SteppedTransaction;
use sqlx::{PgConnection, query_file};
use uuid::Uuid;

use super::{Store, StoreError, reads};
use crate::{
    domain::{PriceSwitch, Sale},
    steps,
};

/// A sale of which the others have not been told in its current version, or whose next prices wait
/// for the store of the stock to take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ToTell {
    pub id: Uuid,
    /// Its version.
    pub version: i64,
}

/// The right to tell the others of one sale. One instance at a time holds it, until it is dropped
/// or [`Telling::done`], or its process or connection dies.
#[derive(Debug)]
pub struct Telling {
    tx: SteppedTransaction,
    sale: Sale,
    prices_wait: bool,
    tells_room: bool,
}

/// What the record has after the others were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// They know the sale as it is.
    Known,
    /// They do, but for prices that the store of the stock could take and has not.
    PricesWait,
    /// The sale has changed since.
    Changed,
}

impl Telling {
    /// The sale as it was read under the lock, without its items.
    pub fn sale(&self) -> &Sale {
        &self.sale
    }

    /// Whether there is something to tell.
    pub fn is_due(&self) -> bool {
        !self.sale.is_propagated() || self.prices_wait
    }

    /// Whether the waiting room has to be told: of all but prices and limits.
    pub fn tells_room(&self) -> bool {
        self.tells_room
    }

    /// Records that the others know the sale as it was read, unless it has changed since; and, in
    /// any case, when the store of the stock switches prices.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn done(mut self, switches: &[PriceSwitch]) -> Result<Told, StoreError> {
        let sale = self.sale.id;
        let marked = query_file!("sql/mark_told.sql", sale, self.sale.version)
            .execute(&mut *self.tx)
            .await?;
        let is_as_told = marked.rows_affected() == 1;
        if !switches.is_empty() {
            let (revisions, times): (Vec<_>, Vec<_>) =
                switches.iter().map(|switch| (switch.revision, switch.at)).unzip();
            query_file!("sql/mark_switches.sql", sale, &revisions, &times, is_as_told)
                .execute(&mut *self.tx)
                .await?;
        }
        let waits = self.sale.state.may_sell() && prices_wait(&mut self.tx, sale).await?;
        self.tx.commit(steps::COMMIT_TOLD).await?;
        Ok(match (is_as_told, waits) {
            (false, _) => Told::Changed,
            (true, true) => Told::PricesWait,
            (true, false) => Told::Known,
        })
    }
}

async fn prices_wait(tx: &mut PgConnection, sale: Uuid) -> sqlx::Result<bool> {
    Ok(query_file!("sql/price_waits.sql", sale).fetch_one(tx).await?.waits)
}

impl Store {
    /// At most `limit` sales to tell of, by id, from behind `after` on.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn to_tell(&self, after: Uuid, limit: i64) -> Result<Vec<ToTell>, StoreError> {
        let rows =
            query_file!("sql/sales_to_tell.sql", after, limit).fetch_all(self.pool.reads()).await?;
        Ok(rows.into_iter().map(|row| ToTell { id: row.sale_id, version: row.version }).collect())
    }

    /// Takes the right to tell of a sale; `None` if another instance has it, or there is no such
    /// sale. It keeps a connection, so callers bound how many they take at once.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn telling(&self, id: Uuid) -> Result<Option<Telling>, StoreError> {
        let mut tx = self.pool.begin().await?;
        if !query_file!("sql/lock_telling.sql", id).fetch_one(&mut *tx).await?.locked {
            return Ok(None);
        }
        let Some(sale) = reads::sale(&mut *tx, id).await? else { return Ok(None) };
        let prices_wait = sale.state.may_sell() && prices_wait(&mut tx, id).await?;
        let (known, version) = (sale.propagated_version, sale.version);
        let tells_room =
            query_file!("sql/tells_room.sql", id, known, version).fetch_one(&mut *tx).await?.tells;
        Ok(Some(Telling { tx, sale, prices_wait, tells_room }))
    }
}
