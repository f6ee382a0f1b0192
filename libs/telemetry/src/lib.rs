//! Logs, traces and metrics of one process, and the trace context that travels between processes.
//!
//! A process has one log and one set of metrics whatever it hosts: [`init`] sets them up once,
//! before anything else. Metrics also work without it (in tests), then with Prometheus only.

mod config;
mod json;
mod metrics;
pub mod propagate;

pub use config::{DEFAULTS, LogFormat, TelemetryConfig};
pub use metrics::{Snapshot, StoresUp, meter, render_metrics};

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::LevelFilter, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Links one span may have: a batch of claims has one to each of its orders, and batches are as
/// large as this.
const MAX_LINKS: u32 = 2_000;

/// How long one export to the collector, and the flush at the end, may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not follow `tracing_subscriber::EnvFilter`.
    #[error("telemetry.log_filter cannot be read: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter to the collector cannot be built.
    #[error("telemetry.otlp_endpoint cannot be used: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The Prometheus exporter cannot be built.
    #[error("the Prometheus exporter cannot be built: {0}")]
    Prometheus(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// A process has one telemetry.
    #[error("telemetry of this process is already set up")]
    Twice,
}

/// The telemetry of the process; keep it until the end and then call [`Telemetry::shutdown`].
#[derive(Debug)]
pub struct Telemetry {
    tracer_provider: SdkTracerProvider,
}

/// Sets up the log on standard error, the traces and the metrics of this process. With an OTLP
/// endpoint, call it inside a Tokio runtime.
///
/// # Errors
/// When the configuration cannot be used, or on a second call in the same process.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&config.log_filter)?;
    let resource = Resource::builder().with_service_name(service).build();
    let endpoint = Some(config.otlp_endpoint.as_str()).filter(|endpoint| !endpoint.is_empty());

    metrics::init(resource.clone(), endpoint)?;

    // Without a collector nothing is recorded, but every request still has a trace id: for the log,
    // and for those we call.
    let own_sampler = if endpoint.is_some() {
        Sampler::TraceIdRatioBased(config.sample_ratio)
    } else {
        Sampler::AlwaysOff
    };
    let mut tracer_provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_max_links_per_span(MAX_LINKS)
        .with_sampler(Sampler::ParentBased(Box::new(own_sampler)));
    if let Some(endpoint) = endpoint {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        tracer_provider = tracer_provider.with_batch_exporter(exporter);
    }
    let tracer_provider = tracer_provider.build();

    let log = match config.log_format {
        LogFormat::Text => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .event_format(json::Json)
            .fmt_fields(json::NoFields)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    // What every span would otherwise carry and pay for: the time it was not entered, its line in
    // our source, its thread.
    let traces = tracing_opentelemetry::layer()
        .with_tracked_inactivity(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracer(tracer_provider.tracer("flashsale"));
    tracing_subscriber::registry()
        // Not under the log's filter: a quiet log must not cut the traces that pass through here.
        .with(traces.with_filter(LevelFilter::INFO))
        .with(log.with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;

    Ok(Telemetry { tracer_provider })
}

impl Telemetry {
    /// The metrics in Prometheus' text format.
    pub fn prometheus_text(&self) -> String {
        render_metrics()
    }

    /// Sends what is not sent yet, for at most a few seconds.
    pub fn shutdown(self) {
        if let Err(error) = self.tracer_provider.shutdown_with_timeout(EXPORT_TIMEOUT) {
            tracing::warn!(%error, "the last traces were not exported");
        }
        metrics::shutdown();
    }
}
