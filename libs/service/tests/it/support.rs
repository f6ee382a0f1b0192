//! A small service, and a server for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flashsale_errors::Failure;
use flashsale_proto::sale::{
    GetSaleRequest, GetSaleResponse, Sale, WatchSaleRequest, WatchSaleResponse,
    sale_service_client::SaleServiceClient,
};
use flashsale_service::{
    AccessConfig, AccessMode, Drain, Hosted, PeerConfig, ServerConfig, bind, deadline,
};
use flashsale_testbed::fakes::sale::sale_service_server::{SaleService, SaleServiceServer};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use hyper_util::rt::TokioIo;
use opentelemetry::trace::TraceContextExt as _;
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    task::{AbortHandle, JoinHandle},
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint},
};

/// Far more than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What `GetSale` does follows from the sale it is asked for; the answer's version is what is left
/// of the deadline in ms.
#[derive(Debug, Clone)]
pub(crate) struct Sales {
    /// A permit for each call that has begun to wait.
    pub(crate) waiting: Arc<Semaphore>,
    /// A permit lets one waiting call end.
    pub(crate) gate: Arc<Semaphore>,
    drain: Drain,
}

impl Sales {
    pub(crate) fn new(drain: Drain) -> Self {
        Self { waiting: Arc::new(Semaphore::new(0)), gate: Arc::new(Semaphore::new(0)), drain }
    }

    /// Resolves when one more call waits.
    pub(crate) async fn one_waits(&self) {
        let waiting = tokio::time::timeout(PATIENCE, self.waiting.acquire()).await;
        waiting.expect("a call waits in time").unwrap().forget();
    }
}

#[tonic::async_trait]
impl SaleService for Sales {
    async fn get_sale(
        &self,
        request: Request<GetSaleRequest>,
    ) -> Result<Response<GetSaleResponse>, Status> {
        let mut sale_id = request.into_inner().sale_id;
        match sale_id.as_str() {
            "panic" => panic!("the handler is wrong"),
            "wait" => {
                self.waiting.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
            }
            "trace" => {
                let context = opentelemetry::Context::current();
                sale_id = context.span().span_context().trace_id().to_string();
            }
            _ => {}
        }
        let version =
            deadline::remaining().map_or(-1, |left| i64::try_from(left.as_millis()).unwrap());
        Ok(Response::new(GetSaleResponse {
            sale: Some(Sale { sale_id, version, ..Sale::default() }),
        }))
    }

    /// "polite" ends when the drain starts, any other never does.
    async fn watch_sale(
        &self,
        request: Request<WatchSaleRequest>,
    ) -> Result<Response<BoxStream<'static, Result<WatchSaleResponse, Status>>>, Status> {
        let first = stream::once(async { Ok(WatchSaleResponse::default()) });
        let endless = first.chain(stream::pending());
        Ok(Response::new(if request.into_inner().sale_id == "polite" {
            endless.take_until(self.drain.started()).boxed()
        } else {
            endless.boxed()
        }))
    }
}

/// A server on free ports; it stops when it is dropped.
pub(crate) struct Served {
    pub(crate) grpc_url: String,
    pub(crate) http_address: std::net::SocketAddr,
    pub(crate) internal_address: Option<std::net::SocketAddr>,
    pub(crate) routes_address: Option<std::net::SocketAddr>,
    pub(crate) sales: Sales,
    pub(crate) drain: Drain,
    serving: Option<JoinHandle<anyhow::Result<()>>>,
    abort: AbortHandle,
}

pub(crate) fn server_config() -> ServerConfig {
    let free = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    ServerConfig {
        max_concurrent_streams: 100,
        max_connections: 100,
        max_in_flight: 100,
        max_request_bytes: 64 * 1_024,
        max_deadline_ms: 30_000,
        keepalive_interval_ms: 10_000,
        keepalive_timeout_ms: 5_000,
        drain_delay_ms: 0,
        drain_timeout_ms: 10_000,
        reflection: true,
        ..ServerConfig::at(free, free)
    }
}

pub(crate) async fn serve(config: ServerConfig) -> Served {
    serve_with(config, |hosted| hosted).await
}

/// No caller is checked: `access.rs` has the tests of that.
pub(crate) fn no_names() -> AccessConfig {
    AccessConfig { mode: AccessMode::Off, ..AccessConfig::with_keys("") }
}

pub(crate) async fn serve_with(
    config: ServerConfig,
    more: impl FnOnce(Hosted) -> Hosted,
) -> Served {
    serve_for(config, no_names(), more).await
}

pub(crate) async fn serve_for(
    config: ServerConfig,
    access: AccessConfig,
    more: impl FnOnce(Hosted) -> Hosted,
) -> Served {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let drain = Drain::new();
    let sales = Sales::new(drain.clone());
    let hosted = more(Hosted::new().grpc(SaleServiceServer::new(sales.clone())));
    let listening = bind(&config, &access).await.unwrap();
    let scheme = if config.tls_cert_file.is_empty() { "http" } else { "https" };
    let grpc_url = format!("{scheme}://{}", listening.grpc_address());
    let http_address = listening.http_address();
    let (internal_address, routes_address) =
        (listening.internal_address(), listening.routes_address());
    let serving = tokio::spawn(listening.run("test", vec![hosted], drain.clone()));
    let abort = serving.abort_handle();
    Served {
        grpc_url,
        http_address,
        internal_address,
        routes_address,
        sales,
        drain,
        serving: Some(serving),
        abort,
    }
}

impl Served {
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.grpc_url.clone()).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> SaleServiceClient<Channel> {
        SaleServiceClient::new(self.channel().await)
    }

    /// The server's own end, after a drain.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        let serving = self.serving.take().expect("it is awaited once");
        tokio::time::timeout(PATIENCE, serving).await.expect("the server ends in time").unwrap()
    }

    /// `GET path` on the HTTP port.
    pub(crate) async fn http(&self, path: &str) -> (http::StatusCode, String) {
        http_at(self.http_address, path).await
    }
}

/// `GET path` at `address`.
pub(crate) async fn http_at(
    address: std::net::SocketAddr,
    path: &str,
) -> (http::StatusCode, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path).header("host", "test");
    let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
    (status, String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

impl Drop for Served {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

pub(crate) fn peer_config(url: &str) -> PeerConfig {
    PeerConfig { timeout_ms: 10_000, connect_timeout_ms: 2_000, ..PeerConfig::at(url) }
}

pub(crate) fn get(sale_id: &str) -> Request<GetSaleRequest> {
    Request::new(GetSaleRequest { sale_id: sale_id.to_owned() })
}

pub(crate) fn get_within(sale_id: &str, timeout: Duration) -> Request<GetSaleRequest> {
    let mut request = get(sale_id);
    request.set_timeout(timeout);
    request
}

pub(crate) fn sale(answer: Result<Response<GetSaleResponse>, Status>) -> Sale {
    answer.expect("the call succeeds").into_inner().sale.unwrap()
}

/// The failure in `answer`, which has `code`.
pub(crate) fn failure<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    code: Code,
) -> Failure {
    let status = answer.expect_err("the call fails");
    assert_eq!(status.code(), code, "{status:?}");
    Failure::from_status(&status).unwrap_or_else(|| panic!("{status:?} is not one of ours"))
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
