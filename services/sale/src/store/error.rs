//! Why the store fails.

use flashsale_pg::Fault;

/// Why the store fails. The texts go to the log only.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or not in time. The statement may have had its effect.
    #[error("Postgres does not answer: {0}")]
    Unavailable(String),
    /// It has or refuses data that it should not: a bug of this service.
    #[error("Postgres: {0}")]
    Broken(String),
}

impl StoreError {
    /// For a row that no version of this service writes.
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match Fault::of(&error) {
            Fault::Ours => Self::Broken(error.to_string()),
            Fault::Condition => Self::Unavailable(error.to_string()),
        }
    }
}
