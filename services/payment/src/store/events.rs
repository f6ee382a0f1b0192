//! `provider_events`: which events of the provider's were taken.

use flashsale_pg::statement;
use sqlx::{PgConnection, query_file, query_file_as};
use uuid::Uuid;

use super::Store;
use crate::steps;

/// Events that are forgotten by one statement.
const FORGOTTEN_AT_ONCE: i64 = 10_000;

/// That an event was taken, without what it says.
#[derive(Debug, Clone, Copy)]
pub struct EventNote<'a> {
    /// The provider's id of it.
    pub id: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// The intent it is about.
    pub intent: Option<&'a str>,
}

/// What is read before an event is taken.
#[derive(Debug)]
pub struct EventLookup {
    /// It was taken before.
    pub known: bool,
    /// The trace of its order, if the order has a payment.
    pub traceparent: Option<String>,
}

impl Store {
    /// Whether an event was taken before, and the trace of the order it names.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn look_up_event(
        &self,
        event: &str,
        order: Option<Uuid>,
    ) -> sqlx::Result<EventLookup> {
        query_file_as!(EventLookup, "sql/look_up_event.sql", event, order)
            .fetch_one(self.pool.reads())
            .await
    }

    /// Notes that an event was taken, after everything that follows from it: one that is taken
    /// twice has no second effect. What [`Store::settle`] settles is noted there.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn note_event(&self, event: EventNote<'_>) -> sqlx::Result<()> {
        let EventNote { id, kind, intent } = event;
        statement!(steps::SQL_NOTE_EVENT, query_file!("sql/note_event.sql", id, kind, intent))
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

/// [`Store::note_event`] in the transaction that draws the consequence.
pub(super) async fn note(connection: &mut PgConnection, event: EventNote<'_>) -> sqlx::Result<()> {
    let EventNote { id, kind, intent } = event;
    query_file!("sql/note_event.sql", id, kind, intent).execute(connection).await?;
    Ok(())
}
