//! A stand-in for somebody else's service, always at the same address, so that ours find it again after it was down.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use flashsale_testbed::{Program, ProgramOptions, free_port};

use super::service::sibling;

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A stand-in, up or down. Its log goes on where it stopped.
#[derive(Debug)]
pub(crate) struct StandIn {
    options: ProgramOptions,
    log: PathBuf,
    address: String,
    running: Option<Program>,
}

impl StandIn {
    /// Starts the program `name` with its files in `dir`.
    pub(crate) async fn start(name: &str, dir: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let ready_file = dir.join(format!("{name}.ready"));
        let log = dir.join(format!("{name}.jsonl"));
        let mut all: Vec<OsString> = args.iter().map(Into::into).collect();
        all.extend(["--log".into(), log.clone().into()]);
        all.extend(["--listen".into(), address.clone().into()]);
        all.extend(["--ready-file".into(), ready_file.clone().into()]);
        let options = ProgramOptions {
            name: name.to_owned(),
            path: sibling(name)?,
            args: all,
            env: Vec::new(),
            log_file: dir.join(format!("{name}.log")),
            ready_file,
            ready_within: READY_WITHIN,
        };
        let mut stand_in = Self { options, log, address, running: None };
        stand_in.up().await?;
        Ok(stand_in)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it writes down.
    pub(crate) fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// SIGKILL.
    pub(crate) async fn down(&mut self) {
        if let Some(running) = self.running.take() {
            running.child().kill();
            running.child().wait().await;
        }
    }

    /// Starts it again, if it is down.
    pub(crate) async fn up(&mut self) -> anyhow::Result<()> {
        if self.running.is_none() {
            self.running = Some(Program::start(self.options.clone()).await?);
        }
        Ok(())
    }

    /// Stops it in order.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        if let Some(running) = self.running {
            running.stop(STOP_WITHIN).await?;
        }
        Ok(())
    }
}
