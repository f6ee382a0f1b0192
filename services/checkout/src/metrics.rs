//! What checkout measures.

use flashsale_telemetry::Snapshot;

use crate::app::Waiting;

/// The gauges of what waits for its claim.
pub fn waiting() -> Snapshot<Waiting> {
    let waiting = Snapshot::<Waiting>::default();
    waiting.gauge(
        "flashsale_queue_backlog",
        "{message}",
        "Messages of ORDERS that are not claimed yet.",
        |waiting, gauge| gauge.observe(waiting.orders as f64, &[]),
    );
    waiting.gauge(
        "flashsale_queue_age",
        "s",
        "Since the oldest message of ORDERS that is not claimed was published; 0 if there is none.",
        |waiting, gauge| gauge.observe(waiting.age_s, &[]),
    );
    waiting
}
