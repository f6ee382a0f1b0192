//! What a Redis server is called.

use std::fmt;

/// One server's data, by name: `<run id>/<replication id>`.
///
/// The run id changes with each start. The replication id changes when a server is promoted, and
/// when it is made a replica and gets another server's data: a server that is promoted again after
/// that has its old run id, its cached scripts and other data, but another name. It also changes,
/// with no data lost, when a first replica is attached to a server that has kept no backlog for
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName {
    pub(crate) run_id: String,
    pub(crate) replication_id: String,
}

impl ServerName {
    /// The name of a server that says this of itself.
    pub fn new(run_id: impl Into<String>, replication_id: impl Into<String>) -> Self {
        Self { run_id: run_id.into(), replication_id: replication_id.into() }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run_id, self.replication_id)
    }
}
