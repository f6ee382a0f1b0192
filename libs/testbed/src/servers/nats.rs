//! A private NATS server with JetStream, and with the users of the services.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::nats_operator::NatsOperator;
use super::process::Command;
use super::server::{Kind, Server, StartError, io_error};
use super::tls::ServerTls;
use super::tools::Tools;
use crate::grants::Grants;

/// How a private NATS server is set up.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// When JetStream syncs what it stored: `always` (before each ack) or a duration such as `2m`,
    /// which is what the server does unless told otherwise.
    pub sync_interval: String,
    /// The longest message it takes.
    pub max_payload_bytes: u32,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self { sync_interval: "2m".to_owned(), max_payload_bytes: 1024 * 1024 }
    }
}

/// A private NATS server.
pub type NatsServer = Server<Nats>;

/// What a [`NatsServer`] is made of.
#[derive(Debug)]
pub struct Nats {
    program: PathBuf,
    options: NatsOptions,
    /// How it introduces itself: no other server has this name.
    name: String,
    routes: Option<Routes>,
    tls: Option<ServerTls>,
    /// What its configuration says of an operator.
    operator: String,
}

/// How the servers of a cluster reach each other.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    /// The port where this one listens for the others.
    pub(crate) own: u16,
    /// Those of all of them.
    pub(crate) all: Vec<u16>,
}

impl NatsServer {
    /// Starts NATS with JetStream's data in `dir` and waits until JetStream is up.
    ///
    /// # Errors
    /// If it does not start; the message has the end of its log.
    pub async fn start(
        tools: &Tools,
        dir: impl Into<PathBuf>,
        options: NatsOptions,
    ) -> Result<Self, StartError> {
        Self::start_routed(tools, dir.into(), options, None).await
    }

    /// The same, reached over TLS alone, by clients with a certificate; and with an operator by
    /// those alone that have its credentials.
    ///
    /// # Errors
    /// If it does not start; the message has the end of its log.
    pub async fn start_over_tls(
        tools: &Tools,
        dir: impl Into<PathBuf>,
        options: NatsOptions,
        tls: ServerTls,
        operator: Option<&NatsOperator>,
    ) -> Result<Self, StartError> {
        let dir = dir.into();
        let mut nats = Nats::new(tools, &dir, options);
        nats.tls = Some(tls);
        nats.operator = operator.map(|operator| operator.config().to_owned()).unwrap_or_default();
        Self::launch(nats, dir).await
    }

    /// Starts NATS alone, or as one of a cluster.
    pub(crate) async fn start_routed(
        tools: &Tools,
        dir: PathBuf,
        options: NatsOptions,
        routes: Option<Routes>,
    ) -> Result<Self, StartError> {
        let mut nats = Nats::new(tools, &dir, options);
        nats.routes = routes;
        Self::launch(nats, dir).await
    }

    /// `nats://127.0.0.1:<port>`, or `tls://…` over TLS.
    pub fn url(&self) -> String {
        let scheme = if self.kind().tls.is_some() { "tls" } else { "nats" };
        format!("{scheme}://127.0.0.1:{}", self.port())
    }

    /// `http://127.0.0.1:<port>` of the monitoring endpoint (`/jsz`, `/varz`, `/healthz`).
    pub fn monitoring_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port_at(1))
    }
}

impl Nats {
    fn new(tools: &Tools, dir: &Path, options: NatsOptions) -> Self {
        let program = tools.nats_server().to_owned();
        let folder = dir.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("flashsale-{}-{folder}", std::process::id());
        Self { program, options, name, routes: None, tls: None, operator: String::new() }
    }
}

impl Kind for Nats {
    const NAME: &'static str = "nats";
    const PORTS: usize = 2;
    // Not SIGTERM, on which it exits with 1.
    const STOP: Signal = Signal::SIGINT;
    const DEATH: Signal = Signal::SIGKILL;

    async fn prepare(&mut self, _dir: &Path) -> Result<(), StartError> {
        Ok(())
    }

    fn command(&self, dir: &Path, ports: &[u16]) -> Result<Command, StartError> {
        let config = dir.join("nats.conf");
        let mut text = format!(
            "server_name: {name:?}\n\
             listen: \"127.0.0.1:{client}\"\n\
             http: \"127.0.0.1:{monitoring}\"\n\
             max_payload: {max_payload}\n\
             jetstream {{\n  store_dir: {store:?}\n  sync_interval: {sync:?}\n}}\n",
            name = self.name,
            client = ports[0],
            monitoring = ports[1],
            max_payload = self.options.max_payload_bytes,
            store = dir.join("jetstream"),
            sync = self.options.sync_interval,
        );
        if let Some(Routes { own, all }) = &self.routes {
            let all: Vec<String> =
                all.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
            text.push_str(&format!(
                "cluster {{\n  name: \"flashsale\"\n  listen: \"127.0.0.1:{own}\"\n  routes: [{}]\n}}\n",
                all.join(", ")
            ));
        }
        if let Some(tls) = &self.tls {
            text.push_str(&format!(
                "tls {{\n  cert_file: {:?}\n  key_file: {:?}\n  ca_file: {:?}\n  verify: true\n}}\n",
                tls.own.cert_file, tls.own.key_file, tls.ca_file
            ));
        }
        // With an operator it is the users' credentials that say what they may do.
        if self.operator.is_empty() {
            text.push_str(&Grants::list().nats_conf_of_tests());
        } else {
            text.push_str(&self.operator);
        }
        fs::write(&config, text)
            .map_err(|e| io_error::<Self>(&format!("write {}", config.display()), e))?;
        Ok(Command::new(&self.program).arg("--config").arg(&config))
    }

    async fn ready(&self, _dir: &Path, ports: &[u16], _pid: u32) -> Result<(), String> {
        let info = async {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).await?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await?;
            Ok::<_, std::io::Error>(line)
        };
        let info = info.await.map_err(|error| error.to_string())?;
        let info: serde_json::Value = info
            .strip_prefix("INFO ")
            .and_then(|json| serde_json::from_str(json).ok())
            .ok_or_else(|| "no INFO line".to_owned())?;
        if info["server_name"] != self.name.as_str() {
            return Err("another server answers on this port".to_owned());
        }
        if info["jetstream"] != true {
            return Err("JetStream is not up yet".to_owned());
        }
        let health = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ports[1])).await?;
            stream.write_all(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let health = health.await.map_err(|error| error.to_string())?;
        if health.split_whitespace().nth(1) == Some("200") {
            Ok(())
        } else {
            Err(health.lines().last().unwrap_or("no answer").to_owned())
        }
    }
}
