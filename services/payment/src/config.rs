//! The configuration. `config.default.toml` explains every value.

use std::{collections::HashMap, time::Duration};

use flashsale_breaker::BreakerConfig;
use flashsale_connect::is_loopback;
use flashsale_pg::PgConfig;
use flashsale_queue::NatsConfig;
use flashsale_service::{AccessConfig, CommonConfig, Problem, ServerConfig, Validate};
use flashsale_telemetry::TelemetryConfig;
use http::Uri;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::{
    domain::CardRules,
    peers::stripe::{Common, Endpoint},
};

/// The most calls to Stripe in one lease of a payment, each with its wait for a turn.
const CALLS_PER_LEASE: u64 = 4;
/// What Stripe allows a live key a second, at all endpoints together.
const LIVE_PER_S: f64 = 100.0;
/// What Stripe allows a key of a sandbox.
const SANDBOX_PER_S: f64 = 25.0;
/// The longest a payment may wait, for its buyer or for Stripe: 30 days.
const LONGEST_CLOCK_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// The most cards of one order: each is an attempt at the provider.
const MOST_CARDS: i32 = 20;
/// From this version on `allowed_payment_method_types` stands in place of `payment_method_types`
/// (docs.stripe.com/changelog/dahlia/2026-07-29).
const LAST_WITH_METHOD_TYPES: &str = "2026-07-29";
/// A Stripe endpoint that takes more than this does not exist.
pub(crate) const MAX_BUDGET_PER_S: f64 = 10_000.0;

/// The whole configuration.
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
    /// `[payment]`.
    pub payment: PaymentConfig,
}

/// The `[payment]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentConfig {
    /// The base URL of Stripe's API.
    pub stripe_base_url: String,
    /// The secret key.
    pub stripe_secret_key: SecretString,
    /// Where buyers come back to from their bank; empty for none.
    pub return_url: String,
    /// What stands behind the shop's name on card statements; empty for nothing.
    pub statement_suffix: String,
    /// The version of Stripe's API; empty for the newest that is known.
    pub stripe_version: String,
    /// The webhook endpoint's signing secrets, with commas between.
    pub webhook_secrets: SecretString,
    /// How long one call may take on the wire.
    pub timeout_ms: u64,
    /// Calls a second at all endpoints together, for all instances; 0 for what Stripe allows a key
    /// of this kind.
    pub global_budget_per_s: f64,
    /// Calls a second at each endpoint, for all instances together.
    pub endpoint_budget_per_s: f64,
    /// Calls a second at the endpoints that differ, by name.
    #[serde(default)]
    pub endpoint_budgets: HashMap<String, f64>,
    /// How long a call waits for its turn.
    pub budget_wait_ms: u64,
    /// Payments worked on at a time, and calls under way.
    pub max_in_flight: usize,
    /// Refunds worked on at a time.
    pub max_refunds_in_flight: usize,
    /// How often the provider's list of events is read for those that were not sent to us.
    pub compare_every_ms: u64,
    /// The most refunds in an hour of money that no payment names.
    pub auto_refunds_per_hour: u32,
    /// The first wait before another try.
    pub retry_base_ms: u64,
    /// The longest wait before another try.
    pub retry_cap_ms: u64,
    /// How long a buyer may take to authenticate.
    pub patience_ms: u64,
    /// The most cards of one order.
    pub card_attempts: i32,
    /// How long after the first refusal another card is taken.
    pub card_retry_ms: u64,
    /// How long a payment may wait for the provider.
    pub wait_limit_ms: u64,
    /// How long a payment is leased.
    pub lease_ms: u64,
    /// How often due payments are looked for.
    pub poll_ms: u64,
    /// How often open payments that were left alone are looked for.
    pub reconcile_every_ms: u64,
    /// How long an open payment may be left alone.
    pub reconcile_after_ms: u64,
    /// `[payment.breaker]`.
    pub breaker: BreakerConfig,
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
        problems.extend(self.payment.problems());
        problems
    }
}

impl PaymentConfig {
    /// The signing secrets, one by one.
    pub fn secrets(&self) -> Vec<SecretString> {
        let secrets = self.webhook_secrets.expose_secret().split(',').map(str::trim);
        secrets.filter(|secret| !secret.is_empty()).map(SecretString::from).collect()
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.address_problems();
        for (key, value) in [
            ("timeout_ms", self.timeout_ms),
            ("budget_wait_ms", self.budget_wait_ms),
            ("retry_base_ms", self.retry_base_ms),
            ("poll_ms", self.poll_ms),
            ("reconcile_every_ms", self.reconcile_every_ms),
            ("compare_every_ms", self.compare_every_ms),
        ] {
            if value == 0 {
                problems.push(problem(key, "must be above 0"));
            }
        }
        for (key, value) in
            [("patience_ms", self.patience_ms), ("wait_limit_ms", self.wait_limit_ms)]
        {
            if !(1..=LONGEST_CLOCK_MS).contains(&value) {
                problems.push(problem(key, "must be above 0 and at most 30 days"));
            }
        }
        if !(1..=MOST_CARDS).contains(&self.card_attempts) {
            problems.push(problem("card_attempts", format!("must be 1 to {MOST_CARDS}")));
        }
        if self.card_retry_ms > LONGEST_CLOCK_MS {
            problems.push(problem("card_retry_ms", "must be at most 30 days; 0 for never"));
        }
        for (key, value) in [
            ("max_in_flight", self.max_in_flight),
            ("max_refunds_in_flight", self.max_refunds_in_flight),
        ] {
            if !(1..=10_000).contains(&value) {
                problems.push(problem(key, "must be 1 to 10000"));
            }
        }
        let fits = |rate: f64| rate > 0.0 && rate <= MAX_BUDGET_PER_S;
        if !fits(self.endpoint_budget_per_s) {
            problems.push(problem("endpoint_budget_per_s", "must be above 0 and at most 10000"));
        }
        if self.global_budget_per_s != 0.0 && !fits(self.global_budget_per_s) {
            let what = "must be 0, for what Stripe allows, or above 0 and at most 10000";
            problems.push(problem("global_budget_per_s", what));
        }
        for (endpoint, rate) in &self.endpoint_budgets {
            let key = format!("endpoint_budgets.{endpoint}");
            if !Endpoint::ALL.iter().any(|known| known.as_str() == endpoint) {
                let known = Endpoint::ALL.map(Endpoint::as_str).join(", ");
                problems.push(problem(&key, format!("is no endpoint; there are {known}")));
            } else if !fits(*rate) {
                problems.push(problem(&key, "must be above 0 and at most 10000"));
            }
        }
        if self.retry_cap_ms < self.retry_base_ms {
            problems.push(problem("retry_cap_ms", "must be at least payment.retry_base_ms"));
        }
        let longest = CALLS_PER_LEASE * (self.timeout_ms + self.budget_wait_ms);
        if self.lease_ms < longest {
            let what = format!(
                "must be at least {longest}: {CALLS_PER_LEASE} calls, each of payment.budget_wait_ms + \
                 payment.timeout_ms"
            );
            problems.push(problem("lease_ms", what));
        }
        if self.reconcile_after_ms < self.lease_ms {
            problems.push(problem("reconcile_after_ms", "must be at least payment.lease_ms"));
        }
        for (key, what) in self.breaker.problems() {
            problems.push(Problem::new(format!("payment.breaker.{key}"), what));
        }
        problems
    }

    /// What all requests to Stripe have in common.
    pub fn common(&self) -> Common {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Common {
            return_url: some(&self.return_url),
            statement_suffix: some(&self.statement_suffix),
            has_method_types: self.version().as_str() < LAST_WITH_METHOD_TYPES,
        }
    }

    /// The version of Stripe's API that is spoken.
    pub fn version(&self) -> String {
        match self.stripe_version.as_str() {
            "" => stripe_client_core::VERSION.to_string(),
            version => version.to_owned(),
        }
    }

    /// How often, and for how long, another card may be tried.
    pub fn cards(&self) -> CardRules {
        CardRules {
            attempts: self.card_attempts,
            window: Duration::from_millis(self.card_retry_ms),
        }
    }

    /// Calls a second at all endpoints together.
    pub fn all_per_s(&self) -> f64 {
        if self.global_budget_per_s == 0.0 { self.stripe_per_s() } else { self.global_budget_per_s }
    }

    /// What Stripe allows a key of this kind a second, at all endpoints together
    /// (docs.stripe.com/rate-limits).
    pub fn stripe_per_s(&self) -> f64 {
        if self.is_live() { LIVE_PER_S } else { SANDBOX_PER_S }
    }

    /// Whether the key moves real money.
    pub fn is_live(&self) -> bool {
        let key = self.stripe_secret_key.expose_secret();
        key.starts_with("sk_live_") || key.starts_with("rk_live_")
    }

    /// Where the secret key goes, and whether it may.
    fn address_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let key = self.stripe_secret_key.expose_secret();
        let live = self.is_live();
        let test = key.starts_with("sk_test_") || key.starts_with("rk_test_");
        if key.is_empty() {
            problems.push(problem("stripe_secret_key", "is not set; there is no default"));
        } else if !(live || test) || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = "must be a secret key: sk_test_…, sk_live_…, rk_test_… or rk_live_…";
            problems.push(problem("stripe_secret_key", what));
        }
        let url = self.stripe_base_url.parse::<Uri>().ok();
        let host = url.as_ref().and_then(Uri::host);
        match (url.as_ref().and_then(Uri::scheme_str), host) {
            (Some("https"), Some(_)) => {}
            (Some("http"), Some(_)) if live => {
                let what = "must begin with https:// for a live key, which would otherwise travel in the open";
                problems.push(problem("stripe_base_url", what));
            }
            (Some("http"), Some(host)) if is_loopback(host) => {}
            (Some("http"), Some(_)) => {
                let what = "must begin with https://, but for an address of this machine";
                problems.push(problem("stripe_base_url", what));
            }
            _ => {
                problems.push(problem(
                    "stripe_base_url",
                    "must be a URL such as https://api.stripe.com",
                ));
            }
        }
        let path = url.as_ref().map_or("", Uri::path);
        if !matches!(path, "" | "/") {
            problems.push(problem("stripe_base_url", "must have no path: /v1 is added to it"));
        }
        let back = self.return_url.parse::<Uri>().ok();
        let returns =
            match (back.as_ref().and_then(Uri::scheme_str), back.as_ref().and_then(Uri::host)) {
                (Some("https"), Some(_)) => true,
                (Some("http"), Some(host)) => !live && is_loopback(host),
                _ => self.return_url.is_empty(),
            };
        if !returns {
            let what = "must be empty or a URL of the shop's that begins with https://";
            problems.push(problem("return_url", what));
        }
        if let Some(what) = suffix_problem(&self.statement_suffix) {
            problems.push(problem("statement_suffix", what));
        }
        if !self.stripe_version.is_empty() && !is_version(&self.stripe_version) {
            let what = "must be empty or a version such as 2026-06-24 or 2026-09-30.endive";
            problems.push(problem("stripe_version", what));
        }
        if live && self.secrets().is_empty() {
            let what =
                "must be set for a live key: events are how late outcomes are learnt in time";
            problems.push(problem("webhook_secrets", what));
        }
        problems
    }
}

/// What is wrong with a statement's suffix
/// (docs.stripe.com/get-started/account/statement-descriptors).
fn suffix_problem(suffix: &str) -> Option<&'static str> {
    let letter = suffix.chars().any(|c| c.is_ascii_alphabetic());
    let printable = suffix.chars().all(|c| (' '..='~').contains(&c) && !"<>\\'\"*".contains(c));
    let fits = suffix.len() <= 22 && letter && printable && suffix.trim() == suffix;
    (!suffix.is_empty() && !fits).then_some(
        "must be empty or 1 to 22 printable characters without <, >, \\, ', \" and *, one of them a letter",
    )
}

/// Whether a text is a date, which a name may follow.
fn is_version(version: &str) -> bool {
    let (date, name) = version.split_once('.').unwrap_or((version, "x"));
    let shape: String = date.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00" && !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase())
}

fn problem(key: &str, what: impl Into<String>) -> Problem {
    Problem::new(format!("payment.{key}"), what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::BTreeMap;

    use flashsale_service::config::{ConfigError, load_from};

    use super::*;
    use crate::DEFAULTS;

    fn load(env: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
        let env = env.iter().map(|(key, value)| (format!("FLASHSALE_{key}"), (*value).to_owned()));
        let open = std::iter::once(("FLASHSALE_ACCESS__MODE".to_owned(), "off".to_owned()));
        load_from("payment", DEFAULTS, None, env.chain(open)).map_err(|error| match error {
            ConfigError::Invalid(problems) => problems,
            other @ (ConfigError::File { .. } | ConfigError::Defaults(_)) => panic!("{other}"),
        })
    }

    #[test]
    fn the_defaults_lack_only_the_key() {
        let problems = load(&[]).unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, ["payment.stripe_secret_key"]);
        assert_eq!(problems[0].variable(), "FLASHSALE_PAYMENT__STRIPE_SECRET_KEY");
        assert!(load(&[("PAYMENT__STRIPE_SECRET_KEY", "sk_test_1")]).is_ok());
    }

    #[test]
    fn each_bad_value_is_named() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("stripe_secret_key", &[("STRIPE_SECRET_KEY", "pk_test_1")]),
            ("stripe_secret_key", &[("STRIPE_SECRET_KEY", "sk_test_\n1")]),
            ("stripe_base_url", &[("STRIPE_BASE_URL", "http://api.stripe.com")]),
            ("stripe_base_url", &[("STRIPE_BASE_URL", "ftp://127.0.0.1")]),
            ("stripe_base_url", &[("STRIPE_BASE_URL", "https://api.stripe.com/v1")]),
            (
                "stripe_base_url",
                &[
                    ("STRIPE_SECRET_KEY", "sk_live_1"),
                    ("STRIPE_BASE_URL", "http://127.0.0.1:9"),
                    ("WEBHOOK_SECRETS", "whsec_1"),
                ],
            ),
            ("webhook_secrets", &[("STRIPE_SECRET_KEY", "rk_live_1")]),
            ("return_url", &[("RETURN_URL", "http://shop.example/paid")]),
            ("return_url", &[("RETURN_URL", "paid")]),
            ("statement_suffix", &[("STATEMENT_SUFFIX", "SALE*1")]),
            ("statement_suffix", &[("STATEMENT_SUFFIX", "2026")]),
            ("stripe_version", &[("STRIPE_VERSION", "latest")]),
            ("card_attempts", &[("CARD_ATTEMPTS", "0")]),
            ("card_retry_ms", &[("CARD_RETRY_MS", "999999999999999")]),
            ("timeout_ms", &[("TIMEOUT_MS", "0")]),
            ("compare_every_ms", &[("COMPARE_EVERY_MS", "0")]),
            ("patience_ms", &[("PATIENCE_MS", "0")]),
            ("wait_limit_ms", &[("WAIT_LIMIT_MS", "0")]),
            ("wait_limit_ms", &[("WAIT_LIMIT_MS", "999999999999999")]),
            ("endpoint_budget_per_s", &[("ENDPOINT_BUDGET_PER_S", "0.0")]),
            ("global_budget_per_s", &[("GLOBAL_BUDGET_PER_S", "-1.0")]),
            ("max_in_flight", &[("MAX_IN_FLIGHT", "0")]),
            ("retry_cap_ms", &[("RETRY_CAP_MS", "1")]),
            ("lease_ms", &[("LEASE_MS", "39999")]),
            ("reconcile_after_ms", &[("RECONCILE_AFTER_MS", "1000")]),
            ("breaker.failure_rate", &[("BREAKER__FAILURE_RATE", "2.0")]),
            ("breaker.probes", &[("BREAKER__PROBES", "0")]),
        ];
        for (key, env) in cases {
            let mut all = BTreeMap::from([("PAYMENT__STRIPE_SECRET_KEY".to_owned(), "sk_test_1")]);
            all.extend(env.iter().map(|(key, value)| (format!("PAYMENT__{key}"), *value)));
            let all: Vec<(&str, &str)> =
                all.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            let problems = load(&all).unwrap_err();
            let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
            assert_eq!(keys, [format!("payment.{key}")], "{env:?}");
        }
    }

    #[test]
    fn a_version_decides_how_cards_are_asked_for() {
        for (version, has_method_types) in
            [("", false), ("2026-06-24", true), ("2026-07-29.dahlia", false), ("2022-11-15", true)]
        {
            let env =
                [("PAYMENT__STRIPE_SECRET_KEY", "sk_test_1"), ("PAYMENT__STRIPE_VERSION", version)];
            let common = load(&env).unwrap().payment.common();
            assert_eq!(common.has_method_types, has_method_types, "{version}");
        }
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let config = load(&[
            ("PAYMENT__STRIPE_SECRET_KEY", "sk_test_hush"),
            ("PAYMENT__WEBHOOK_SECRETS", "whsec_hush, whsec_hush2"),
        ])
        .unwrap();
        assert_eq!(config.payment.secrets().len(), 2);
        assert!(!format!("{config:?} {:?}", config.payment.secrets()).contains("hush"));
    }
}
