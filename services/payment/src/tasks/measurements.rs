//! Gauges that are read from the store or the breaker, beside the work.

use std::time::Duration;

use flashsale_breaker::{BreakerHandle, BreakerState};
use flashsale_service::{Drain, Ticks};
use flashsale_telemetry::{Snapshot, StoresUp, meter};
use opentelemetry::KeyValue;

use crate::store::{Backlog, Store};

/// How often the backlog is measured.
const EVERY: Duration = Duration::from_secs(2);

/// Shows the state of the breaker, which is each process's own, at every scrape.
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

/// Measures the backlog until the drain starts, by one query every two seconds.
///
/// # Errors
/// None; the signature is that of a background task.
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
        "flashsale_payments_stuck",
        "{payment}",
        "Open payments whose requests were answered as wrong, or unreadably, several times in a row.",
        |backlog, gauge| gauge.observe(backlog.stuck as f64, &[]),
    );
    backlog.gauge(
        "flashsale_payment_due_age",
        "s",
        "Since the longest due payment that is not taken up was due; 0 if there is none.",
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
        "flashsale_refunds_failed",
        "{refund}",
        "Refunds that the provider could not make, however often it was asked.",
        |backlog, gauge| gauge.observe(backlog.refunds_failed as f64, &[]),
    );
    backlog.gauge(
        "flashsale_payment_differences",
        "{difference}",
        "Contradictions between payments, the ledger and orders, when they were last compared.",
        |backlog, gauge| gauge.observe(backlog.differences as f64, &[]),
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
    let mut ticks = Ticks::new(EVERY, &drain);
    while ticks.next().await {
        let found = store.backlog().await;
        stores.set("postgres", found.is_ok());
        backlog.set(found.ok());
    }
    Ok(())
}
