//! Errors of Postgres.

use crate::domain::Refusal;

/// Classes of SQLSTATE that depend on the server's condition, not on the statement: connections,
/// conflicts, resources, operator intervention.
const CONDITIONS: [&str; 4] = ["08", "40", "53", "57"];

pub(super) fn away(error: sqlx::Error) -> Refusal {
    let cause = error.to_string();
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.is_some_and(|code| !CONDITIONS.iter().any(|class| code.starts_with(class))) {
        return Refusal::Fault { cause };
    }
    Refusal::StoreAway { store: "postgres", cause }
}
