//! What services are told through their environment.

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::grants;

/// The keys of the services' configuration that the tools set, as in `config.default.toml`. What
/// is `None` keeps its default; a service ignores the sections of others.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Settings {
    pub server: ServerSettings,
    pub access: AccessSettings,
    pub telemetry: TelemetrySettings,
    pub postgres: StoreSettings,
    pub redis: StoreSettings,
    #[serde(serialize_with = "nats_as_own")]
    pub nats: NatsSettings,
    pub peers: Peers,
    pub admission: AdmissionSettings,
    pub mail: MailSettings,
    pub payment: PaymentSettings,
    pub worker: WorkerSettings,
    pub relay: RelaySettings,
}

/// `[server]`. Its addresses and its ready file are set by [`Service`](super::Service).
#[derive(Debug, Clone, Default, Serialize)]
pub struct ServerSettings {
    pub drain_delay_ms: Option<u64>,
    pub tls_cert_file: Option<String>,
    pub tls_key_file: Option<String>,
    pub reflection: Option<bool>,
}

/// `[access]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AccessSettings {
    pub mode: Option<String>,
    pub keys_file: Option<String>,
    pub buyer_keys_file: Option<String>,
    pub client_ca_file: Option<String>,
    pub reload_ms: Option<u64>,
}

/// `[telemetry]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TelemetrySettings {
    pub log_filter: Option<String>,
}

/// `[postgres]` or `[redis]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StoreSettings {
    #[serde(serialize_with = "url_as_own")]
    pub url: Option<String>,
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
}

/// Whatever user the URL of a store has, each service connects as its own.
fn url_as_own<S: Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_deref().map(grants::as_own).serialize(serializer)
}

/// With credentials it is these that say who connects.
fn nats_as_own<S: Serializer>(nats: &NatsSettings, serializer: S) -> Result<S::Ok, S::Error> {
    let own = |url: &String| match &nats.credentials_file {
        Some(_) => url.clone(),
        None => grants::as_own(url),
    };
    NatsSettings { url: nats.url.as_ref().map(own), ..nats.clone() }.serialize(serializer)
}

/// `[nats]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NatsSettings {
    pub url: Option<String>,
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    pub credentials_file: Option<String>,
    pub replicas: Option<u64>,
    pub orders_max_bytes: Option<u64>,
}

/// `[peers]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Peers {
    pub waiting_room: Peer,
    pub inventory: Peer,
    pub checkout: Peer,
    pub payment: Peer,
}

/// `[peers.<service>]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Peer {
    pub url: Option<String>,
    pub timeout_ms: Option<u64>,
    pub key_file: Option<String>,
    pub ca_file: Option<String>,
    pub tls_cert_file: Option<String>,
    pub tls_key_file: Option<String>,
    pub reload_ms: Option<u64>,
}

impl Peer {
    /// The peer at `url`, with the default timeout.
    pub fn at(url: String) -> Self {
        Self { url: Some(url), ..Self::default() }
    }
}

/// `[admission]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AdmissionSettings {
    pub signing_keys_file: Option<String>,
    pub reload_ms: Option<u64>,
    pub ephemeral_keys: Option<bool>,
}

/// `[mail]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct MailSettings {
    pub smtp_url: Option<String>,
    pub timeout_ms: Option<u64>,
}

/// `[payment]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PaymentSettings {
    pub stripe_base_url: Option<String>,
    pub stripe_secret_key: Option<String>,
    pub webhook_secrets: Option<String>,
    pub return_url: Option<String>,
    pub card_retry_ms: Option<u64>,
    pub stripe_version: Option<String>,
    pub global_budget_per_s: Option<u64>,
    pub endpoint_budget_per_s: Option<u64>,
    pub budget_wait_ms: Option<u64>,
    pub retry_base_ms: Option<u64>,
    pub retry_cap_ms: Option<u64>,
    pub patience_ms: Option<u64>,
    pub wait_limit_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub lease_ms: Option<u64>,
    pub reconcile_every_ms: Option<u64>,
    pub reconcile_after_ms: Option<u64>,
    pub compare_every_ms: Option<u64>,
    pub breaker: BreakerSettings,
}

/// `[payment.breaker]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BreakerSettings {
    pub min_calls: Option<u64>,
    pub open_ms: Option<u64>,
}

/// `[worker]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WorkerSettings {
    pub claim_batch: Option<u64>,
    pub carry_batch: Option<u64>,
    pub lease_ms: Option<u64>,
    pub retry_ms: Option<u64>,
    pub retry_ceiling_ms: Option<u64>,
    pub purge_messages: Option<u64>,
    pub purge_interval_ms: Option<u64>,
}

/// `[relay]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RelaySettings {
    pub poll_ms: Option<u64>,
    pub republish_after_ms: Option<u64>,
}

impl Peers {
    /// Has every peer called with the key in this file ([`KeyFolder::key_file`]).
    ///
    /// [`KeyFolder::key_file`]: crate::keys::KeyFolder::key_file
    #[must_use]
    pub fn with_key_file(mut self, file: &str) -> Self {
        for peer in
            [&mut self.waiting_room, &mut self.inventory, &mut self.checkout, &mut self.payment]
        {
            peer.key_file = Some(file.to_owned());
        }
        self
    }
}

impl Settings {
    /// The variables that say this to a service: `FLASHSALE_WORKER__LEASE_MS` and so on.
    ///
    /// # Errors
    /// None that can happen: every field is a text, a number or a truth.
    pub fn to_env(&self) -> serde_json::Result<Vec<(String, String)>> {
        let mut env = Vec::new();
        flatten("FLASHSALE_", &serde_json::to_value(self)?, &mut env);
        Ok(env)
    }
}

/// Adds each value under `key`, which ends where the next name goes.
fn flatten(key: &str, value: &Value, env: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let separator = if value.is_object() { "__" } else { "" };
                flatten(&format!("{key}{}{separator}", name.to_uppercase()), value, env);
            }
        }
        Value::Null => {}
        Value::String(text) => env.push((key.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            env.push((key.to_owned(), value.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_set_becomes_the_environment() {
        let settings = Settings {
            peers: Peers { waiting_room: Peer::at("http://w".to_owned()), ..Peers::default() },
            admission: AdmissionSettings { ephemeral_keys: Some(true), ..Default::default() },
            worker: WorkerSettings { lease_ms: Some(4_000), ..WorkerSettings::default() },
            ..Settings::default()
        };
        let mut env = settings.to_env().unwrap();
        env.sort();
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            env,
            [
                set("FLASHSALE_ADMISSION__EPHEMERAL_KEYS", "true"),
                set("FLASHSALE_PEERS__WAITING_ROOM__URL", "http://w"),
                set("FLASHSALE_WORKER__LEASE_MS", "4000"),
            ]
        );
    }
}
