//! What can go wrong on the way to Redis, and what each failure says about whether the script ran.

use fred::error::{Error, ErrorKind};

/// Why the pool could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the Redis client cannot be set up: {0}")]
pub struct RedisError(pub(crate) String);

/// Why a script has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// No answer came: the script may or may not have run, or may still run until its own deadline.
    #[error("no answer from Redis; the outcome is unknown")]
    Timeout,
    /// The command was not sent, or sent to a server that no longer has its keys. Nothing was done.
    #[error("Redis cannot be reached")]
    Unavailable,
    /// The server is in a state in which it runs no scripts, or the keys are on their way to
    /// another one. Nothing was done.
    #[error("Redis runs no scripts at present: {0}")]
    Refusing(String),
    /// The server refused the script, or it failed: a fault of ours or of the server's set-up.
    #[error("Redis refused the script: {0}")]
    Other(String),
}

/// States of a server, not faults of a script: what such an answer begins with. A script that gets
/// one did nothing.
const SERVER_STATES: [&str; 11] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
];

impl From<Error> for EvalError {
    fn from(error: Error) -> Self {
        let details = error.details();
        let first = details.split_whitespace().next().unwrap_or_default();
        if SERVER_STATES.contains(&first) {
            return Self::Refusing(details.to_owned());
        }
        if never_sent(&error) {
            return Self::Unavailable;
        }
        if maybe_sent(&error) {
            return Self::Timeout;
        }
        match error.kind() {
            // A connection that broke may have carried the command there.
            ErrorKind::Timeout | ErrorKind::IO | ErrorKind::Canceled => Self::Timeout,
            ErrorKind::Backpressure | ErrorKind::Routing | ErrorKind::Sentinel => Self::Unavailable,
            // The driver has no server for the slot, and sent nothing.
            ErrorKind::Cluster => Self::Refusing(details.to_owned()),
            ErrorKind::Config
            | ErrorKind::Auth
            | ErrorKind::InvalidCommand
            | ErrorKind::InvalidArgument
            | ErrorKind::Url
            | ErrorKind::Protocol
            | ErrorKind::Tls
            | ErrorKind::Unknown
            | ErrorKind::Parse
            | ErrorKind::NotFound => Self::Other(details.to_owned()),
        }
    }
}

/// The driver had no connection to send the command on. It says so with a kind that means anything.
fn never_sent(error: &Error) -> bool {
    error.details().starts_with("Failed to route command")
}

/// The driver took the command back from a connection that broke, and found that it may not send it
/// again. It may have arrived.
fn maybe_sent(error: &Error) -> bool {
    error.details().starts_with("Too many failed write attempts")
}

/// The command did not run because it went, or would have gone, to the wrong server: another try
/// may find the right one.
pub(crate) fn astray(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Routing | ErrorKind::Cluster) || never_sent(error)
}

/// What a script answers that was made out for a server which is not this one any more.
pub(crate) const OTHER_SERVER: &str = "OTHERSERVER";

/// The script was made out for another server, and did nothing here: this one does not know it, or
/// has changed its name since.
pub(crate) fn is_of_another_server(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT") || error.details().starts_with(OTHER_SERVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: ErrorKind, details: &'static str) -> EvalError {
        Error::new(kind, details).into()
    }

    #[test]
    fn moved_keys_are_no_internal_error() {
        for details in [
            "MOVED 1 127.0.0.1:2",
            "ASK 1 127.0.0.1:2",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "CLUSTERDOWN The cluster is down",
        ] {
            for kind in [ErrorKind::Unknown, ErrorKind::Cluster] {
                assert_eq!(read(kind, details), EvalError::Refusing(details.to_owned()));
            }
        }
        assert_eq!(read(ErrorKind::Routing, "Too many redirections."), EvalError::Unavailable);
        assert_eq!(read(ErrorKind::Unknown, "Failed to route command."), EvalError::Unavailable);
    }

    #[test]
    fn command_of_a_broken_connection_may_have_run() {
        assert_eq!(read(ErrorKind::Unknown, "Too many failed write attempts."), EvalError::Timeout);
        assert_eq!(read(ErrorKind::IO, "Connection closed."), EvalError::Timeout);
    }

    #[test]
    fn a_script_over_several_slots_is_a_fault() {
        let details = "CROSSSLOT Keys in request don't hash to the same slot";
        assert_eq!(read(ErrorKind::Unknown, details), EvalError::Other(details.to_owned()));
    }
}
