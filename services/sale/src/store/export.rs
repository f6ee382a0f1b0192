//! The results of a sale from one snapshot of the record, a page at a time. The tables of other
//! services are only read.

use std::collections::BTreeMap;

use flashsale_service::page::Place;
use sqlx::{Postgres, Transaction, query_file_as, query_file_scalar, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError,
    prices::{in_effect, revisions},
};
use crate::domain::{ItemResult, LineResult};

/// How long a reader of a file may take for what is in its buffers and those between.
const READER_WITHIN: &str = "30s";

/// What one item was imported from.
#[derive(Debug)]
pub struct Source {
    pub sku: String,
    /// Columns of the file and their cells.
    pub source_key: Json<BTreeMap<String, String>>,
}

/// The record as it was at one moment. It keeps one connection.
#[derive(Debug)]
pub struct Snapshot {
    transaction: Transaction<'static, Postgres>,
    /// That moment, by the clock of Postgres.
    pub read_at: OffsetDateTime,
}

impl Store {
    /// A snapshot of the record.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut transaction =
            self.pool.reads().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let read_at = query_file_scalar!("sql/begin_export.sql", READER_WITHIN)
            .fetch_one(&mut *transaction)
            .await?;
        Ok(Snapshot { transaction, read_at })
    }
}

impl Snapshot {
    /// What became of each item of a sale, by sku, at the prices and limits of that moment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn items(&mut self, sale: Uuid) -> Result<Vec<ItemResult>, StoreError> {
        let in_effect = in_effect(&revisions(&mut *self.transaction, sale).await?);
        Ok(query_file_as!(ItemResult, "sql/export_items.sql", sale, &in_effect)
            .fetch_all(&mut *self.transaction)
            .await?)
    }

    /// What the items of a sale were imported from, of those that were in a file of this format.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn sources(&mut self, sale: Uuid, format: &str) -> Result<Vec<Source>, StoreError> {
        Ok(query_file_as!(Source, "sql/export_sources.sql", sale, format)
            .fetch_all(&mut *self.transaction)
            .await?)
    }

    /// The lines of at most `limit` orders of a sale behind `after`, newest first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn lines(
        &mut self,
        sale: Uuid,
        after: Option<Place>,
        limit: i64,
    ) -> Result<Vec<LineResult>, StoreError> {
        Ok(query_file_as!(
            LineResult,
            "sql/export_lines.sql",
            sale,
            after.map(|last| last.at),
            after.map(|last| last.id),
            limit
        )
        .fetch_all(&mut *self.transaction)
        .await?)
    }
}
