//! Channels to other services.

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    GetSaleRequest, WatchSaleRequest, sale_service_client::SaleServiceClient,
};
use flashsale_service::{deadline, peer};
use tokio::{net::TcpListener, time::Instant};
use tonic::Code;

use crate::support::{failure, get, get_within, peer_config, sale, serve, server_config};

#[tokio::test]
async fn peer_gets_the_shortest_deadline() {
    let server = serve(server_config()).await;
    let channel = peer::connect("checkout", "sale", &peer_config(&server.grpc_url)).unwrap();
    let mut client = SaleServiceClient::new(channel);
    let left = sale(client.get_sale(get("now")).await).version;
    assert!((5_000..=10_000).contains(&left), "ceiling: {left}");
    let left = sale(client.get_sale(get_within("now", Duration::from_secs(4))).await).version;
    assert!((2_000..=4_000).contains(&left), "the call's own: {left}");
    let deadline = Instant::now() + Duration::from_secs(2);
    let left = deadline::within(deadline, client.get_sale(get("now"))).await;
    let left = sale(left).version;
    assert!((500..=2_000).contains(&left), "of the request being served: {left}");
}

#[tokio::test]
async fn expired_request_does_not_reach_the_peer() {
    let server = serve(server_config()).await;
    let channel = peer::connect("checkout", "sale", &peer_config(&server.grpc_url)).unwrap();
    let mut client = SaleServiceClient::new(channel);
    let passed = deadline::within(Instant::now(), client.get_sale(get("wait"))).await;
    assert_eq!(failure(passed, Code::DeadlineExceeded).reason(), Reason::DeadlineExceeded);
    assert_eq!(server.sales.waiting.available_permits(), 0);
}

#[tokio::test]
async fn hanging_peer_costs_at_most_the_ceiling() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = peer_config(&format!("http://{}", silent.local_addr().unwrap()));
    config.timeout_ms = 100;
    let mut client = SaleServiceClient::new(peer::connect("checkout", "sale", &config).unwrap());
    let failure = failure(client.get_sale(get("now")).await, Code::DeadlineExceeded);
    assert_eq!(failure.reason(), Reason::DeadlineExceeded);
    assert_eq!(failure.metadata()["peer"], "sale");
}

#[tokio::test]
async fn peer_is_found_again_when_it_is_back() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let config = peer_config(&format!("http://{address}"));
    let mut client = SaleServiceClient::new(peer::connect("checkout", "sale", &config).unwrap());
    let status = client.get_sale(GetSaleRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(Failure::from_peer("sale", &status).reason(), Reason::PeerUnavailable);

    let mut config = server_config();
    config.grpc_listen = address;
    let _server = serve(config).await;
    sale(client.get_sale(get("now")).await);
}

#[tokio::test]
async fn a_stream_from_a_peer_has_no_deadline() {
    let server = serve(server_config()).await;
    let mut config = peer_config(&server.grpc_url);
    config.timeout_ms = 1_000;
    let mut client = SaleServiceClient::new(peer::connect("checkout", "sale", &config).unwrap());
    let request = WatchSaleRequest { sale_id: "polite".to_owned() };
    let mut stream = client.watch_sale(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    // A single call meets the ceiling, the stream has passed it by then.
    failure(client.get_sale(get("wait")).await, Code::DeadlineExceeded);
    server.drain.begin();
    assert_eq!(stream.message().await.unwrap(), None);
}
