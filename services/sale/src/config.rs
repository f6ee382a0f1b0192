//! The configuration. `config.default.toml` explains every value.

use std::time::Duration;

use flashsale_catalogue::MAX_BYTES;
use flashsale_pg::PgConfig;
use flashsale_service::{AccessConfig, CommonConfig, PeerConfig, Problem, ServerConfig, Validate};
use flashsale_telemetry::TelemetryConfig;
use serde::Deserialize;

use crate::{
    domain::Capacity,
    grpc::UploadBounds,
    tasks::{propagation::PropagationPace, reports::ReportPace, schedule::SchedulePace},
};

/// Prepared earlier, a sale could hardly be changed any more.
const LONGEST_LEAD_MS: u64 = 24 * 60 * 60 * 1_000;

/// The configuration of the sale service.
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
    /// `[peers]`.
    pub peers: PeersConfig,
    /// `[sale]`.
    pub sale: SaleConfig,
    /// `[schedule]`.
    pub schedule: ScheduleConfig,
    /// `[doctor]`.
    pub doctor: DoctorConfig,
    /// `[import]`.
    pub import: ImportConfig,
}

/// The services that sale calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersConfig {
    /// `[peers.inventory]`.
    pub inventory: PeerConfig,
    /// `[peers.waiting_room]`.
    pub waiting_room: PeerConfig,
    /// `[peers.payment]`.
    pub payment: PeerConfig,
}

/// The `[sale]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaleConfig {
    /// Between two rounds of the background tasks.
    pub propagate_interval_ms: u64,
    /// The longest pause between two attempts to tell of the same change.
    pub propagate_max_backoff_ms: u64,
    /// Sales told of at once.
    pub propagations_at_once: usize,
    /// Between two rounds of looking for ended sales that are not final yet.
    pub report_interval_ms: u64,
    /// The longest pause between two attempts at one of them.
    pub report_max_backoff_ms: u64,
    /// Between two readings of the watched sales.
    pub watch_interval_ms: u64,
    /// The most watchers at once.
    pub max_watchers: usize,
}

/// The `[schedule]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Between two rounds of looking for sales that the clock changes.
    pub interval_ms: u64,
    /// How long before its start a sale is prepared at least.
    pub prepare_lead_ms: u64,
}

impl ScheduleConfig {
    pub(crate) fn pace(&self) -> SchedulePace {
        SchedulePace {
            interval: Duration::from_millis(self.interval_ms),
            lead: Duration::from_millis(self.prepare_lead_ms),
        }
    }
}

/// The `[import]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportConfig {
    /// The largest file of an import that is sent in parts.
    pub max_bytes: usize,
    /// The longest that a client may take for the next part.
    pub part_ms: u64,
}

impl ImportConfig {
    pub(crate) fn uploads(&self) -> UploadBounds {
        UploadBounds { max_bytes: self.max_bytes, part: Duration::from_millis(self.part_ms) }
    }
}

impl SaleConfig {
    pub(crate) fn propagation_pace(&self) -> PropagationPace {
        PropagationPace {
            interval: self.propagate_interval(),
            max_backoff: Duration::from_millis(self.propagate_max_backoff_ms),
            at_once: self.propagations_at_once,
        }
    }

    pub(crate) fn report_pace(&self) -> ReportPace {
        ReportPace {
            interval: Duration::from_millis(self.report_interval_ms),
            max_backoff: Duration::from_millis(self.report_max_backoff_ms),
        }
    }

    pub(crate) fn propagate_interval(&self) -> Duration {
        Duration::from_millis(self.propagate_interval_ms)
    }

    pub(crate) fn watch_interval(&self) -> Duration {
        Duration::from_millis(self.watch_interval_ms)
    }
}

/// The `[doctor]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoctorConfig {
    /// `[doctor.capacity]`.
    pub capacity: CapacityConfig,
}

/// The `[doctor.capacity]` section: what the whole deployment serves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityConfig {
    /// Calls of `Join`.
    pub join_per_second: i64,
    /// Calls of `Reserve`.
    pub reserve_per_second: i64,
    /// Calls of `PlaceOrder`.
    pub place_order_per_second: i64,
}

impl DoctorConfig {
    pub(crate) fn capacity(&self) -> Capacity {
        Capacity {
            join: self.capacity.join_per_second,
            reserve: self.capacity.reserve_per_second,
            place_order: self.capacity.place_order_per_second,
        }
    }
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
        problems.extend(self.peers.inventory.problems("inventory"));
        problems.extend(self.peers.waiting_room.problems("waiting_room"));
        problems.extend(self.peers.payment.problems("payment"));
        let capacity = &self.doctor.capacity;
        for (key, per_second) in [
            ("doctor.capacity.join_per_second", capacity.join_per_second),
            ("doctor.capacity.reserve_per_second", capacity.reserve_per_second),
            ("doctor.capacity.place_order_per_second", capacity.place_order_per_second),
        ] {
            if per_second < 1 {
                problems.push(Problem::new(key, "must be above 0"));
            }
        }
        let sale = &self.sale;
        for (key, is_zero) in [
            ("sale.propagate_interval_ms", sale.propagate_interval_ms == 0),
            ("sale.propagations_at_once", sale.propagations_at_once == 0),
            ("sale.report_interval_ms", sale.report_interval_ms == 0),
            ("sale.watch_interval_ms", sale.watch_interval_ms == 0),
            ("sale.max_watchers", sale.max_watchers == 0),
            ("schedule.interval_ms", self.schedule.interval_ms == 0),
            ("import.part_ms", self.import.part_ms == 0),
        ] {
            if is_zero {
                problems.push(Problem::new(key, "must be above 0"));
            }
        }
        if self.schedule.prepare_lead_ms > LONGEST_LEAD_MS {
            problems.push(Problem::new("schedule.prepare_lead_ms", "must be at most 24 hours"));
        }
        if !(1..=MAX_BYTES).contains(&self.import.max_bytes) {
            problems.push(Problem::new(
                "import.max_bytes",
                format!("must be 1 to {MAX_BYTES}, which is the most that is read"),
            ));
        }
        if sale.propagate_max_backoff_ms < sale.propagate_interval_ms {
            problems.push(Problem::new(
                "sale.propagate_max_backoff_ms",
                "must not be below sale.propagate_interval_ms",
            ));
        }
        if sale.report_max_backoff_ms < sale.report_interval_ms {
            problems.push(Problem::new(
                "sale.report_max_backoff_ms",
                "must not be below sale.report_interval_ms",
            ));
        }
        if u32::try_from(sale.propagations_at_once)
            .map_or(true, |at_once| at_once >= self.postgres.max_connections)
        {
            problems.push(Problem::new(
                "sale.propagations_at_once",
                "must be below postgres.max_connections, or nothing is left for calls",
            ));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flashsale_service::config::{ConfigError, load_from};

    use super::*;
    use crate::DEFAULTS;

    #[test]
    fn every_wrong_key_is_named() {
        let open = std::iter::once(("FLASHSALE_ACCESS__MODE".to_owned(), "off".to_owned()));
        assert!(load_from::<Config>("sale", DEFAULTS, None, open.clone()).is_ok());
        let env = [
            ("FLASHSALE_SALE__PROPAGATIONS_AT_ONCE", "16"),
            ("FLASHSALE_SALE__MAX_WATCHERS", "0"),
            ("FLASHSALE_IMPORT__MAX_BYTES", "67108865"),
            ("FLASHSALE_PEERS__WAITING_ROOM__URL", "nowhere"),
            ("FLASHSALE_DOCTOR__CAPACITY__JOIN_PER_SECOND", "0"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter();
        let env = env.chain(open);
        let Err(ConfigError::Invalid(problems)) = load_from::<Config>("sale", DEFAULTS, None, env)
        else {
            panic!("four values are wrong");
        };
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "peers.waiting_room.url",
                "doctor.capacity.join_per_second",
                "sale.max_watchers",
                "import.max_bytes",
                "sale.propagations_at_once"
            ]
        );
    }
}
