//! How a process ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flashsale_proto::sale::WatchSaleRequest;
use tokio::{net::TcpStream, sync::watch};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{eventually, get, sale, serve, serve_with, server_config};

#[tokio::test]
async fn drain_delay_serves_while_not_serving() {
    let mut config = server_config();
    config.drain_delay_ms = 3_600_000;
    let mut server = serve(config).await;
    let mut health = HealthClient::new(server.channel().await);
    server.drain.begin();
    for service in ["", "flashsale.sale.v1.SaleService"] {
        eventually("health says so", async || {
            let request = HealthCheckRequest { service: service.to_owned() };
            health.check(request).await.unwrap().into_inner().status().as_str_name()
                == "NOT_SERVING"
        })
        .await;
    }
    assert_eq!(server.http("/readyz").await.0, 503);
    assert_eq!(server.http("/livez").await.0, 200);
    assert!(!server.drain.is_draining());
    // A caller that does not know of it yet is served, on a new connection, too.
    sale(server.client().await.get_sale(get("now")).await);
    drop(health);
    server.drain.start();
    server.ended().await.unwrap();
}

#[tokio::test]
async fn drain_completes_calls_and_refuses_connections() {
    let mut server = serve(server_config()).await;
    let mut client = server.client().await;
    let call = tokio::spawn(async move { client.get_sale(get("wait")).await });
    server.sales.one_waits().await;
    server.drain.begin();
    let address = server.grpc_url.trim_start_matches("http://").to_owned();
    eventually("new connections are refused", async || TcpStream::connect(&address).await.is_err())
        .await;
    assert!(!call.is_finished());
    server.sales.gate.add_permits(1);
    assert_eq!(sale(call.await.unwrap()).sale_id, "wait");
    server.ended().await.unwrap();
}

// One worker runs what was woken last first: the newest turn ends before its owner looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn drain_completes_calls_of_connections_told_to_go_away() {
    // Often, for which of two things that are ready is seen first is left to chance.
    for _ in 0..64 {
        let (ready, condition) = watch::channel(true);
        let mut server =
            serve_with(server_config(), |hosted| hosted.ready_while(condition.clone())).await;
        let mut client = server.client().await;
        let call = tokio::spawn(async move { client.get_sale(get("wait")).await });
        server.sales.one_waits().await;
        ready.send(false).unwrap();
        eventually("it is not ready", async || server.http("/readyz").await.0 == 503).await;
        server.drain.begin();
        let address = server.grpc_url.trim_start_matches("http://").to_owned();
        eventually("new connections are refused", async || {
            TcpStream::connect(&address).await.is_err()
        })
        .await;
        server.sales.gate.add_permits(1);
        assert_eq!(sale(call.await.unwrap()).sale_id, "wait");
        server.ended().await.unwrap();
    }
}

#[tokio::test]
async fn stream_ends_cleanly_on_drain() {
    let mut server = serve(server_config()).await;
    let mut client = server.client().await;
    let request = WatchSaleRequest { sale_id: "polite".to_owned() };
    let mut stream = client.watch_sale(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    server.drain.begin();
    assert_eq!(stream.message().await.unwrap(), None);
    server.ended().await.unwrap();
}

#[tokio::test]
async fn drain_ends_health_watchers() {
    let mut config = server_config();
    config.drain_timeout_ms = 3_600_000;
    let mut server = serve(config).await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut seen = Vec::new();
    seen.push(watch.message().await.unwrap().unwrap().status().as_str_name());
    server.drain.begin();
    seen.push(watch.message().await.unwrap().unwrap().status().as_str_name());
    assert_eq!(seen, ["SERVING", "NOT_SERVING"]);
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    server.ended().await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let mut config = server_config();
    config.drain_timeout_ms = 50;
    let mut server = serve(config).await;
    let mut client = server.client().await;
    let request = WatchSaleRequest { sale_id: "endless".to_owned() };
    let mut stream = client.watch_sale(request).await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let call = tokio::spawn(async move { client.get_sale(get("wait")).await });
    server.sales.one_waits().await;
    server.drain.begin();
    server.ended().await.unwrap();
    assert!(stream.message().await.is_err());
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn stopping_at_once_leaves_no_connection() {
    let server = serve(server_config()).await;
    let mut client = server.client().await;
    let call = tokio::spawn(async move { client.get_sale(get("wait")).await });
    server.sales.one_waits().await;
    drop(server);
    let answer = tokio::time::timeout(Duration::from_secs(10), call).await;
    assert!(answer.expect("the call ends").unwrap().is_err());
}

#[tokio::test]
async fn drain_at_start_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    // Often, for which of two things that are ready is seen first is left to chance.
    for _ in 0..64 {
        let mut config = server_config();
        // While it is written, the gRPC server has the time to be asked, and to end.
        config.ready_file = dir.path().join("ready").to_str().unwrap().to_owned();
        let mut server = serve(config).await;
        server.drain.start();
        server.ended().await.unwrap();
    }
}

#[tokio::test]
async fn failed_task_ends_the_process() {
    let failing = serve_with(server_config(), |hosted| {
        hosted.task("claimer", async { anyhow::bail!("the stream is gone") })
    });
    let panicking = serve_with(server_config(), |hosted| {
        hosted.task("relay", async { panic!("out of range") })
    });
    for (mut server, words) in [
        (failing.await, "the background task claimer failed: the stream is gone"),
        (panicking.await, "the background task relay failed: it panicked: out of range"),
    ] {
        let error = server.ended().await.expect_err("it fails");
        assert_eq!(format!("{error:#}"), words);
        assert!(server.drain.is_draining());
    }
}

#[tokio::test]
async fn completed_task_does_not_end_the_process() {
    let done = Arc::new(AtomicBool::new(false));
    let task = {
        let done = done.clone();
        async move {
            done.store(true, Ordering::Release);
            Ok(())
        }
    };
    let mut server = serve_with(server_config(), |hosted| hosted.task("once", task)).await;
    eventually("the task is done", async || done.load(Ordering::Acquire)).await;
    sale(server.client().await.get_sale(get("now")).await);
    server.drain.begin();
    server.ended().await.unwrap();
}
