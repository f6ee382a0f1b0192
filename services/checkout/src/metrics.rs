//! The metrics of checkout.

use flashsale_telemetry::Snapshot;

use crate::app::Backlog;

/// The gauges of the backlog. Nothing is shown until it is set.
pub fn backlog() -> Snapshot<Backlog> {
    let backlog = Snapshot::<Backlog>::default();
    backlog.gauge(
        "flashsale_queue_backlog",
        "{message}",
        "Messages of ORDERS that are not claimed yet.",
        |backlog, gauge| gauge.observe(backlog.orders as f64, &[]),
    );
    backlog.gauge(
        "flashsale_queue_age",
        "s",
        "Since the oldest message of ORDERS that is not claimed was published; 0 if there is none.",
        |backlog, gauge| gauge.observe(backlog.age_s, &[]),
    );
    backlog
}
