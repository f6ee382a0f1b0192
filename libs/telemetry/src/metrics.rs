//! The one meter provider of the process: read by Prometheus, and pushed over OTLP where a collector is configured.

use std::sync::OnceLock;

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use prometheus::{Registry, TextEncoder};

use crate::{EXPORT_TIMEOUT, TelemetryError};

/// What the process measures. Its registry is its own, not the one the `prometheus` crate shares between all libraries.
#[derive(Debug)]
struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
}

static METRICS: OnceLock<Metrics> = OnceLock::new();

impl Metrics {
    fn new(resource: Resource, otlp_endpoint: Option<&str>) -> Result<Self, TelemetryError> {
        let registry = Registry::new();
        let prometheus =
            opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
        let mut provider =
            SdkMeterProvider::builder().with_resource(resource).with_reader(prometheus);
        if let Some(endpoint) = otlp_endpoint {
            let exporter = opentelemetry_otlp::MetricExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_TIMEOUT)
                .build()?;
            provider = provider.with_reader(PeriodicReader::builder(exporter).build());
        }
        Ok(Self { registry, provider: provider.build() })
    }
}

pub(crate) fn init(resource: Resource, otlp_endpoint: Option<&str>) -> Result<(), TelemetryError> {
    METRICS.set(Metrics::new(resource, otlp_endpoint)?).map_err(|_| TelemetryError::Twice)
}

/// What the process measures so far; with Prometheus alone when nobody has called [`crate::init`].
fn metrics() -> Option<&'static Metrics> {
    if METRICS.get().is_none() {
        let resource = Resource::builder().with_service_name("flashsale").build();
        let metrics = Metrics::new(resource, None).ok()?;
        // Losing this race to another thread is fine: there is one either way.
        let _ = METRICS.set(metrics);
    }
    METRICS.get()
}

/// Where instruments come from. Names begin with `flashsale_` unless OpenTelemetry's conventions name them.
pub fn meter() -> Meter {
    match metrics() {
        Some(metrics) => metrics.provider.meter("flashsale"),
        None => opentelemetry::global::meter("flashsale"),
    }
}

/// The metrics of this process in Prometheus' text format.
pub fn render_metrics() -> String {
    let Some(metrics) = metrics() else { return String::new() };
    TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap_or_else(|error| {
        tracing::error!(%error, "metrics cannot be encoded");
        String::new()
    })
}

pub(crate) fn shutdown() {
    if let Some(metrics) = METRICS.get()
        && let Err(error) = metrics.provider.shutdown()
    {
        tracing::warn!(%error, "the last metrics were not exported");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_rendered_also_when_telemetry_was_not_set_up() {
        let counter = meter().u64_counter("flashsale_holds").build();
        counter.add(2, &[opentelemetry::KeyValue::new("state", "HELD")]);
        let text = render_metrics();
        let line = text.lines().find(|line| line.starts_with("flashsale_holds_total{"));
        let line = line.unwrap_or_else(|| panic!("not measured: {text}"));
        assert!(line.contains("state=\"HELD\"") && line.ends_with(" 2"), "{line}");
    }
}
