//! Following whether the parts of a process may be sent new work.

use futures::{StreamExt as _, stream::select_all};
use tokio_stream::wrappers::WatchStream;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::http_port::Readiness;
use crate::hosted::Ready;

/// Keeps health and readiness in line with `parts` for as long as it runs. The process as a whole is ready while all of them are.
pub(super) async fn follow(parts: Vec<Ready>, health: HealthReporter, readiness: Readiness) {
    let mut ready: Vec<bool> = parts.iter().map(|part| *part.ready.borrow()).collect();
    let changes = parts.iter().enumerate().map(|(at, part)| {
        WatchStream::new(part.ready.clone()).map(move |ready| (at, ready)).boxed()
    });
    let mut changes = select_all(changes);
    while let Some((at, now)) = changes.next().await {
        ready[at] = now;
        for service in &parts[at].services {
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
