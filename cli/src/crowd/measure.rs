//! Latencies as the buyers saw them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// One kind of latency; microseconds inside.
#[derive(Debug)]
pub(crate) struct Latency(Mutex<Histogram<u64>>);

impl Latency {
    /// Nothing measured yet; up to an hour, to three digits.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(Mutex::new(Histogram::new_with_bounds(1, 3_600_000_000, 3)?)))
    }

    /// Adds one.
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// Count and percentiles in milliseconds.
    pub(crate) fn value(&self) -> Value {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        json!({ "count": histogram.len(), "p50": ms(0.50), "p95": ms(0.95), "p99": ms(0.99) })
    }
}
