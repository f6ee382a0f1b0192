//! Which sales inventory and the waiting room have to be told of, and the lock of the instance that
//! tells them.

use flashsale_pg::SteppedTransaction;
use sqlx::query_file;
use uuid::Uuid;

use super::{Store, StoreError, reads};
use crate::{domain::Sale, steps};

/// A sale of which the others have not been told in its current version.
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
}

impl Telling {
    /// The sale as it was read under the lock, without its items.
    pub fn sale(&self) -> &Sale {
        &self.sale
    }

    /// Records that the others know the sale as it was read. False if it has changed since.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn done(mut self) -> Result<bool, StoreError> {
        let marked = query_file!("sql/mark_told.sql", self.sale.id, self.sale.version)
            .execute(&mut *self.tx)
            .await?;
        self.tx.commit(steps::COMMIT_TOLD).await?;
        Ok(marked.rows_affected() == 1)
    }
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
        let sale = reads::sale(&mut *tx, id).await?;
        Ok(sale.map(|sale| Telling { tx, sale }))
    }
}
