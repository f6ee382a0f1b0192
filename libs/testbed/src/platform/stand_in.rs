//! A stand-in for an outside service, always at the same address, so that the services reconnect
//! after it was down.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use super::READY_WITHIN;
use crate::servers::{Program, ProgramOptions, free_port};

/// What a stand-in is.
#[derive(Debug)]
pub struct StandInOptions<'a> {
    /// Names its output and its ready file.
    pub name: &'a str,
    /// Its program.
    pub program: PathBuf,
    /// Arguments beside those that say where it listens and writes.
    pub args: Vec<OsString>,
    /// Where its files are.
    pub dir: &'a Path,
    /// The file, there, that it writes down in what it did.
    pub log: &'a str,
    /// How long it may take to end when it is stopped.
    pub stop_within: Duration,
}

/// A stand-in, up or down. Its log goes on where it stopped.
#[derive(Debug)]
pub struct StandIn {
    options: ProgramOptions,
    log: PathBuf,
    address: String,
    stop_within: Duration,
    running: Option<Program>,
}

impl StandIn {
    /// Starts it at a free port.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready in time.
    pub async fn start(options: StandInOptions<'_>) -> anyhow::Result<Self> {
        Self::start_at(format!("127.0.0.1:{}", free_port()?), options).await
    }

    /// Starts it where a service already expects it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(address: String, options: StandInOptions<'_>) -> anyhow::Result<Self> {
        let StandInOptions { name, program, args, dir, log, stop_within } = options;
        let ready_file = dir.join(format!("{name}.ready"));
        let log = dir.join(log);
        let mut all = args;
        all.extend(["--log".into(), log.clone().into()]);
        all.extend(["--listen".into(), address.clone().into()]);
        all.extend(["--ready-file".into(), ready_file.clone().into()]);
        let options = ProgramOptions {
            name: name.to_owned(),
            path: program,
            args: all,
            env: Vec::new(),
            log_file: dir.join(format!("{name}.log")),
            ready_file,
            ready_within: READY_WITHIN,
        };
        let mut stand_in = Self { options, log, address, stop_within, running: None };
        stand_in.up().await?;
        Ok(stand_in)
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it writes down.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// SIGKILL.
    pub async fn down(&mut self) {
        if let Some(running) = self.running.take() {
            running.child().kill();
            running.child().wait().await;
        }
    }

    /// Starts it again, if it is down.
    ///
    /// # Errors
    /// If it cannot be started, ends, or is not ready in time.
    pub async fn up(&mut self) -> anyhow::Result<()> {
        if self.running.is_none() {
            self.running = Some(Program::start(self.options.clone()).await?);
        }
        Ok(())
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn end(self) -> anyhow::Result<()> {
        if let Some(running) = self.running {
            running.stop(self.stop_within).await?;
        }
        Ok(())
    }
}
