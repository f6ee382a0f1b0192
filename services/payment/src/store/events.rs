//! `provider_events`: which events of the provider's were taken.

use flashsale_pg::statement;
use sqlx::query_file;

use super::Store;
use crate::steps;

/// Events that are forgotten by one statement.
const FORGOTTEN_AT_ONCE: i64 = 10_000;

impl Store {
    /// Whether an event was taken before.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn is_event_known(&self, event: &str) -> sqlx::Result<bool> {
        let row = query_file!("sql/is_event_known.sql", event).fetch_one(self.pool.reads()).await?;
        Ok(row.known)
    }

    /// Notes that an event was taken, after everything that follows from it: one that is taken
    /// twice has no second effect.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn note_event(
        &self,
        event: &str,
        kind: &str,
        intent: Option<&str>,
    ) -> sqlx::Result<()> {
        statement!(steps::SQL_NOTE_EVENT, query_file!("sql/note_event.sql", event, kind, intent))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets events that are too old to come again.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn forget_events(&self) -> sqlx::Result<()> {
        statement!(
            steps::SQL_FORGET_EVENTS,
            query_file!("sql/forget_events.sql", FORGOTTEN_AT_ONCE)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
