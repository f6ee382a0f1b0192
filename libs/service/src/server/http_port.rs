//! The HTTP port: metrics, liveness, readiness and the services' own routes, HTTP/1.1 without TLS.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connections::Connections;

/// How long a caller may take to send the head of a request, also of the next one on its
/// connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether new work may be sent here.
#[derive(Debug, Clone)]
pub(super) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Ready.
    pub(super) fn ready() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// Ready or not.
    pub(super) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

/// The routes that every process has.
pub(super) fn own_routes(readiness: Readiness) -> Router {
    let metrics = async || {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], flashsale_telemetry::render_metrics())
    };
    let readyz = async move || {
        if readiness.0.load(Ordering::Acquire) {
            (StatusCode::OK, "ready\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
}

/// Serves the port until `stop`, then lets requests in work end.
pub(super) async fn serve(router: Router, connections: Connections, stop: CancellationToken) {
    let mut served = JoinSet::new();
    loop {
        let connection = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = served.join_next() => continue,
            connection = connections.accept_plain() => connection,
        };
        let Ok(connection) = connection else { break };
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        served.spawn(async move {
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(connection), service);
            let mut serving = std::pin::pin!(serving);
            let served = tokio::select! {
                served = serving.as_mut() => served,
                () = stop.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
        });
    }
    drop(connections);
    while served.join_next().await.is_some() {}
}
