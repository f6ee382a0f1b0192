//! One service as a process of its own, always on the same port, so that the others find it again after it was killed.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use flashsale_testbed::{Program, ProgramOptions, StartError, free_port};
use nix::sys::signal::Signal;
use tokio::{sync::Mutex, time::Instant};
use tonic::transport::{Channel, Endpoint};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Variables of the environment, without the prefix.
pub(crate) type Env = Vec<(String, String)>;

/// A service.
#[derive(Debug)]
pub(crate) struct Service {
    /// What it serves, as `flashsale-serve` names it.
    service: String,
    name: String,
    program: PathBuf,
    dir: PathBuf,
    port: u16,
    http_port: u16,
    env: Env,
    running: Mutex<Option<Program>>,
    /// It was killed before it was ready.
    died_early: AtomicBool,
}

/// A program of ours: they are built side by side.
pub(crate) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("this program cannot find itself")?;
    let path = here.with_file_name(name);
    ensure!(path.exists(), "{} is missing: say `make build`", path.display());
    Ok(path)
}

impl Service {
    /// A service that is not started yet; `name` tells it from a second one of its kind.
    pub(crate) fn new(service: &str, name: &str, dir: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            service: service.to_owned(),
            name: name.to_owned(),
            program: sibling("flashsale-serve")?,
            dir,
            port: free_port()?,
            http_port: free_port()?,
            env: Env::new(),
            running: Mutex::default(),
            died_early: AtomicBool::new(false),
        })
    }

    /// Where it serves.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its metrics are, and its webhooks if it has any.
    pub(crate) fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// A connection to it, made when it is first used and again whenever it breaks.
    pub(crate) fn channel(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(self.url())?
            .connect_timeout(Duration::from_secs(1))
            .connect_lazy())
    }

    /// Starts it with `env` on every start, and waits until it serves.
    pub(crate) async fn start(&mut self, env: Env) -> anyhow::Result<()> {
        self.env = env;
        self.restart(&[]).await?;
        Ok(())
    }

    /// Kills it and starts it once more, with `more` this time. That it may be killed before it is ready tells [`Self::was_killed`].
    pub(crate) async fn restart(&self, more: &[(&str, String)]) -> anyhow::Result<()> {
        self.kill().await;
        self.died_early.store(false, Ordering::SeqCst);
        let ready_file = self.dir.join(format!("{}.ready", self.name));
        let own = [
            ("SERVER__GRPC_LISTEN", format!("127.0.0.1:{}", self.port)),
            ("SERVER__HTTP_LISTEN", format!("127.0.0.1:{}", self.http_port)),
            ("SERVER__READY_FILE", ready_file.display().to_string()),
        ];
        let prefixed = |key: &str| OsString::from(format!("FLASHSALE_{key}"));
        let mut env: Vec<(OsString, OsString)> =
            self.env.iter().map(|(key, value)| (prefixed(key), value.into())).collect();
        env.extend(own.iter().map(|(key, value)| (prefixed(key), value.into())));
        env.extend(more.iter().map(|(key, value)| (OsString::from(key), value.into())));
        let options = ProgramOptions {
            name: self.name.clone(),
            path: self.program.clone(),
            args: vec![self.service.clone().into()],
            env,
            log_file: self.dir.join(format!("{}.log", self.name)),
            ready_file,
            ready_within: READY_WITHIN,
        };
        match Program::start(options).await {
            Ok(program) => {
                *self.running.lock().await = Some(program);
                Ok(())
            }
            Err(StartError::Ended { status, .. }) if status.contains("signal: 9") => {
                self.died_early.store(true, Ordering::SeqCst);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// SIGTERM, and a new start as soon as it has ended. Answers how long it took to end, or says that it had to be killed after `grace`.
    pub(crate) async fn roll(&self, grace: Duration) -> anyhow::Result<Duration> {
        let running = self.running.lock().await.take();
        let since = Instant::now();
        let ended = match running {
            Some(running) => running.stop(grace).await,
            None => Ok(()),
        };
        let lasted = since.elapsed();
        self.restart(&[]).await?;
        ended?;
        Ok(lasted)
    }

    /// SIGKILL, if it runs.
    pub(crate) async fn kill(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.child().kill();
            running.child().wait().await;
        }
    }

    /// Whether it was killed by somebody else, or by itself, since it was started.
    pub(crate) async fn was_killed(&self) -> bool {
        let running = self.running.lock().await;
        let ended = running.as_ref().and_then(|running| running.child().ended());
        ended.is_some_and(|status| status.signal() == Some(Signal::SIGKILL as i32))
            || self.died_early.load(Ordering::SeqCst)
    }

    /// SIGSTOP or SIGCONT.
    pub(crate) async fn signal(&self, signal: Signal) {
        if let Some(running) = &*self.running.lock().await {
            running.child().signal(signal);
        }
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        if let Some(running) = self.running.into_inner() {
            running.stop(STOP_WITHIN).await?;
        }
        Ok(())
    }
}
