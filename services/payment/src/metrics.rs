//! The counters.

use flashsale_telemetry::meter;
use opentelemetry::{KeyValue, metrics::Counter};

use crate::domain::State;

/// The instruments. A clone is the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Counter<u64>,
    rejections: Counter<u64>,
    attempts: Counter<u64>,
    changes: Counter<u64>,
    missed: Counter<u64>,
    disputes: Counter<u64>,
    foreign: Counter<u64>,
}

/// What keeps a call from being sent, by `NotSent` of `peers::stripe`; a connection that cannot be
/// made is none of them.
const REJECTIONS: [&str; 4] = ["forced_open", "breaker_open", "no_turn", "store"];

/// What is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A payment is charged.
    Charge,
    /// Money is given back.
    Refund,
}

impl Work {
    const ALL: [Self; 2] = [Self::Charge, Self::Refund];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Refund => "refund",
        }
    }
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
            rejections: meter
                .u64_counter("flashsale_payment_provider_rejections")
                .with_unit("{call}")
                .with_description("Calls to the provider that were not sent, by what kept them.")
                .build(),
            attempts: meter
                .u64_counter("flashsale_payment_attempts")
                .with_unit("{attempt}")
                .with_description("How often payments and refunds were taken up.")
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
            foreign: meter
                .u64_counter("flashsale_payment_foreign_captures")
                .with_unit("{capture}")
                .with_description("Captures in the account that are not this deployment's.")
                .build(),
            disputes: meter
                .u64_counter("flashsale_payment_disputes")
                .with_unit("{dispute}")
                .with_description("Disputes of buyers, by what was learnt of them.")
                .build(),
        };
        // A series that begins at 0 shows its first increase; one that begins at 1 hides it.
        metrics.missed.add(0, &[]);
        metrics.foreign.add(0, &[]);
        for event in ["opened", "won"] {
            metrics.disputes.add(0, &[KeyValue::new("event", event)]);
        }
        for state in State::ALL {
            metrics.changes.add(0, &[KeyValue::new("state", state.as_str())]);
        }
        for kind in REJECTIONS {
            metrics.rejections.add(0, &[KeyValue::new("kind", kind)]);
        }
        for work in Work::ALL {
            metrics.taken_up(work, 0);
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

    /// Counts a capture in the account that is not this deployment's.
    pub fn foreign_capture(&self) {
        self.foreign.add(1, &[]);
    }

    /// Counts a dispute that was opened, or won.
    pub fn disputed(&self, won: bool) {
        let event = if won { "won" } else { "opened" };
        self.disputes.add(1, &[KeyValue::new("event", event)]);
    }

    /// Counts a call to the provider that was not sent, by what kept it.
    pub fn rejected(&self, kind: &'static str) {
        self.rejections.add(1, &[KeyValue::new("kind", kind)]);
    }

    /// Counts rows that were taken up to be worked on.
    pub fn taken_up(&self, work: Work, count: usize) {
        self.attempts.add(count as u64, &[KeyValue::new("work", work.as_str())]);
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
