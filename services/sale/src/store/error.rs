//! Why the store fails.

/// Why the store fails. The texts go to the log only.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or not in time. What was asked may have had its effect.
    #[error("Postgres does not answer: {0}")]
    Unavailable(String),
    /// It holds or refuses what it should not: a fault of ours.
    #[error("Postgres: {0}")]
    Broken(String),
}

impl StoreError {
    /// A row that no version of this service writes.
    pub(super) fn corrupt(what: impl Into<String>) -> Self {
        Self::Broken(what.into())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let answers = match error.as_database_error().and_then(|error| error.code()) {
            // Connection, conflict that outlasted its retries, resources, operator's doing (58 and XX are the server's own faults).
            Some(code) => {
                !["08", "40", "53", "57", "58", "XX"].iter().any(|class| code.starts_with(class))
            }
            None => !matches!(
                error,
                sqlx::Error::Io(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
            ),
        };
        if answers { Self::Broken(error.to_string()) } else { Self::Unavailable(error.to_string()) }
    }
}
