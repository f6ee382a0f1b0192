//! An SMTP server (RFC 5321) that keeps every mail it accepts and sends none: a sink for machines
//! where no mail may leave. It shares no code with the services that send to it.

pub mod command;
pub mod log;
pub mod message;
mod server;
pub mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::log::Log;
use crate::server::Shared;

/// How long dialogues under way may take to finish after [`Sink::stop`].
const GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes any free port.
    pub listen: SocketAddr,
    /// The log of accepted mail; appended to.
    pub log: PathBuf,
    /// Folder for whole messages.
    pub maildir: Option<PathBuf>,
    /// The probability that a message is refused with 451, 0 to 1.
    pub fail_rate: f64,
    /// Recipients containing this, in any case, are refused with 550.
    pub reject_pattern: Option<String>,
    /// Largest message, in bytes.
    pub max_size: u64,
    /// Connections at once; a further one is turned away with 421.
    pub max_connections: usize,
    /// How long a connection may be silent before it is closed.
    pub idle_timeout: Duration,
}

#[derive(Debug)]
pub struct Sink {
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sink {
    /// Opens the log and the port and starts to serve.
    ///
    /// # Errors
    /// A setting is unusable, the log cannot be opened, or the port is taken.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        if !(0.0..=1.0).contains(&config.fail_rate) {
            anyhow::bail!("--fail-rate must be between 0 and 1");
        }
        let log = Log::open(&config.log, config.maildir.as_deref())
            .with_context(|| format!("the log {} cannot be opened", config.log.display()))?;
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let addr = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = Arc::new(Shared { config, log });
        tasks.spawn(server::accept(listener, shared, stop.clone(), tasks.clone()));
        Ok(Self { addr, stop, tasks })
    }

    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops it: no new connections, a message being received is still accepted, idle dialogues get
    /// 421.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(GRACE, self.tasks.wait()).await;
    }
}
