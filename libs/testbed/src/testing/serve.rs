//! A service on free ports.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use flashsale_proto::{NamedChannel, named_channel::OneKey};
use flashsale_service::{AccessConfig, Drain, Hosted, PeerConfig, config::ServerConfig};
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;

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
    /// A connected channel, whose calls carry the key of someone who may make them.
    pub async fn channel(&self) -> NamedChannel {
        let endpoint = Endpoint::from_shared(self.grpc_url.clone())
            .expect("a URL")
            .connect_timeout(Duration::from_secs(1));
        let channel = super::eventually("the service accepts connections", || async {
            endpoint.connect().await.ok()
        });
        super::keys().anyone_who_may(channel.await)
    }

    /// The same for a shop of another sale ([`OTHER_SALE`](crate::keys::OTHER_SALE)).
    pub async fn other_shops_channel(&self) -> NamedChannel {
        let key = super::keys().other_shop().clone();
        self.channel().await.of(Arc::new(OneKey::new(&key)))
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

/// The `[peers.*]` section of a peer at `url`, which is called with the key of the service under
/// test.
pub fn peer_config(url: &str) -> PeerConfig {
    let key_file = super::keys().key_file().display().to_string();
    PeerConfig { key_file, ..PeerConfig::at(url) }
}

/// Serves what `build` made. Give `build` the same drain.
pub async fn serve(hosted: Hosted, drain: Drain) -> TestServer {
    super::init();
    let config = server_config();
    let keys = super::keys();
    let access = AccessConfig {
        buyer_keys_file: keys.buyer_keys_file().display().to_string(),
        ..AccessConfig::with_keys(&keys.keys_file().display().to_string())
    };
    let (grpc_url, http_url) =
        (format!("http://{}", config.grpc_listen), format!("http://{}", config.http_listen));
    let serving = tokio::spawn({
        let drain = drain.clone();
        async move { flashsale_service::serve("test", &config, &access, vec![hosted], drain).await }
    });
    let server = TestServer { grpc_url, http_url, drain, serving };
    server.channel().await;
    server
}
