//! The `[telemetry]` section.

use serde::Deserialize;

/// The defaults of `[telemetry]`.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, with `trace_id` and `span_id`.
    Json,
}

/// The `[telemetry]` section of a service's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How a log line looks.
    pub log_format: LogFormat,
    /// What is logged, as in `info,flashsale_inventory=debug`.
    pub log_filter: String,
    /// Where traces and metrics are sent over OTLP/gRPC, as in `http://collector:4317`. Empty:
    /// nowhere.
    pub otlp_endpoint: String,
    /// The share of traces begun here that is recorded, 0 to 1. A caller's own decision is
    /// followed.
    pub sample_ratio: f64,
}

impl Default for TelemetryConfig {
    #[allow(clippy::expect_used)] // They are compiled in, and the services' tests load them.
    fn default() -> Self {
        #[derive(Deserialize)]
        struct Defaults {
            telemetry: TelemetryConfig,
        }
        let defaults: Defaults = toml::from_str(DEFAULTS).expect("they have every key");
        defaults.telemetry
    }
}

impl TelemetryConfig {
    /// What is wrong with the section, each as (key, problem).
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log_filter) {
            problems
                .push(("telemetry.log_filter", format!("is not a filter such as `info`: {error}")));
        }
        if !self.otlp_endpoint.is_empty() {
            let endpoint = self.otlp_endpoint.parse::<http::Uri>().ok();
            if endpoint.as_ref().and_then(http::Uri::scheme_str) != Some("http") {
                problems.push((
                    "telemetry.otlp_endpoint",
                    "must be empty or an http URL such as http://collector:4317".to_owned(),
                ));
            }
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            problems.push(("telemetry.sample_ratio", "must be between 0 and 1".to_owned()));
        }
        problems
    }
}
