//! The configuration of checkout; `config.default.toml` documents each value.

use flashsale_pg::PgConfig;
use flashsale_queue::NatsConfig;
use flashsale_service::{AccessConfig, CommonConfig, PeerConfig, Problem, ServerConfig, Validate};
use flashsale_telemetry::TelemetryConfig;
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[server]`.
    pub server: ServerConfig,
    /// `[access]`.
    pub access: AccessConfig,
    /// `[telemetry]`.
    pub telemetry: TelemetryConfig,
    /// `[postgres]`.
    pub postgres: PgConfig,
    /// `[nats]`.
    pub nats: NatsConfig,
    /// `[peers]`.
    pub peers: Peers,
    /// `[intake]`.
    pub intake: IntakeConfig,
    /// `[relay]`.
    pub relay: RelayConfig,
    /// `[watch]`.
    pub watch: WatchConfig,
}

/// The services checkout calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    pub inventory: PeerConfig,
    pub payment: PeerConfig,
}

/// When new orders are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntakeConfig {
    /// The most orders that may wait for their claim.
    pub max_backlog: u64,
    /// The longest wait of the oldest of them.
    pub max_claim_lag_ms: u64,
    /// How often the backlog is measured.
    pub measure_ms: u64,
    /// The most parked orders of one sale.
    pub max_parked: u32,
}

/// When placed orders are published again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// How often each sale is relayed.
    pub poll_ms: u64,
    /// The age from which a placed order without a record is published again.
    pub republish_after_ms: u64,
    /// Placed holds per page.
    pub batch: u32,
}

/// How orders are watched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// The most WatchOrder streams of this process.
    pub max_watchers: usize,
    /// How often all watched orders are compared with the record.
    pub sweep_ms: u64,
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
        problems.extend(self.peers.inventory.problems("inventory"));
        problems.extend(self.peers.payment.problems("payment"));
        for (key, value) in [
            ("intake.max_backlog", self.intake.max_backlog),
            ("intake.max_claim_lag_ms", self.intake.max_claim_lag_ms),
            ("intake.measure_ms", self.intake.measure_ms),
            ("intake.max_parked", u64::from(self.intake.max_parked)),
            ("relay.poll_ms", self.relay.poll_ms),
            ("watch.sweep_ms", self.watch.sweep_ms),
        ] {
            if value == 0 {
                problems.push(Problem::new(key, "must be above 0"));
            }
        }
        if !(1_000..=30_000).contains(&self.relay.republish_after_ms) {
            problems.push(Problem::new(
                "relay.republish_after_ms",
                "must be 1000 to 30000: an order must be in the queue within 30 seconds",
            ));
        }
        if !(1..=500).contains(&self.relay.batch) {
            problems.push(Problem::new("relay.batch", "must be 1 to 500"));
        }
        problems
    }
}
