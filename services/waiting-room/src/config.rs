//! The configuration of the waiting room; `config.default.toml` documents each value.

use flashsale_pg::PgConfig;
use flashsale_redis::RedisConfig;
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
    /// `[redis]`.
    pub redis: RedisConfig,
    /// `[peers]`.
    pub peers: Peers,
    /// `[admission]`.
    pub admission: AdmissionConfig,
    /// `[room]`.
    pub room: RoomConfig,
}

/// The services the waiting room calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    pub inventory: PeerConfig,
    pub checkout: PeerConfig,
}

/// The keys that sign tickets and admissions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmissionConfig {
    /// The file of the private JWK set; empty for none.
    pub signing_keys_file: String,
    /// Whether to generate a key at start if there is no file.
    pub ephemeral_keys: bool,
    /// How often the file is looked at again.
    pub reload_ms: u64,
    /// How long after its expiry an admission still verifies.
    pub leeway_ms: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomConfig {
    /// How often the head moves.
    pub tick_ms: u64,
    /// The time over which unused rate accumulates, at most.
    pub burst_ms: u32,
    /// Numbers reserved in one block.
    pub block: u32,
    /// How often the list of rooms is read.
    pub list_ms: u64,
    /// The most rooms that are ticked.
    pub max_rooms: u32,
    /// How often a room's stock is refreshed.
    pub stock_ms: u64,
    /// How often checkout is asked whether it accepts orders.
    pub intake_ms: u64,
    /// How long the last answer of inventory or checkout counts.
    pub unknown_ms: u64,
    /// The longest silence on the stream of a watched ticket.
    pub heartbeat_ms: u64,
    /// The most watched tickets of this process.
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
        problems.extend(self.redis.problems().into_iter().map(Problem::from));
        problems.extend(self.peers.inventory.problems("inventory"));
        problems.extend(self.peers.checkout.problems("checkout"));
        problems.extend(self.admission.problem());
        let room = &self.room;
        for (key, value, least, most) in [
            ("admission.reload_ms", self.admission.reload_ms, 1, 60_000),
            ("room.tick_ms", room.tick_ms, 10, 5_000),
            ("room.burst_ms", u64::from(room.burst_ms), 1, 10_000),
            ("room.block", u64::from(room.block), 1, 1_000_000),
            ("room.list_ms", room.list_ms, 10, 60_000),
            ("room.max_rooms", u64::from(room.max_rooms), 1, 100_000),
            ("room.stock_ms", room.stock_ms, 10, 60_000),
            ("room.intake_ms", room.intake_ms, 10, 60_000),
            ("room.unknown_ms", room.unknown_ms, 100, 300_000),
            ("room.heartbeat_ms", room.heartbeat_ms, 10, 10_000),
        ] {
            if !(least..=most).contains(&value) {
                problems.push(Problem::new(key, format!("must be {least} to {most}")));
            }
        }
        let slowest = room.stock_ms.max(room.intake_ms);
        if room.unknown_ms <= slowest {
            problems.push(Problem::new(
                "room.unknown_ms",
                format!(
                    "must be above {slowest}, the longer of room.stock_ms and room.intake_ms: an \
                     answer has to count until the next can be there"
                ),
            ));
        }
        if room.max_watchers == 0 {
            problems.push(Problem::new("room.max_watchers", "must be above 0"));
        }
        problems
    }
}

impl AdmissionConfig {
    fn problem(&self) -> Option<Problem> {
        let key = "admission.signing_keys_file";
        if self.signing_keys_file.is_empty() {
            return (!self.ephemeral_keys).then(|| {
                Problem::new(
                    key,
                    "must name a private JWK set with an Ed25519 key: without one nothing can be signed; for development \
                     admission.ephemeral_keys = true makes a key that is gone with the process",
                )
            });
        }
        (!std::path::Path::new(&self.signing_keys_file).is_file()).then(|| {
            Problem::new(key, format!("names {}, which is not a file", self.signing_keys_file))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flashsale_service::config::{ConfigError, load_from};

    use super::*;

    fn load(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let open = std::iter::once(("FLASHSALE_ACCESS__MODE".to_owned(), "off".to_owned()));
        load_from("waiting-room", crate::DEFAULTS, None, env.chain(open))
    }

    #[test]
    fn start_requires_a_signing_key() {
        let Err(ConfigError::Invalid(problems)) = load(&[]) else {
            panic!("started without a key")
        };
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(problem.key, "admission.signing_keys_file");
        assert!(problem.problem.contains("ephemeral_keys"), "{problem}");
        assert!(load(&[("FLASHSALE_ADMISSION__EPHEMERAL_KEYS", "true")]).is_ok());
    }

    #[test]
    fn out_of_range_values_are_named() {
        let refused = load(&[
            ("FLASHSALE_ADMISSION__SIGNING_KEYS_FILE", "/nowhere"),
            ("FLASHSALE_ROOM__TICK_MS", "0"),
            ("FLASHSALE_ROOM__BLOCK", "0"),
            ("FLASHSALE_ROOM__UNKNOWN_MS", "500"),
            ("FLASHSALE_ROOM__MAX_WATCHERS", "0"),
        ]);
        let Err(ConfigError::Invalid(problems)) = refused else { panic!("accepted") };
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        let expected = [
            "admission.signing_keys_file",
            "room.tick_ms",
            "room.block",
            "room.unknown_ms",
            "room.max_watchers",
        ];
        assert_eq!(keys, expected);
    }
}
