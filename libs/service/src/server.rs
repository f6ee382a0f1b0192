//! The server of a process: its gRPC and HTTP ports, however many services are hosted.

mod connections;
mod grpc_port;
mod http_port;
mod readiness;
mod socket;
mod tls;

use std::{net::SocketAddr, panic::AssertUnwindSafe, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use futures::{FutureExt as _, future::join_all};
use tokio::{net::TcpListener, task::JoinSet, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::{Status, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{AccessConfig, Drain, Hosted, ServerConfig, Task, hosted::Ready, methods, stack};
use connections::{Connections, Listener};
use http_port::Readiness;
use socket::Socket;
use stack::Door;
use tls::Tls;

/// How long connections that were cut may take to notice.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);
/// What a connection may buffer of a caller's headers, in bytes.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Serves `hosted` until `drain` is begun and done.
///
/// # Errors
/// When a port is taken, the certificate or the keys cannot be read, and when a background task has
/// failed.
pub async fn serve(
    name: &'static str,
    server: &ServerConfig,
    access: &AccessConfig,
    hosted: Vec<Hosted>,
    drain: Drain,
) -> anyhow::Result<()> {
    bind(server, access).await?.run(name, hosted, drain).await
}

/// Takes the ports. Errors lead to where the section says that their pages are from now on.
///
/// # Errors
/// When one is taken, or the certificate or the keys cannot be read.
pub async fn bind(server: &ServerConfig, access: &AccessConfig) -> anyhow::Result<Listening> {
    flashsale_errors::publish_pages_at(&server.error_pages_url);
    let grpc = listen(server.grpc_listen, "server.grpc_listen").await?;
    let http = listen(server.http_listen, "server.http_listen").await?;
    let internal = listen_if(&server.internal_listen, "server.internal_listen").await?;
    let routes = listen_if(&server.routes_listen, "server.routes_listen").await?;
    let sidecar = sidecar(&server.sidecar_listen)?;
    let tls = Tls::open(server, access)?;
    let gate = stack::Gate::open(access)?;
    Ok(Listening {
        grpc_address: grpc.local_addr()?,
        http_address: http.local_addr()?,
        grpc,
        http,
        internal,
        routes,
        sidecar,
        tls,
        gate,
        config: server.clone(),
    })
}

async fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key} {address} cannot be listened on"))
}

/// Listens where the key says, if it says where.
async fn listen_if(address: &str, key: &str) -> anyhow::Result<Option<TcpListener>> {
    if address.is_empty() {
        return Ok(None);
    }
    let address = address.parse().with_context(|| format!("{key} {address} is no address"))?;
    Ok(Some(listen(address, key).await?))
}

/// Listens at the socket for the sidecar, if the configuration names one.
fn sidecar(path: &str) -> anyhow::Result<Option<Socket>> {
    if path.is_empty() {
        return Ok(None);
    }
    let bound = Socket::bind(Path::new(path));
    bound.map(Some).with_context(|| format!("server.sidecar_listen {path} cannot be listened on"))
}

/// The ports, taken but not served yet.
#[derive(Debug)]
pub struct Listening {
    grpc: TcpListener,
    http: TcpListener,
    internal: Option<TcpListener>,
    routes: Option<TcpListener>,
    sidecar: Option<Socket>,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    tls: Option<Arc<Tls>>,
    gate: Arc<stack::Gate>,
    config: ServerConfig,
}

impl Listening {
    /// Where gRPC is served.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where HTTP is served.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where the calls of operators and services are served, if they have a port of their own.
    pub fn internal_address(&self) -> Option<SocketAddr> {
        self.internal.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Where the services' own HTTP routes are served, if they have a port of their own.
    pub fn routes_address(&self) -> Option<SocketAddr> {
        self.routes.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves `hosted` until `drain` is begun and done. Dropping the future stops everything at
    /// once.
    ///
    /// # Errors
    /// When a background task has failed.
    pub async fn run(
        self,
        name: &'static str,
        hosted: Vec<Hosted>,
        drain: Drain,
    ) -> anyhow::Result<()> {
        let Listening {
            grpc,
            http,
            internal,
            routes,
            sidecar,
            grpc_address,
            http_address,
            tls,
            gate,
            config,
        } = self;
        let mut merged = Merged::of(hosted);
        let health = merged.add_health().await;
        if config.reflection {
            merged.add_reflection()?;
        }
        let readiness = Readiness::ready();

        // Cancelled when it goes, too: no connection outlives this call.
        let cut = CancellationToken::new();
        let _cut_at_the_end = cut.clone().drop_guard();

        let builder = Server::builder()
            .max_concurrent_streams(config.max_concurrent_streams)
            .http2_keepalive_interval(Some(Duration::from_millis(config.keepalive_interval_ms)))
            .http2_keepalive_timeout(Some(Duration::from_millis(config.keepalive_timeout_ms)))
            .http2_max_header_list_size(MAX_HEADER_BYTES);
        let grpc = Listener::Tcp(grpc);
        let mut doors = match internal {
            None => vec![("gRPC server", grpc, Door::All)],
            Some(internal) => vec![
                ("gRPC server", grpc, Door::Public),
                ("internal gRPC server", Listener::Tcp(internal), Door::All),
            ],
        };
        doors.extend(
            sidecar.map(|socket| ("sidecar's gRPC server", Listener::Sidecar(socket), Door::All)),
        );
        let shared = stack::Shared::new(&config, gate);
        for (name, listener, door) in doors {
            let connections =
                Connections::new(listener, tls.clone(), config.max_connections, cut.clone());
            let served = grpc_port::serve(
                builder.clone(),
                stack::around(merged.routes.clone(), &config, shared.clone(), door, drain.clone()),
                Arc::new(connections),
                merged.ready.iter().map(|condition| condition.ready.clone()).collect(),
                drain.clone(),
            );
            // It checks its own end: an outside observer may see it end before or after the drain
            // starts.
            let asked = drain.clone();
            let served = async move {
                served.await?;
                anyhow::ensure!(asked.is_draining(), "it ended by itself");
                Ok(())
            };
            merged.tasks.push(Task { name, future: served.boxed() });
        }
        let http_stop = CancellationToken::new();
        let own = http_port::own_routes(readiness.clone());
        let http_ports = match routes {
            None => vec![(http, merged.http.merge(own))],
            Some(routes) => vec![(http, own), (routes, merged.http)],
        };
        let http_ports = http_ports.into_iter().map(|(listener, router)| {
            let listener = Listener::Tcp(listener);
            let connections = Connections::new(listener, None, config.max_connections, cut.clone());
            http_port::serve(router, connections, http_stop.clone())
        });
        let http = AbortOnDropHandle::new(tokio::spawn(join_all(http_ports.collect::<Vec<_>>())));
        let following = AbortOnDropHandle::new(tokio::spawn(readiness::follow(
            merged.ready,
            health.clone(),
            readiness.clone(),
        )));
        let mut tasks = Running::spawn(merged.tasks);
        announce(&config.ready_file, grpc_address, http_address).await?;
        tracing::info!(
            %grpc_address, %http_address, services = merged.services.join(", "), "{name} is serving"
        );

        // Until the drain begins, or a task has ended before it.
        let mut failure = None;
        while failure.is_none() {
            tokio::select! {
                () = drain.begun() => break,
                Some(ended) = tasks.next() => failure = ended.err(),
            }
        }
        if let Some(error) = &failure {
            tracing::error!(error = format!("{error:#}"), "{name} cannot go on");
        }

        following.abort();
        readiness.set(false);
        for service in merged.services.iter().chain([&""]) {
            health.set_service_status(service, ServingStatus::NotServing).await;
        }
        if failure.is_none() {
            tracing::info!(
                delay_ms = config.drain_delay_ms,
                "no longer ready; serving what still comes"
            );
            tokio::select! {
                () = tokio::time::sleep(config.drain_delay()) => {}
                () = drain.started() => {}
            }
        }
        drain.start();

        let deadline = Instant::now() + config.drain_timeout();
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, tasks.next()).await {
            failure = failure.or(ended.err());
        }
        http_stop.cancel();
        let _ = tokio::time::timeout_at(deadline, http).await;
        cut.cancel();
        if !tasks.names.is_empty() {
            tracing::warn!(tasks = tasks.names.join(", "), "not all ended in time; stopping them");
            let noticed = async { while tasks.next().await.is_some() {} };
            let _ = tokio::time::timeout(CUT_TIMEOUT, noticed).await;
        }
        tracing::info!("{name} has ended");
        failure.map_or(Ok(()), Err)
    }
}

/// What the hosted services bring, merged.
struct Merged {
    routes: axum::Router,
    services: Vec<&'static str>,
    http: axum::Router,
    tasks: Vec<Task>,
    ready: Vec<Ready>,
}

impl Merged {
    fn of(hosted: Vec<Hosted>) -> Self {
        let mut merged = Self {
            routes: axum::Router::new().fallback(async || {
                Status::unimplemented("there is no such service here")
                    .into_http::<axum::body::Body>()
            }),
            services: Vec::new(),
            http: axum::Router::new(),
            tasks: Vec::new(),
            ready: Vec::new(),
        };
        for hosted in hosted {
            merged.add(hosted);
        }
        merged
    }

    fn add(&mut self, hosted: Hosted) {
        self.routes = std::mem::take(&mut self.routes).merge(hosted.routes);
        self.http = std::mem::take(&mut self.http).merge(hosted.http);
        self.services.extend(hosted.services);
        self.tasks.extend(hosted.tasks);
        self.ready.extend(hosted.ready);
    }

    /// Adds `grpc.health.v1`, which reports the process under the empty name and each service under
    /// its own.
    async fn add_health(&mut self) -> HealthReporter {
        let (reporter, server) = tonic_health::server::health_reporter();
        for service in &self.services {
            reporter.set_service_status(service, ServingStatus::Serving).await;
        }
        self.routes = std::mem::take(&mut self.routes).merge(Hosted::new().grpc(server).routes);
        reporter
    }

    /// Adds reflection of what is hosted, of health and of itself; in both versions, as not every
    /// tool knows the newer.
    fn add_reflection(&mut self) -> anyhow::Result<()> {
        const INFRASTRUCTURE: [&str; 3] = [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ];
        let builder = || {
            let own = [
                tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
                tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            ];
            let mut builder =
                tonic_reflection::server::Builder::configure().include_reflection_service(false);
            for descriptors in methods::DESCRIPTORS.into_iter().chain(own) {
                builder = builder.register_encoded_file_descriptor_set(descriptors);
            }
            for service in self.services.iter().chain(&INFRASTRUCTURE) {
                builder = builder.with_service_name(*service);
            }
            builder
        };
        let reflection = Hosted::new().grpc(builder().build_v1()?).grpc(builder().build_v1alpha()?);
        self.routes = std::mem::take(&mut self.routes).merge(reflection.routes);
        Ok(())
    }
}

type Ended = (&'static str, anyhow::Result<()>);

/// The tasks that have not ended yet.
struct Running {
    set: JoinSet<Ended>,
    names: Vec<&'static str>,
}

impl Running {
    fn spawn(tasks: Vec<Task>) -> Self {
        let mut running = Self { set: JoinSet::new(), names: Vec::new() };
        for Task { name, future } in tasks {
            running.names.push(name);
            running.set.spawn(async move {
                let result = AssertUnwindSafe(future).catch_unwind().await;
                let result = result.unwrap_or_else(|panic| {
                    Err(anyhow!("it panicked: {}", stack::panic_words(&*panic)))
                });
                (name, result)
            });
        }
        running
    }

    /// Waits for one to end, and tells how; `None` once all have.
    async fn next(&mut self) -> Option<anyhow::Result<()>> {
        Some(match self.set.join_next().await? {
            Ok((name, result)) => {
                if let Some(at) = self.names.iter().position(|running| *running == name) {
                    self.names.swap_remove(at);
                }
                result.with_context(|| format!("the background task {name} failed"))
            }
            Err(error) => Err(anyhow!("a background task was stopped: {error}")),
        })
    }
}

/// Tells the process that started this one that it serves, and where. Written under another name
/// and renamed, so that no reader sees half of it.
async fn announce(file: &str, grpc: SocketAddr, http: SocketAddr) -> anyhow::Result<()> {
    if file.is_empty() {
        return Ok(());
    }
    let beside = Path::new(file).with_extension("partial");
    tokio::fs::write(&beside, format!("{grpc} {http}\n"))
        .await
        .and(tokio::fs::rename(&beside, file).await)
        .with_context(|| format!("server.ready_file {file} cannot be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_still_running_is_known_by_name() {
        let task = |name, future| Task { name, future };
        let mut running = Running::spawn(vec![
            task("gRPC server", std::future::pending().boxed()),
            task("claimer", async { Ok(()) }.boxed()),
            task("relay", std::future::pending().boxed()),
        ]);
        assert!(matches!(running.next().await, Some(Ok(()))));
        running.names.sort_unstable();
        assert_eq!(running.names, ["gRPC server", "relay"]);
    }
}
