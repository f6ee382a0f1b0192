//! Failures of the store, for callers.

use flashsale_errors::Failure;

pub(super) fn store(error: sqlx::Error) -> Failure {
    Failure::store("postgres", error)
}
