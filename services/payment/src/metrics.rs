//! What payment measures.

use std::time::Duration;

use flashsale_breaker::{BreakerHandle, BreakerState};
use flashsale_service::Drain;
use flashsale_telemetry::{Snapshot, StoresUp, meter};
use opentelemetry::{KeyValue, metrics::Counter};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    domain::State,
    peers::stripe::Endpoint,
    store::{Backlog, Store},
};

/// How often what waits is measured.
const EVERY: Duration = Duration::from_secs(2);

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
        };
        // A series that begins at 0 shows its first increase; one that begins at 1 hides it.
        for state in State::ALL {
            metrics.changes.add(0, &[KeyValue::new("state", state.as_str())]);
        }
        for endpoint in Endpoint::ALL {
            metrics.calls(endpoint.as_str(), "success", 0);
        }
        metrics
    }

    /// A call to the provider ended.
    pub fn provider_call(&self, endpoint: &'static str, outcome: &'static str) {
        self.calls(endpoint, outcome, 1);
    }

    fn calls(&self, endpoint: &'static str, outcome: &'static str, count: u64) {
        let labels = [KeyValue::new("endpoint", endpoint), KeyValue::new("outcome", outcome)];
        self.calls.add(count, &labels);
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

/// Shows the state of the breaker, which each process has for itself, whenever somebody scrapes.
pub fn show_breaker(breaker: BreakerHandle) {
    let states = [
        (BreakerState::Closed, "closed"),
        (BreakerState::HalfOpen, "half_open"),
        (BreakerState::Open, "open"),
    ];
    meter()
        .u64_observable_gauge("flashsale_breaker_state")
        .with_unit("{breaker}")
        .with_description("1 for the state the breaker is in, 0 for the others.")
        .with_callback(move |gauge| {
            let now = breaker.state();
            for (state, name) in states {
                let labels = [KeyValue::new("breaker", "stripe"), KeyValue::new("state", name)];
                gauge.observe(u64::from(state == now), &labels);
            }
        })
        .build();
}

/// Measures what waits until the drain starts, beside the work: one query every two seconds.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn measure(store: Store, drain: Drain) -> anyhow::Result<()> {
    let backlog = Snapshot::<Backlog>::default();
    let stores = StoresUp::new("payment");
    backlog.gauge(
        "flashsale_payments_open",
        "{payment}",
        "Payments whose outcome is still to come.",
        |backlog, gauge| gauge.observe(backlog.open as f64, &[]),
    );
    backlog.gauge(
        "flashsale_payment_open_age",
        "s",
        "Since the oldest open payment was recorded; 0 if there is none.",
        |backlog, gauge| gauge.observe(backlog.open_age_s, &[]),
    );
    backlog.gauge(
        "flashsale_payment_due_age",
        "s",
        "Since the longest due payment nobody has taken up was due; 0 if there is none.",
        |backlog, gauge| gauge.observe(backlog.due_age_s, &[]),
    );
    backlog.gauge(
        "flashsale_refunds_due",
        "{refund}",
        "Refunds that are not done.",
        |backlog, gauge| gauge.observe(backlog.refunds as f64, &[]),
    );
    backlog.gauge(
        "flashsale_refund_due_age",
        "s",
        "Since the oldest refund that is not done was recorded; 0 if there is none.",
        |backlog, gauge| gauge.observe(backlog.refund_age_s, &[]),
    );
    backlog.gauge(
        "flashsale_breaker_force",
        "{switch}",
        "1 for what operators have the force switch say, 0 for the others.",
        |backlog, gauge| {
            for force in ["AUTO", "OPEN", "CLOSED"] {
                let on = f64::from(u8::from(backlog.force == force));
                gauge.observe(on, &[KeyValue::new("force", force)]);
            }
        },
    );
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = drain.started() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let found = store.backlog().await;
        stores.set("postgres", found.is_ok());
        backlog.set(found.ok());
    }
}
