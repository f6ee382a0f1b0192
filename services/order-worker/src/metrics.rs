//! The worker's instruments.

use flashsale_telemetry::meter;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram},
};

use crate::domain::{Kind, OrderState};

/// The bucket bounds of the time from placing to claim, in seconds.
const CLAIM_DELAYS: [f64; 12] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

#[derive(Debug, Clone)]
pub struct Metrics {
    claim_lag: Gauge<u64>,
    claim_delay: Histogram<f64>,
    orders: Counter<u64>,
    dead_letters: Counter<u64>,
    carried: Counter<u64>,
    hold_conflicts: Counter<u64>,
    late_payments: Counter<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let meter = meter();
        let metrics = Self {
            claim_lag: meter
                .u64_gauge("flashsale_claim_lag")
                .with_unit("{message}")
                .with_description(
                    "Messages of ORDERS behind the claimer's last batch. Stands still while nothing can be claimed: \
                     see flashsale_queue_age_seconds.",
                )
                .build(),
            claim_delay: meter
                .f64_histogram("flashsale_claim_delay")
                .with_unit("s")
                .with_description("From an order's placing to its claim.")
                .with_boundaries(CLAIM_DELAYS.to_vec())
                .build(),
            orders: meter
                .u64_counter("flashsale_orders")
                .with_unit("{order}")
                .with_description("Orders that reached a state.")
                .build(),
            dead_letters: meter
                .u64_counter("flashsale_dead_letters")
                .with_unit("{message}")
                .with_description("Messages put aside because they cannot be recorded.")
                .build(),
            carried: meter
                .u64_counter("flashsale_outbox_carried")
                .with_unit("{attempt}")
                .with_description("Attempts to carry consequences out, by kind and result.")
                .build(),
            hold_conflicts: meter
                .u64_counter("flashsale_hold_conflicts")
                .with_unit("{hold}")
                .with_description("Holds that stand in a state that excludes their order's end.")
                .build(),
            late_payments: meter
                .u64_counter("flashsale_late_payments")
                .with_unit("{payment}")
                .with_description(
                    "Payments that succeeded after their order had ended, and go back.",
                )
                .build(),
        };
        // A series that begins at 0 shows its first increase; one that begins at 1 hides it.
        for state in OrderState::ALL {
            metrics.orders.add(0, &[KeyValue::new("state", state.as_str())]);
        }
        for kind in Kind::ALL {
            for result in ["done", "retry", "given_up"] {
                metrics.carried(kind, result, 0);
            }
        }
        metrics.dead_letters(0);
        metrics.late_payments(0);
        metrics.hold_conflicts.add(0, &[]);
        metrics
    }
}

impl Metrics {
    /// Sets the number of messages between the position and the end of the stream.
    pub fn claim_lag(&self, messages: u64) {
        self.claim_lag.record(messages, &[]);
    }

    /// Records the time from an order's placing to its claim. A negative one, by clocks that
    /// disagree, counts as 0.
    pub fn claimed_after(&self, delay: time::Duration) {
        self.claim_delay.record(delay.as_seconds_f64().max(0.0), &[]);
    }

    /// Counts an order that reached a state.
    pub fn reached(&self, state: OrderState) {
        self.orders.add(1, &[KeyValue::new("state", state.as_str())]);
    }

    /// Counts dead letters.
    pub fn dead_letters(&self, count: u64) {
        self.dead_letters.add(count, &[]);
    }

    /// Counts attempts at consequences; `result` is `done`, `retry` or `given_up`.
    pub fn carried(&self, kind: Kind, result: &'static str, count: usize) {
        let labels = [KeyValue::new("kind", kind.as_str()), KeyValue::new("result", result)];
        self.carried.add(count as u64, &labels);
    }

    /// Counts a hold that inventory has closed with another outcome than its order's.
    pub fn hold_conflict(&self) {
        self.hold_conflicts.add(1, &[]);
    }

    /// Counts payments that succeeded after their order had ended.
    pub fn late_payments(&self, count: u64) {
        self.late_payments.add(count, &[]);
    }
}
