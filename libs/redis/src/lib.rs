//! How the services reach Redis: one client set-up with every bound set, and scripts that run on no
//! other server than the one they are made out for.
//!
//! **The fence.** A script's text names the server it is made out for ([`ServerName`]), so that its
//! SHA belongs to one server's data. The script cache is neither persisted nor replicated (Redis
//! 7.0 and later): a server that was restarted, or promoted from a replica, answers `NOSCRIPT`. One
//! that was demoted and promoted again has the script, and the script finds another replication id
//! there. Either way the script did nothing; the server's name is read again and the script made
//! out for it. A script compares its `SERVER` with the one its keys were loaded on and treats the
//! keys of another server as closed.
//!
//! **Where a script runs.** On the server that has its first key: the only one, the one that
//! Sentinels name, or in a cluster the master of the key's slot. A name is kept for each of them.

mod check;
mod error;
mod nodes;
mod outages;
mod script;
mod sentinels;
mod server;
mod store;
mod url;

pub use check::{CheckError, Unfit};
pub use error::{EvalError, RedisError};
pub use script::Script;
use secrecy::SecretString;
use serde::Deserialize;
pub use server::ServerName;
pub use store::{Answered, Store};

/// The defaults of `[redis]`.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The `[redis]` section of a service's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://host:port` for one server;
    /// `redis-sentinel://host:port?node=host:port&sentinelServiceName=name` for the one that these
    /// Sentinels name; `redis-cluster://host:port?node=host:port` for a cluster, of which any nodes
    /// are given. `rediss…` for TLS.
    pub url: SecretString,
    /// The authorities that may sign the certificates of the servers and Sentinels, PEM. Empty: the
    /// public ones.
    pub ca_file: String,
    /// The certificate that this service shows, PEM. Empty: none.
    pub cert_file: String,
    /// Its private key, PEM. Empty: none.
    pub key_file: String,
    /// Whether servers and Sentinels may be on other machines without TLS.
    pub allow_plaintext: bool,
    /// Connections this process keeps.
    pub connections: usize,
    /// How long a command may take before its outcome counts as unknown.
    pub command_timeout_ms: u64,
    /// Commands that may wait for the server; more are refused at once.
    pub max_queue: usize,
}

impl RedisConfig {
    /// The defaults, at `url`.
    #[allow(clippy::expect_used)] // They are compiled in, and the services' tests load them.
    pub fn at(url: impl Into<String>) -> Self {
        #[derive(Deserialize)]
        struct Defaults {
            redis: RedisConfig,
        }
        let defaults: Defaults = toml::from_str(DEFAULTS).expect("they have every key");
        Self { url: SecretString::from(url.into()), ..defaults.redis }
    }

    /// What is wrong with the section, each as (key, problem).
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = self.connection_problems();
        for (key, is_zero) in [
            ("connections", self.connections == 0),
            ("command_timeout_ms", self.command_timeout_ms == 0),
            ("max_queue", self.max_queue == 0),
        ] {
            if is_zero {
                problems.push((format!("redis.{key}"), "must be above 0".to_owned()));
            }
        }
        problems
    }
}
