//! Whose fault an error of Postgres is, and with that what the caller is told.

use flashsale_errors::{Failure, Reason};
use sqlx::Error;

/// Whose fault an error of Postgres is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Ours: a constraint is broken, a statement or a row is not what it should be. The same
    /// statement fails again.
    Ours,
    /// The condition's: Postgres cannot be reached, has no resources, shuts down, or aborted one
    /// transaction in favour of another. The same statement may succeed later.
    Condition,
}

/// Classes of SQLSTATE that tell of a condition of the server, its host or the way to it.
const CONDITION_CLASSES: [&str; 7] = [
    "08", // connection exception
    "28", // invalid authorization: credentials are being changed, or pg_hba.conf is wrong
    "40", // transaction rollback: serialization failure, deadlock
    "53", // insufficient resources
    "57", // operator intervention: shutdown, recovery, statement timeout
    "58", // system error: the server's disk
    "XX", // internal error of the server
];

/// Single SQLSTATEs that tell of a condition though most of their class do not.
const CONDITION_STATES: [&str; 7] = [
    "25006", // read-only transaction: a standby answers, as after a failover
    "25P03", // idle-in-transaction timeout: this process stood still
    "25P04", // transaction timeout
    "3D000", // the database does not exist, or not yet
    "55000", // the database accepts no connections
    "55006", // object in use
    "55P03", // lock not available
];

/// Classes of SQLSTATE that tell of the values written: data exceptions and constraints.
const CONTENT_CLASSES: [&str; 2] = ["22", "23"];

impl Fault {
    /// Whose fault `error` is. What is not known as a condition is ours: it must not be repeated
    /// for ever without a trace.
    pub fn of(error: &Error) -> Self {
        if let Some(error) = error.as_database_error() {
            return error.code().map_or(Self::Ours, |state| Self::of_state(&state));
        }
        let condition = matches!(
            error,
            Error::Io(_)
                | Error::Tls(_)
                | Error::Protocol(_)
                | Error::PoolTimedOut
                | Error::PoolClosed
                | Error::WorkerCrashed
                | Error::BeginFailed
        );
        if condition { Self::Condition } else { Self::Ours }
    }

    /// Whose fault an error with this SQLSTATE is.
    pub fn of_state(state: &str) -> Self {
        let condition = CONDITION_STATES.contains(&state) || is_of(state, &CONDITION_CLASSES);
        if condition { Self::Condition } else { Self::Ours }
    }

    /// What a caller is told of it.
    pub fn reason(self) -> Reason {
        match self {
            Self::Ours => Reason::Internal,
            Self::Condition => Reason::StoreUnavailable,
        }
    }
}

/// The SQLSTATE if Postgres refuses the values that were written (classes 22 and 23). Where they
/// come from outside, the rest of a batch can be written without them.
pub fn refused_content(error: &Error) -> Option<String> {
    let state = error.as_database_error()?.code()?;
    is_of(&state, &CONTENT_CLASSES).then(|| state.into_owned())
}

/// What the caller of a service is told of an error of its Postgres: `INTERNAL` if it is
/// [`Fault::Ours`], `STORE_UNAVAILABLE` with a delay until the next attempt if it is a condition.
/// The error itself goes to the log.
pub fn failure(error: Error) -> Failure {
    match Fault::of(&error) {
        Fault::Ours => Failure::internal(error),
        Fault::Condition => Failure::store("postgres", error),
    }
}

fn is_of(state: &str, classes: &[&str]) -> bool {
    classes.iter().any(|class| state.starts_with(class))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::{borrow::Cow, fmt, io};

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// An error of the server with this SQLSTATE.
    #[derive(Debug)]
    struct Answer(Option<&'static str>);

    impl fmt::Display for Answer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "SQLSTATE {:?}", self.0)
        }
    }

    impl std::error::Error for Answer {}

    impl DatabaseError for Answer {
        fn message(&self) -> &str {
            "refused"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            self.0.map(Cow::Borrowed)
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    fn answer(state: &'static str) -> Error {
        Error::Database(Box::new(Answer(Some(state))))
    }

    #[test]
    fn each_state_has_one_answer() {
        use Fault::{Condition, Ours};
        for (state, what, fault) in [
            ("08006", "connection failure", Condition),
            ("08P01", "protocol violation", Condition),
            ("0A000", "feature not supported", Ours),
            ("22001", "text too long", Ours),
            ("22P02", "invalid text representation", Ours),
            ("23502", "not null violation", Ours),
            ("23503", "foreign key violation", Ours),
            ("23505", "unique violation", Ours),
            ("23514", "check violation", Ours),
            ("25006", "read-only transaction", Condition),
            ("25P02", "statement in a failed transaction", Ours),
            ("25P03", "idle in a transaction for too long", Condition),
            ("28P01", "wrong password", Condition),
            ("3D000", "no such database", Condition),
            ("40001", "serialization failure", Condition),
            ("40P01", "deadlock", Condition),
            ("42501", "insufficient privilege", Ours),
            ("42703", "no such column", Ours),
            ("42P01", "no such table", Ours),
            ("53100", "disk full", Condition),
            ("53300", "too many connections", Condition),
            ("55000", "the database accepts no connections", Condition),
            ("55P03", "lock not available", Condition),
            ("57014", "statement timeout", Condition),
            ("57P01", "the server shuts down", Condition),
            ("57P03", "the server starts up", Condition),
            ("58030", "I/O error", Condition),
            ("P0001", "an exception of a function", Ours),
            ("XX000", "internal error", Condition),
        ] {
            assert_eq!(Fault::of(&answer(state)), fault, "{state}: {what}");
        }
        assert_eq!(Fault::of(&Error::Database(Box::new(Answer(None)))), Ours);
    }

    #[test]
    fn errors_without_a_state_have_one_answer() {
        use Fault::{Condition, Ours};
        for (error, fault) in [
            (Error::Io(io::ErrorKind::ConnectionReset.into()), Condition),
            (Error::Tls("no certificate".into()), Condition),
            (Error::Protocol("unexpected message".to_owned()), Condition),
            (Error::PoolTimedOut, Condition),
            (Error::PoolClosed, Condition),
            (Error::WorkerCrashed, Condition),
            (Error::BeginFailed, Condition),
            (Error::RowNotFound, Ours),
            (Error::Decode("no such state".into()), Ours),
            (Error::Encode("too long".into()), Ours),
            (Error::ColumnNotFound("state".to_owned()), Ours),
            (Error::Configuration("no URL".into()), Ours),
        ] {
            assert_eq!(Fault::of(&error), fault, "{error}");
        }
    }

    #[test]
    fn callers_wait_for_conditions_only() {
        for (state, reason) in [("23514", Reason::Internal), ("57P01", Reason::StoreUnavailable)] {
            assert_eq!(Fault::of_state(state).reason(), reason, "{state}");
            let failure = failure(answer(state));
            assert_eq!(failure.reason(), reason, "{state}");
            assert_eq!(failure.delay().is_some(), reason == Reason::StoreUnavailable, "{state}");
        }
    }

    #[test]
    fn content_is_refused_by_data_and_constraints() {
        for (state, refused) in
            [("22021", true), ("23514", true), ("42P01", false), ("40001", false)]
        {
            assert_eq!(refused_content(&answer(state)).is_some(), refused, "{state}");
        }
        assert_eq!(refused_content(&Error::PoolTimedOut), None);
    }
}
