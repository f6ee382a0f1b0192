//! Programs of ours (services, stand-ins) as children.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::process::{Child, Command, log_tail};
use super::server::{POLL, StartError, StopError};

/// What to start and how to tell that it is ready.
#[derive(Debug, Clone)]
pub struct ProgramOptions {
    /// The name used in errors.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables on top of our environment.
    pub env: Vec<(OsString, OsString)>,
    /// The file its output is appended to.
    pub log_file: PathBuf,
    /// The file it writes its address into, complete and at once (by renaming), when it is ready.
    /// One left by an earlier run is removed before the start.
    pub ready_file: PathBuf,
    /// How long it may take to get ready.
    pub ready_within: Duration,
}

/// A running program of ours. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    name: String,
    address: String,
    log_file: PathBuf,
    child: Child,
}

impl Program {
    /// Starts the program and waits until it has written its ready file.
    ///
    /// # Errors
    /// If it cannot be started, ends before it is ready, or is not ready in time; the message has
    /// the end of its log.
    pub async fn start(options: ProgramOptions) -> Result<Self, StartError> {
        let name = options.name;
        let failed = |what: &str, source| StartError::Io {
            name: name.clone(),
            what: what.to_owned(),
            source,
        };
        match fs::remove_file(&options.ready_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove its old ready file", error));
            }
            Ok(()) | Err(_) => {}
        }
        let log_start = fs::metadata(&options.log_file).map_or(0, |meta| meta.len());
        let mut command = Command::new(&options.path).args(&options.args).log(&options.log_file);
        for (key, value) in &options.env {
            command = command.env(key, value);
        }
        let child = command
            .spawn()
            .map_err(|error| failed(&format!("start {}", options.path.display()), error))?;
        let waited = tokio::time::timeout(options.ready_within, async {
            loop {
                if let Ok(address) = fs::read_to_string(&options.ready_file) {
                    return Some(address.trim().to_owned());
                }
                if child.ended().is_some() {
                    return None;
                }
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
        match waited {
            Ok(Some(address)) => Ok(Self { name, address, log_file: options.log_file, child }),
            Ok(None) => Err(StartError::Ended {
                name,
                status: child.ended().map_or_else(String::new, |status| status.to_string()),
                log: log_tail(&options.log_file, log_start),
            }),
            Err(_) => Err(StartError::NotReady {
                name,
                limit: options.ready_within,
                reason: format!("{} was not written", options.ready_file.display()),
                log: log_tail(&options.log_file, log_start),
            }),
        }
    }

    /// What it wrote into its ready file.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where its output goes.
    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// Its process: for waiting on its end, or for signals.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// SIGTERM, then SIGKILL after `grace`.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(self, grace: Duration) -> Result<(), StopError> {
        if self.child.stop(Signal::SIGTERM, grace).await {
            Ok(())
        } else {
            Err(StopError { name: self.name, grace })
        }
    }
}
