//! What payment measures.

use flashsale_telemetry::meter;
use opentelemetry::{KeyValue, metrics::Counter};

use crate::domain::State;

/// The instruments. A clone is the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Counter<u64>,
    changes: Counter<u64>,
}

impl Metrics {
    /// The process's own.
    pub fn new() -> Self {
        let meter = meter();
        Self {
            calls: meter
                .u64_counter("flashsale_payment_provider_calls")
                .with_description("Calls to the provider by endpoint and outcome")
                .build(),
            changes: meter
                .u64_counter("flashsale_payment_changes")
                .with_description("Payments that reached a state")
                .build(),
        }
    }

    /// A call to the provider ended.
    pub fn provider_call(&self, endpoint: &'static str, outcome: &'static str) {
        let labels = [KeyValue::new("endpoint", endpoint), KeyValue::new("outcome", outcome)];
        self.calls.add(1, &labels);
    }

    /// A payment reached a state.
    pub fn changed(&self, state: State) {
        self.changes.add(1, &[KeyValue::new("state", state.as_str())]);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
