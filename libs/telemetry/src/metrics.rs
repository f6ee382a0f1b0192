//! The one meter provider of the process: read by Prometheus, and pushed over OTLP where a
//! collector is configured.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Gauge, Meter, MeterProvider as _},
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
};
use prometheus::{Registry, TextEncoder};

use crate::{EXPORT_TIMEOUT, TelemetryError};

/// What the process measures. Its registry is its own, not the one the `prometheus` crate shares
/// between all libraries.
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

/// What the process measures so far; with Prometheus alone before [`crate::init`].
fn metrics() -> Option<&'static Metrics> {
    if METRICS.get().is_none() {
        let resource = Resource::builder().with_service_name("flashsale").build();
        let metrics = Metrics::new(resource, None).ok()?;
        // Losing this race to another thread is fine: there is one either way.
        let _ = METRICS.set(metrics);
    }
    METRICS.get()
}

/// Where instruments come from. Names begin with `flashsale_` unless OpenTelemetry's conventions
/// name them.
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

/// What a periodic look at a store found, for gauges that are read on a scrape, which asks no
/// store. Dropped when the look fails, so that no outdated figure is shown as current.
#[derive(Debug)]
pub struct Snapshot<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Send + 'static> Snapshot<T> {
    /// Keeps what was found; `None` when nothing could be.
    pub fn set(&self, found: Option<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// A gauge over it: `observe` says what of the findings it shows. `unit` is UCUM, or a word in
    /// braces.
    pub fn gauge(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        observe: impl Fn(&T, &dyn AsyncInstrument<f64>) + Send + Sync + 'static,
    ) {
        let snapshot = self.clone();
        meter()
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |gauge| {
                let found = snapshot.0.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(found) = found.as_ref() {
                    observe(found, gauge);
                }
            })
            .build();
    }
}

/// Says whether the stores of a service answered its last look at them.
#[derive(Debug, Clone)]
pub struct StoresUp {
    service: &'static str,
    up: Gauge<u64>,
}

impl StoresUp {
    /// For `service`, as it is called in `services/`.
    pub fn new(service: &'static str) -> Self {
        let up = meter()
            .u64_gauge("flashsale_store_up")
            .with_unit("{store}")
            .with_description(
                "1 if the store answered the service's last periodic look at it, else 0.",
            )
            .build();
        Self { service, up }
    }

    /// `store` is `postgres`, `redis` or `nats`.
    pub fn set(&self, store: &'static str, up: bool) {
        let labels = [KeyValue::new("service", self.service), KeyValue::new("store", store)];
        self.up.record(u64::from(up), &labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_is_shown_until_dropped() {
        let snapshot = Snapshot::default();
        snapshot.gauge("flashsale_age", "s", "How old it is.", |age: &f64, gauge| {
            gauge.observe(*age, &[KeyValue::new("kind", "test")]);
        });
        let line = || {
            let text = render_metrics();
            text.lines().find(|line| line.starts_with("flashsale_age_seconds{")).map(str::to_owned)
        };
        assert_eq!(line(), None);
        snapshot.set(Some(2.5));
        assert!(line().is_some_and(|line| line.ends_with(" 2.5")));
        assert!(render_metrics().contains("# HELP flashsale_age_seconds How old it is."));
        snapshot.set(None);
        assert_eq!(line(), None);
    }

    #[test]
    fn metrics_render_without_init() {
        let counter = meter().u64_counter("flashsale_holds").build();
        counter.add(2, &[KeyValue::new("state", "HELD")]);
        let text = render_metrics();
        let line = text.lines().find(|line| line.starts_with("flashsale_holds_total{"));
        let line = line.unwrap_or_else(|| panic!("not measured: {text}"));
        assert!(line.contains("state=\"HELD\"") && line.ends_with(" 2"), "{line}");
    }
}
