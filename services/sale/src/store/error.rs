//! Why the store fails.

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
        let answers = match error.as_database_error().and_then(|error| error.code()) {
            // Connection (08), conflicts after all retries (40), resources (53), operator
            // intervention (57), system errors (58), internal errors (XX).
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
