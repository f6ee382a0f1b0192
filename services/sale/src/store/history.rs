//! Reads what happened to a sale.

use sqlx::query_file;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError, reads::SaleRow};
use crate::domain::Sale;

/// A change that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    /// The version that it made.
    pub version: i64,
    /// When it was recorded.
    pub at: OffsetDateTime,
    /// What happened, such as `OPEN`.
    pub kind: String,
    /// The caller's name; empty for what the clock did.
    pub actor: String,
    /// The request; none for what the clock did.
    pub request: Option<Uuid>,
    /// Why, as the caller said it.
    pub reason: String,
    /// The sale before it, without its items; none for the first.
    pub before: Option<Sale>,
    /// The sale after it, without its items.
    pub after: Sale,
    /// The first of the skus whose item it changed.
    pub skus: Vec<String>,
    /// How many they are.
    pub skus_changed: i64,
}

impl Store {
    /// At most `limit` changes of a sale from before version `before` on, newest first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn history(
        &self,
        sale: Uuid,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Past>, StoreError> {
        let rows = query_file!("sql/list_changes.sql", sale, before, limit)
            .fetch_all(self.pool.reads())
            .await?;
        let past = rows.into_iter().map(|row| {
            Ok(Past {
                version: row.version,
                at: row.at,
                kind: row.kind,
                actor: row.actor,
                request: row.request_id,
                reason: row.reason,
                before: row.before.as_deref().map(kept).transpose()?,
                after: kept(&row.after)?,
                skus: row.skus,
                skus_changed: row.skus_changed,
            })
        });
        past.collect()
    }
}

fn kept(json: &str) -> Result<Sale, StoreError> {
    let row: SaleRow = serde_json::from_str(json)
        .map_err(|error| StoreError::corrupt(format!("a change of a sale: {error}")))?;
    row.try_into()
}
