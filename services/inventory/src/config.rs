//! The configuration.

use flashsale_pg::PgConfig;
use flashsale_queue::NatsConfig;
use flashsale_redis::RedisConfig;
use flashsale_service::{AccessConfig, CommonConfig, PeerConfig, Problem, ServerConfig, Validate};
use flashsale_telemetry::TelemetryConfig;
use serde::Deserialize;

/// What `config.default.toml` holds.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[access]`.
    pub access: AccessConfig,
    /// `[telemetry]`.
    pub telemetry: TelemetryConfig,
    /// `[postgres]`.
    pub postgres: PgConfig,
    /// `[redis]`.
    pub redis: RedisConfig,
    /// `[nats]`.
    pub nats: NatsConfig,
    /// `[peers.*]`.
    pub peers: Peers,
    /// `[inventory]`.
    pub inventory: InventoryConfig,
}

/// The services that inventory calls.
#[derive(Debug, Clone, Deserialize)]
pub struct Peers {
    /// For the keys of admissions.
    #[serde(rename = "waiting-room")]
    pub waiting_room: PeerConfig,
}

/// `[inventory]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InventoryConfig {
    /// How long a script may wait for its turn in the store; later it does nothing when its turn
    /// comes.
    pub script_timeout_ms: u64,
    /// How often the stores are compared for the current sales.
    pub reconcile_every_ms: u64,
    /// How often a watched stock is read.
    pub watch_every_ms: u64,
    /// How old the stock may be that callers who want all of it share, for each 1,000 skus.
    pub shared_reading_ms: u64,
    /// The most watchers of stock at a time.
    pub max_watchers: usize,
}

impl CommonConfig for Config {
    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn access(&self) -> &AccessConfig {
        &self.access
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

impl Validate for Config {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.server.problems();
        problems.extend(self.access.problems(&self.server));
        problems.extend(self.telemetry.problems().into_iter().map(Problem::from));
        problems.extend(self.postgres.problems().into_iter().map(Problem::from));
        problems.extend(self.nats.problems().into_iter().map(Problem::from));
        problems.extend(self.redis.problems().into_iter().map(Problem::from));
        problems.extend(self.peers.waiting_room.problems("waiting-room"));
        if self.inventory.script_timeout_ms == 0 {
            problems.push(Problem::new("inventory.script_timeout_ms", "must be above 0"));
        }
        if self.inventory.reconcile_every_ms < 1_000 {
            let problem = "must be at least 1000: each time everything of a sale is read";
            problems.push(Problem::new("inventory.reconcile_every_ms", problem));
        }
        if self.inventory.watch_every_ms < 50 {
            let problem = "must be at least 50: each time the whole stock is read";
            problems.push(Problem::new("inventory.watch_every_ms", problem));
        }
        if self.inventory.shared_reading_ms > 5_000 {
            let problem = "must be at most 5000: buyers are shown stock of that age";
            problems.push(Problem::new("inventory.shared_reading_ms", problem));
        }
        if self.inventory.max_watchers == 0 {
            problems.push(Problem::new("inventory.max_watchers", "must be above 0"));
        }
        problems
    }
}
