//! Health and readiness that follow the conditions of the hosted services.

use futures::{StreamExt as _, stream::select_all};
use tokio_stream::wrappers::WatchStream;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::http_port::Readiness;
use crate::hosted::Ready;

/// Keeps health and readiness in line with `conditions` until it is dropped. The process as a whole
/// is ready while all of them are.
pub(super) async fn follow(conditions: Vec<Ready>, health: HealthReporter, readiness: Readiness) {
    let mut ready: Vec<bool> =
        conditions.iter().map(|condition| *condition.ready.borrow()).collect();
    let changes = conditions.iter().enumerate().map(|(at, condition)| {
        WatchStream::new(condition.ready.clone()).map(move |ready| (at, ready)).boxed()
    });
    let mut changes = select_all(changes);
    while let Some((at, now)) = changes.next().await {
        ready[at] = now;
        for service in &conditions[at].services {
            health.set_service_status(service, status(now)).await;
        }
        let all = ready.iter().all(|ready| *ready);
        health.set_service_status("", status(all)).await;
        readiness.set(all);
    }
}

fn status(ready: bool) -> ServingStatus {
    if ready { ServingStatus::Serving } else { ServingStatus::NotServing }
}
