//! What reaches a collector. In a file of its own: a process has one telemetry.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{net::SocketAddr, time::Duration};

use flashsale_telemetry::{TelemetryConfig, TelemetryError, init, meter};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// A collector that hands on the names of what it is sent.
#[derive(Clone)]
struct Collector(mpsc::UnboundedSender<String>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let _ = self.0.send(span.name);
            }
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for resource in request.into_inner().resource_metrics {
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let _ = self.0.send(metric.name);
            }
        }
        Ok(Response::new(Default::default()))
    }
}

async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let collector = Collector(sender);
    tokio::spawn(
        Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (address, receiver)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_exports_traces_and_metrics() {
    let (address, mut received) = collector().await;
    let config = TelemetryConfig {
        log_filter: "off".to_owned(),
        otlp_endpoint: format!("http://{address}"),
        sample_ratio: 1.0,
        ..TelemetryConfig::default()
    };
    assert_eq!(config.problems(), []);
    let telemetry = init("test", &config).unwrap();
    assert!(matches!(init("again", &config), Err(TelemetryError::Twice)));

    tracing::info_span!("place an order").in_scope(|| {});
    meter().u64_counter("flashsale_orders").build().add(1, &[]);
    assert!(telemetry.prometheus_text().contains("flashsale_orders_total"));

    let ended = tokio::task::spawn_blocking(|| telemetry.shutdown());
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("it ends in time").unwrap();
    let mut names = Vec::new();
    while let Ok(name) = received.try_recv() {
        names.push(name);
    }
    for name in ["place an order", "flashsale_orders"] {
        assert!(names.iter().any(|received| received == name), "{name} is not among {names:?}");
    }
}

#[test]
fn every_bad_key_is_reported() {
    let config = TelemetryConfig {
        log_filter: "flashsale=loud".to_owned(),
        otlp_endpoint: "collector:4317".to_owned(),
        sample_ratio: 1.5,
        ..TelemetryConfig::default()
    };
    let keys: Vec<&str> = config.problems().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["telemetry.log_filter", "telemetry.otlp_endpoint", "telemetry.sample_ratio"]);
}
