//! Measures the backlog, for the admission control and the metrics.

use std::time::Duration;

use flashsale_queue::ORDERS;
use flashsale_service::{Drain, Ticks};
use flashsale_telemetry::StoresUp;
use tokio::time::{Instant, timeout};

use crate::{
    app::{AdmissionControl, Backlog},
    metrics,
    store::{ClaimPosition, Queue, Record},
};

/// How long one measurement may take.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(2);

/// Measures until the process drains. While Postgres is unavailable the last known position counts,
/// so that the backlog grows with the stream.
pub async fn measure(
    admission_control: AdmissionControl,
    record: Record,
    queue: Queue,
    every: Duration,
    drain: Drain,
) -> anyhow::Result<()> {
    let shown = metrics::backlog();
    let stores = StoresUp::new("checkout");
    let mut position: Option<ClaimPosition> = None;
    let mut before: Option<(Instant, u64)> = None;
    let mut age_s = 0.0;
    let mut ticks = Ticks::new(every, &drain);
    while ticks.next().await {
        let (new_position, parked, state) = tokio::join!(
            timeout(MEASURE_TIMEOUT, record.claim_position(ORDERS)),
            timeout(MEASURE_TIMEOUT, record.parked_full(admission_control.max_parked())),
            queue.measure(MEASURE_TIMEOUT),
        );
        stores.set("postgres", matches!(new_position, Ok(Ok(_))));
        stores.set("nats", state.is_ok());
        if let Ok(Ok(new_position)) = new_position {
            position = new_position;
        }
        if let Ok(Ok(parked)) = parked {
            admission_control.set_parked(parked);
        }
        // Without the queue nothing can be measured; placed orders wait in the stock store and are
        // bounded by the stock.
        let Ok(state) = state else {
            shown.set(None);
            continue;
        };
        let claimed = position
            .filter(|position| position.counts_in(state.created()))
            .map_or(state.first_sequence().saturating_sub(1), |position| position.seq);
        let orders = state.last_sequence().saturating_sub(claimed);
        if orders == 0 {
            age_s = 0.0;
        } else if let Some(age) = state.age_of_next(claimed, MEASURE_TIMEOUT).await {
            age_s = age;
        }
        let backlog = Backlog { orders, age_s };
        shown.set(Some(backlog));
        let now = Instant::now();
        let claims_per_second = before.map(|(then, claimed_then)| {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            (claimed.saturating_sub(claimed_then) as f64 / seconds) as u64
        });
        admission_control.set_backlog(backlog, claims_per_second);
        before = Some((now, claimed));
    }
    Ok(())
}
