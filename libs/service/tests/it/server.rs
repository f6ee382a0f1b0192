//! What each call passes: deadline, panic isolation, load shedding, bounds, measurement.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flashsale_errors::Reason;
use flashsale_proto::sale::{
    GetSaleRequest, WatchSaleRequest, sale_service_client::SaleServiceClient,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::{Code, Request, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::service_fn;

use crate::support::{
    eventually, failure, get, get_within, sale, serve, serve_with, server_config,
};

#[tokio::test]
async fn callers_deadline_ends_in_deadline_exceeded() {
    let server = serve(server_config()).await;
    let mut client = server.client().await;
    // The whole way from a caller's timer that may fire first is not ours to promise below some
    // milliseconds.
    for timeout_ms in [400, 1_000] {
        let answer = client.get_sale(get_within("wait", Duration::from_millis(timeout_ms))).await;
        let failure = failure(answer, Code::DeadlineExceeded);
        assert_eq!(failure.reason(), Reason::DeadlineExceeded);
        assert!(failure.metadata().contains_key("timeout_ms"), "{failure:?}");
        assert!(failure.delay().is_some());
    }
}

#[tokio::test]
async fn missing_and_long_deadlines_get_the_ceiling() {
    let mut config = server_config();
    config.max_deadline_ms = 100;
    let server = serve(config).await;
    let mut client = server.client().await;
    let left = sale(client.get_sale(get("now")).await).version;
    assert!((0..=100).contains(&left), "{left}");
    for request in [get("wait"), get_within("wait", Duration::from_secs(3_600))] {
        let failure = failure(client.get_sale(request).await, Code::DeadlineExceeded);
        assert_eq!(failure.reason(), Reason::DeadlineExceeded);
    }
}

#[tokio::test]
async fn a_stream_outlives_the_ceiling() {
    let mut config = server_config();
    config.max_deadline_ms = 1;
    let server = serve(config).await;
    let mut client = server.client().await;
    let request = WatchSaleRequest { sale_id: "polite".to_owned() };
    let mut stream = client.watch_sale(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    // Single calls meet their deadline meanwhile, this one does not.
    failure(client.get_sale(get("wait")).await, Code::DeadlineExceeded);
    let next = tokio::time::timeout(Duration::from_millis(50), stream.message()).await;
    assert!(next.is_err(), "the stream ended: {next:?}");
}

#[tokio::test]
async fn panic_answers_internal_with_an_incident() {
    let server = serve(server_config()).await;
    let mut client = server.client().await;
    let failure = failure(client.get_sale(get("panic")).await, Code::Internal);
    assert_eq!(failure.reason(), Reason::Internal);
    assert!(failure.metadata().contains_key("incident"), "{failure:?}");
    assert!(!failure.to_string().contains("the handler is wrong"), "{failure}");
    // On the same connection.
    assert_eq!(sale(client.get_sale(get("now")).await).sale_id, "now");
}

#[tokio::test]
async fn call_above_the_bound_is_shed() {
    let mut config = server_config();
    config.max_in_flight = 1;
    let server = serve(config).await;
    let mut client = server.client().await;
    let mut first = client.clone();
    let first = tokio::spawn(async move { first.get_sale(get("wait")).await });
    server.sales.one_waits().await;

    let failure = failure(client.get_sale(get("now")).await, Code::ResourceExhausted);
    assert_eq!(failure.reason(), Reason::Overloaded);
    assert!(failure.delay().is_some_and(|delay| delay >= Duration::from_millis(500)));
    // Neither health nor another method is full, streams among them.
    client.watch_sale(WatchSaleRequest { sale_id: "polite".to_owned() }).await.unwrap();
    let mut health = HealthClient::new(server.channel().await);
    let status = health.check(HealthCheckRequest::default()).await.unwrap().into_inner().status();
    assert_eq!(status.as_str_name(), "SERVING");

    // Counted apart from the calls that were done.
    eventually("what is refused is counted", async || {
        let (_, metrics) = server.http("/metrics").await;
        metrics.lines().any(|line| {
            line.starts_with("flashsale_shed_calls_total{")
                && line.contains("rpc_method=\"flashsale.sale.v1.SaleService/GetSale\"")
        })
    })
    .await;

    server.sales.gate.add_permits(1);
    sale(first.await.unwrap());
    sale(client.get_sale(get("now")).await);
}

#[tokio::test]
async fn error_links_to_the_configured_pages() {
    let mut config = server_config();
    config.error_pages_url = "https://docs.shop.example/errors/".to_owned();
    let server = serve(config).await;
    let mut client = server.client().await;
    let status = client.get_sale(get("panic")).await.unwrap_err();
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("https://docs.shop.example/errors/internal.md"), "{details}");
}

#[tokio::test]
async fn abandoned_call_makes_room() {
    let mut config = server_config();
    config.max_in_flight = 1;
    let server = serve(config).await;
    let mut client = server.client().await;
    let mut gone = client.clone();
    let gone = tokio::spawn(async move { gone.get_sale(get("wait")).await });
    server.sales.one_waits().await;
    gone.abort();
    eventually("there is room again", async || client.get_sale(get("now")).await.is_ok()).await;
}

#[tokio::test]
async fn too_large_request_is_refused() {
    let server = serve(server_config()).await;
    let mut client = server.client().await;
    let large = GetSaleRequest { sale_id: "x".repeat(65 * 1_024) };
    let failure = failure(client.get_sale(large).await, Code::InvalidArgument);
    assert_eq!(failure.reason(), Reason::ArgumentInvalid);
    assert!(failure.what().contains("65536 bytes"), "{failure}");
    sale(client.get_sale(get("now")).await);
}

#[tokio::test]
async fn connection_above_the_bound_waits() {
    let mut config = server_config();
    config.max_connections = 1;
    let server = serve(config).await;
    let mut first = server.client().await;
    sale(first.get_sale(get("now")).await);
    let second = server.client();
    let mut second = Box::pin(async {
        let mut client = second.await;
        client.get_sale(get("now")).await
    });
    let early = tokio::time::timeout(Duration::from_millis(100), second.as_mut()).await;
    assert!(early.is_err(), "the second connection was served: {early:?}");
    drop(first);
    sale(second.await);
}

#[tokio::test]
async fn health_knows_process_and_services() {
    let server = serve(server_config()).await;
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", "flashsale.sale.v1.SaleService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status.as_str_name(), "SERVING", "{service}");
    }
    let other = HealthCheckRequest { service: "flashsale.payment.v1.PaymentService".to_owned() };
    assert_eq!(health.check(other).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn unhosted_service_is_unimplemented() {
    use flashsale_proto::payment::{
        GetPaymentRequest, payment_service_client::PaymentServiceClient,
    };
    let server = serve(server_config()).await;
    let mut client = PaymentServiceClient::new(server.channel().await);
    let answer = client.get_payment(Request::new(GetPaymentRequest::default())).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn http_port_serves_health_metrics_and_routes() {
    let hook = axum::Router::new().route("/hook", axum::routing::get(async || "hooked"));
    let server = serve_with(server_config(), |hosted| hosted.http(hook)).await;
    let mut client = server.client().await;
    sale(client.get_sale(get("now")).await);
    failure(client.get_sale(get("panic")).await, Code::Internal);

    assert_eq!(server.http("/livez").await.0, 200);
    assert_eq!(server.http("/readyz").await.0, 200);
    assert_eq!(server.http("/hook").await.1, "hooked");
    assert_eq!(server.http("/nothing").await.0, 404);
    for status in ["OK", "INTERNAL"] {
        eventually("the call is measured", async || {
            let (_, metrics) = server.http("/metrics").await;
            metrics.lines().any(|line| {
                line.starts_with("rpc_server_call_duration_seconds_count{")
                    && line.contains("rpc_system_name=\"grpc\"")
                    && line.contains("rpc_method=\"flashsale.sale.v1.SaleService/GetSale\"")
                    && line.contains(&format!("rpc_response_status_code=\"{status}\""))
                    && line.contains(&format!("error_type=\"{status}\"")) == (status != "OK")
            })
        })
        .await;
    }
}

#[tokio::test]
async fn unready_service_sends_callers_away() {
    let (ready, readiness) = tokio::sync::watch::channel(true);
    let server = serve_with(server_config(), |hosted| hosted.ready_while(readiness)).await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = {
        let (connections, address) =
            (Arc::clone(&connections), server.grpc_url.replace("http://", ""));
        service_fn(move |_: http::Uri| {
            connections.fetch_add(1, Ordering::SeqCst);
            let address = address.clone();
            async move { TcpStream::connect(address).await.map(TokioIo::new) }
        })
    };
    let channel =
        Endpoint::from_static("http://test").connect_with_connector(counted).await.unwrap();
    let mut client = SaleServiceClient::new(channel);
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move { waiting.get_sale(get("wait")).await });
    server.sales.one_waits().await;
    // Those who watch look over a connection of their own, which they lose as well.
    let mut health = HealthClient::new(server.channel().await);
    let mut serves = async |service: &str| {
        let asked = HealthCheckRequest { service: service.to_owned() };
        health.check(asked).await.map(|answer| answer.into_inner().status == 1).unwrap_or(true)
    };
    assert!(serves("").await && serves("flashsale.sale.v1.SaleService").await);
    ready.send_replace(false);
    eventually("it reports that it does not serve", async || {
        !serves("").await && !serves("flashsale.sale.v1.SaleService").await
    })
    .await;
    eventually("it is not ready", async || server.http("/readyz").await.0 == 503).await;
    assert_eq!(server.http("/livez").await.0, 200);
    // What was begun ends as it should, and the next call comes over another connection, and is
    // served.
    server.sales.gate.add_permits(1);
    sale(waiting.await.unwrap());
    eventually("the connection is given up", async || {
        sale(client.get_sale(get("now")).await);
        connections.load(Ordering::SeqCst) == 2
    })
    .await;
    ready.send_replace(true);
    eventually("it serves again", async || serves("").await).await;
    eventually("it is ready again", async || server.http("/readyz").await.0 == 200).await;
    sale(client.get_sale(get("now")).await);
    assert_eq!(connections.load(Ordering::SeqCst), 2, "no client is sent away by that");
}
