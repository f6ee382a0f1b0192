//! The trace goes on in the next service. In a binary of its own: a process has one telemetry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// The other tests use the rest of it.
#[allow(dead_code)]
#[path = "it/support.rs"]
mod support;

use flashsale_proto::sale::sale_service_client::SaleServiceClient;
use flashsale_service::peer;
use flashsale_telemetry::{LogFormat, TelemetryConfig};
use opentelemetry::trace::TraceContextExt as _;
use tracing::Instrument as _;

use support::{get, peer_config, sale, serve, server_config};

#[tokio::test]
async fn a_call_carries_its_trace_to_the_peer() {
    let config = TelemetryConfig {
        log_format: LogFormat::Text,
        // A quiet log does not cut the trace.
        log_filter: "error".to_owned(),
        sample_ratio: 1.0,
        ..TelemetryConfig::default()
    };
    let telemetry = flashsale_telemetry::init("test", &config).unwrap();
    let server = serve(server_config()).await;
    let channel = peer::connect("checkout", "sale", &peer_config(&server.grpc_url)).unwrap();
    let mut client = SaleServiceClient::new(channel);
    let mut traces = Vec::new();
    for _ in 0..2 {
        let span = tracing::info_span!("the request of a buyer");
        let (here, there) = async {
            let here = opentelemetry::Context::current().span().span_context().trace_id();
            (here.to_string(), sale(client.get_sale(get("trace")).await).sale_id)
        }
        .instrument(span)
        .await;
        assert_eq!(here, there);
        traces.push(here);
    }
    assert_ne!(traces[0], traces[1]);
    assert!(!traces[0].chars().all(|digit| digit == '0'), "there is no trace");
    telemetry.shutdown();
}
