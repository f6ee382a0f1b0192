//! The counters.

use flashsale_telemetry::meter;
use opentelemetry::{KeyValue, metrics::Counter};

use crate::domain::State;

/// The instruments. A clone is the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Counter<u64>,
    changes: Counter<u64>,
    missed: Counter<u64>,
}

impl Metrics {
    /// Registers the instruments.
    pub fn new() -> Self {
        let meter = meter();
        let metrics = Self {
            calls: meter
                .u64_counter("flashsale_payment_provider_calls")
                .with_unit("{call}")
                .with_description("Calls to the provider, by endpoint and outcome.")
                .build(),
            changes: meter
                .u64_counter("flashsale_payment_changes")
                .with_unit("{payment}")
                .with_description("Payments that reached a state.")
                .build(),
            missed: meter
                .u64_counter("flashsale_payment_events_missed")
                .with_unit("{event}")
                .with_description("Events of the provider's that had not been sent to us in time.")
                .build(),
        };
        // A series that begins at 0 shows its first increase; one that begins at 1 hides it.
        metrics.missed.add(0, &[]);
        for state in State::ALL {
            metrics.changes.add(0, &[KeyValue::new("state", state.as_str())]);
        }
        metrics
    }

    /// Shows the series of an endpoint before its first call.
    pub fn announce_endpoint(&self, endpoint: &'static str) {
        self.calls(endpoint, "success", 0);
    }

    /// Counts a call to the provider.
    pub fn provider_call(&self, endpoint: &'static str, outcome: &'static str) {
        self.calls(endpoint, outcome, 1);
    }

    fn calls(&self, endpoint: &'static str, outcome: &'static str, count: u64) {
        let labels = [KeyValue::new("endpoint", endpoint), KeyValue::new("outcome", outcome)];
        self.calls.add(count, &labels);
    }

    /// Counts events that had not been sent to us in time.
    pub fn events_missed(&self, count: u64) {
        self.missed.add(count, &[]);
    }

    /// Counts a payment that reached a state.
    pub fn changed(&self, state: State) {
        self.changes.add(1, &[KeyValue::new("state", state.as_str())]);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
