//! Errors of Postgres.

use flashsale_pg::Fault;

use crate::domain::Refusal;

/// The refusal of a call for which Postgres failed.
pub(super) fn away(error: sqlx::Error) -> Refusal {
    let cause = error.to_string();
    match Fault::of(&error) {
        Fault::Ours => Refusal::Fault { cause },
        Fault::Condition => Refusal::StoreAway { store: "postgres", cause },
    }
}
