//! A service on free ports.

use std::{net::SocketAddr, time::Duration};

use flashsale_service::{Drain, Hosted, config::ServerConfig};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// A service that serves as it does in production, on free ports of 127.0.0.1.
#[derive(Debug)]
pub struct TestServer {
    /// `http://127.0.0.1:<port>` of gRPC.
    pub grpc_url: String,
    /// `http://127.0.0.1:<port>` of metrics, health and the service's own pages.
    pub http_url: String,
    /// For draining it by hand.
    pub drain: Drain,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl TestServer {
    /// A connected channel.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.grpc_url.clone())
            .expect("a URL")
            .connect_timeout(Duration::from_secs(1));
        super::eventually("the service accepts connections", || async {
            endpoint.connect().await.ok()
        })
        .await
    }

    /// Waits until it has drained.
    pub async fn ended(self) -> anyhow::Result<()> {
        let mut this = self;
        (&mut this.serving).await.expect("the server does not panic")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The `[server]` section of a service under test, on free ports.
pub fn server_config() -> ServerConfig {
    let free =
        || SocketAddr::from(([127, 0, 0, 1], crate::servers::free_port().expect("a free port")));
    ServerConfig {
        max_concurrent_streams: 256,
        max_connections: 1_024,
        max_in_flight: 1_024,
        max_request_bytes: 4 * 1_024 * 1_024,
        max_deadline_ms: 10_000,
        keepalive_interval_ms: 10_000,
        keepalive_timeout_ms: 5_000,
        drain_delay_ms: 0,
        drain_timeout_ms: 2_000,
        ..ServerConfig::at(free(), free())
    }
}

/// Serves what `build` made. Give `build` the same drain.
pub async fn serve(hosted: Hosted, drain: Drain) -> TestServer {
    super::init();
    let config = server_config();
    let (grpc_url, http_url) =
        (format!("http://{}", config.grpc_listen), format!("http://{}", config.http_listen));
    let serving = tokio::spawn({
        let drain = drain.clone();
        async move { flashsale_service::serve("test", &config, vec![hosted], drain).await }
    });
    let server = TestServer { grpc_url, http_url, drain, serving };
    server.channel().await;
    server
}
