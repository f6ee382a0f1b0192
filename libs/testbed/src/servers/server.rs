//! What the three servers have in common: start on free ports, wait until ready, break, restart,
//! stop.

use std::fmt;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use thiserror::Error;
use tokio::time::Instant;

use super::ports;
use super::process::{Child, Command, log_tail};

/// How often a condition is looked at again.
pub(crate) const POLL: Duration = Duration::from_millis(10);
/// How long a server may take to get ready; on a busy machine Postgres takes seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long one try of the server's protocol may take.
const TRY_WITHIN: Duration = Duration::from_secs(2);
/// How long a server may take to stop in order: Postgres writes a checkpoint.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How long a process may take to notice SIGSTOP.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);
/// How often another port is tried when another process was quicker.
const PORT_TRIES: u32 = 10;
/// How long a restart waits for its own port, which another process may hold for a moment.
const SAME_PORT_WITHIN: Duration = Duration::from_secs(10);

/// Why a server or a program of ours did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The system refused something.
    #[error("{name}: cannot {what}: {source}")]
    Io {
        /// Which one.
        name: String,
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended before it was ready ({status}). The end of its log:\n{log}")]
    Ended {
        /// Which one.
        name: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// It runs but did not get ready.
    #[error("{name} was not ready within {limit:?}: {reason}. The end of its log:\n{log}")]
    NotReady {
        /// Which one.
        name: String,
        /// How long it was waited for.
        limit: Duration,
        /// What the last try said.
        reason: String,
        /// The end of its log.
        log: String,
    },
    /// Its port is held by another process.
    #[error("{name}: the ports {ports:?} of 127.0.0.1 are taken by another process")]
    PortTaken {
        /// Which one.
        name: String,
        /// The ports it was to listen on.
        ports: Vec<u16>,
    },
}

/// A server or program did not stop in order and was killed.
#[derive(Debug, Error)]
#[error("{name} did not stop within {grace:?} and was killed")]
pub struct StopError {
    /// Which one.
    pub name: String,
    /// How long it had.
    pub grace: Duration,
}

/// What a kind of server is made of. Implemented here only: by [`crate::RedisServer`]'s,
/// [`crate::NatsServer`]'s and [`crate::PostgresServer`]'s parts.
pub trait Kind: fmt::Debug + Send + Sync + 'static {
    /// The name used in errors and for the log file.
    const NAME: &'static str;
    /// How many ports it listens on; the first is the one for clients.
    const PORTS: usize;
    /// The signal for stopping in order.
    const STOP: Signal;
    /// The signal for ending at once if the parent dies.
    const DEATH: Signal;

    /// Once, before the first start.
    fn prepare(&mut self, dir: &Path) -> impl Future<Output = Result<(), StartError>> + Send;

    /// What to run; called again for each try with other ports.
    ///
    /// # Errors
    /// If a configuration file cannot be written.
    fn command(&self, dir: &Path, ports: &[u16]) -> Result<Command, StartError>;

    /// One try of the server's own protocol: is *this* process (not another one on its port) ready
    /// for clients?
    fn ready(
        &self,
        dir: &Path,
        ports: &[u16],
        pid: u32,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Once, after the server has ended and will not be started again.
    fn finish(&mut self) {}
}

/// A running server on private ports of 127.0.0.1. Dropped, it is stopped at once.
#[derive(Debug)]
pub struct Server<K: Kind> {
    // In this order: the process ends before what it stands on is cleared away.
    child: Child,
    kind: Finished<K>,
    dir: PathBuf,
    ports: Vec<u16>,
}

/// Sees to it that `finish` is called on every way out.
#[derive(Debug)]
struct Finished<K: Kind>(K);

impl<K: Kind> Drop for Finished<K> {
    fn drop(&mut self) {
        self.0.finish();
    }
}

impl<K: Kind> Server<K> {
    pub(crate) async fn launch(kind: K, dir: PathBuf) -> Result<Self, StartError> {
        let dir = std::path::absolute(dir).map_err(|e| io_error::<K>("find its folder", e))?;
        fs::create_dir_all(&dir)
            .map_err(|e| io_error::<K>(&format!("make {}", dir.display()), e))?;
        let mut kind = Finished(kind);
        kind.0.prepare(&dir).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let ports = (0..K::PORTS)
                .map(|_| ports::free_port())
                .collect::<io::Result<Vec<u16>>>()
                .map_err(|e| io_error::<K>("find a free port", e))?;
            match start(&kind.0, &dir, &ports).await {
                Ok(child) => {
                    tracing::debug!(server = K::NAME, pid = child.pid(), ?ports, "started");
                    return Ok(Self { child, kind, dir, ports });
                }
                Err(StartError::PortTaken { .. }) if tries < PORT_TRIES => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn kind(&self) -> &K {
        &self.kind.0
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub(crate) fn port_at(&self, index: usize) -> u16 {
        self.ports[index]
    }

    /// The server's process: for its id, for waiting on its end, or for signals.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where its output goes.
    pub fn log_file(&self) -> PathBuf {
        log_file::<K>(&self.dir)
    }

    /// SIGKILL, as by a crash of the machine's making. Returns when the process is gone;
    /// [`Self::restart`] brings it back.
    pub async fn kill(&self) {
        self.child.kill();
        self.child.wait().await;
    }

    /// SIGSTOP: connections stay open and nothing answers, as behind a lost network.
    ///
    /// Returns when the process has stopped: the signal alone lets it finish what it is at.
    pub fn pause(&self) {
        self.child.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        let until = std::time::Instant::now() + STOPPED_WITHIN;
        while std::time::Instant::now() < until {
            // The state stands behind the name, which is in brackets.
            let state = fs::read_to_string(&stat).ok();
            let state = state.as_deref().and_then(|stat| stat.rsplit(") ").next());
            if state.is_none_or(|state| state.starts_with(['T', 't', 'Z', 'X'])) {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// SIGCONT: ends [`Self::pause`].
    pub fn resume(&self) {
        self.child.signal(Signal::SIGCONT);
    }

    /// Stops the server in order if it runs, and starts it again on the same ports and data.
    ///
    /// # Errors
    /// If it does not come back.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.child.stop(K::STOP, STOP_WITHIN).await;
        let deadline = Instant::now() + SAME_PORT_WITHIN;
        self.child = loop {
            match start(&self.kind.0, &self.dir, &self.ports).await {
                Ok(child) => break child,
                Err(StartError::PortTaken { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(POLL * 10).await;
                }
                Err(error) => return Err(error),
            }
        };
        Ok(())
    }

    /// Stops the server in order. Its data stays.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(self) -> Result<(), StopError> {
        if self.child.stop(K::STOP, STOP_WITHIN).await {
            Ok(())
        } else {
            Err(StopError { name: K::NAME.to_owned(), grace: STOP_WITHIN })
        }
    }
}

/// One start on these ports, waited for until the server answers.
async fn start<K: Kind>(kind: &K, dir: &Path, ports: &[u16]) -> Result<Child, StartError> {
    let log = log_file::<K>(dir);
    let log_start = fs::metadata(&log).map_or(0, |meta| meta.len());
    let command = kind.command(dir, ports)?.clean_env().log(&log).death_signal(K::DEATH);
    let child = command
        .spawn()
        .map_err(|e| io_error::<K>(&format!("start {}", command.program.display()), e))?;
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        let ready = tokio::time::timeout(TRY_WITHIN, kind.ready(dir, ports, child.pid()));
        let reason = match ready.await {
            Ok(Ok(())) => return Ok(child),
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {TRY_WITHIN:?}"),
        };
        if let Some(status) = child.ended() {
            let log = log_tail(&log, log_start);
            if log.contains("in use") {
                return Err(StartError::PortTaken {
                    name: K::NAME.to_owned(),
                    ports: ports.to_vec(),
                });
            }
            return Err(StartError::Ended {
                name: K::NAME.to_owned(),
                status: status.to_string(),
                log,
            });
        }
        if Instant::now() >= deadline {
            return Err(StartError::NotReady {
                name: K::NAME.to_owned(),
                limit: READY_WITHIN,
                reason,
                log: log_tail(&log, log_start),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

fn log_file<K: Kind>(dir: &Path) -> PathBuf {
    dir.join(format!("{}.log", K::NAME))
}

pub(crate) fn io_error<K: Kind>(what: &str, source: io::Error) -> StartError {
    StartError::Io { name: K::NAME.to_owned(), what: what.to_owned(), source }
}
