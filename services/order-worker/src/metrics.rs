//! What the worker measures.

use flashsale_telemetry::meter;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge},
};

use crate::domain::{Kind, OrderState};

/// The worker's instruments.
#[derive(Debug, Clone)]
pub struct Metrics {
    claim_lag: Gauge<u64>,
    outbox_pending: Gauge<u64>,
    outbox_age: Gauge<f64>,
    orders: Counter<u64>,
    dead_letters: Counter<u64>,
    carried: Counter<u64>,
    hold_conflicts: Counter<u64>,
    late_payments: Counter<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let meter = meter();
        Self {
            claim_lag: meter
                .u64_gauge("flashsale_claim_lag")
                .with_description("Messages in ORDERS that are not claimed yet")
                .build(),
            outbox_pending: meter
                .u64_gauge("flashsale_outbox_pending")
                .with_description("Consequences not confirmed yet, by kind")
                .build(),
            outbox_age: meter
                .f64_gauge("flashsale_outbox_oldest_age_seconds")
                .with_description("Age of the oldest consequence not confirmed yet, by kind")
                .build(),
            orders: meter
                .u64_counter("flashsale_orders")
                .with_description("Orders that were claimed or settled, by the state that led to")
                .build(),
            dead_letters: meter
                .u64_counter("flashsale_dead_letters")
                .with_description("Messages put aside because they cannot be recorded")
                .build(),
            carried: meter
                .u64_counter("flashsale_outbox_carried")
                .with_description("Attempts to carry consequences out, by kind and result")
                .build(),
            hold_conflicts: meter
                .u64_counter("flashsale_hold_conflicts")
                .with_description("Holds that stand in a state that excludes their order's end")
                .build(),
            late_payments: meter
                .u64_counter("flashsale_late_payments")
                .with_description(
                    "Payments that succeeded after their order had ended, and go back",
                )
                .build(),
        }
    }
}

impl Metrics {
    /// Messages between the position and the end of the stream.
    pub fn claim_lag(&self, messages: u64) {
        self.claim_lag.record(messages, &[]);
    }

    /// What is not confirmed of one kind.
    pub fn outbox(&self, kind: Kind, pending: u64, oldest_s: f64) {
        let kind = [KeyValue::new("kind", kind.as_str())];
        self.outbox_pending.record(pending, &kind);
        self.outbox_age.record(oldest_s, &kind);
    }

    /// An order reached a state.
    pub fn reached(&self, state: OrderState) {
        self.orders.add(1, &[KeyValue::new("state", state.as_str())]);
    }

    /// Messages were put aside.
    pub fn dead_letters(&self, count: u64) {
        self.dead_letters.add(count, &[]);
    }

    /// Consequences were tried; `result` is `done`, `retry` or `given_up`.
    pub fn carried(&self, kind: Kind, result: &'static str, count: usize) {
        let labels = [KeyValue::new("kind", kind.as_str()), KeyValue::new("result", result)];
        self.carried.add(count as u64, &labels);
    }

    /// Inventory says that a hold ended otherwise than its order.
    pub fn hold_conflict(&self) {
        self.hold_conflicts.add(1, &[]);
    }

    /// Money came after its order's end.
    pub fn late_payments(&self, count: u64) {
        self.late_payments.add(count, &[]);
    }
}
