//! One service as a process of its own, always on the same port, so that the others reconnect after
//! it was killed.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use flashsale_proto::{NamedChannel, named_channel::OneKey};
use nix::sys::signal::Signal;
use tokio::{sync::Mutex, time::Instant};
use tonic::transport::Endpoint;

use super::{READY_WITHIN, Settings};
use crate::keys::KeyFolder;
use crate::servers::{Program, ProgramOptions, StartError, free_port};

/// What a service is.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Names its log and its ready file, and tells it from a second one of its kind.
    pub name: String,
    /// Its program.
    pub program: PathBuf,
    /// The arguments of the program.
    pub args: Vec<OsString>,
    /// Where its files are.
    pub dir: PathBuf,
    /// How long it may take to drain when it is stopped.
    pub stop_within: Duration,
    /// The keys of those who call it.
    pub keys: KeyFolder,
}

/// A service.
#[derive(Debug)]
pub struct Service {
    options: ServiceOptions,
    port: u16,
    http_port: u16,
    settings: Settings,
    running: Mutex<Option<Program>>,
    /// The process that was started last; 0 when it was stopped.
    pid: AtomicU32,
    /// It was killed before it was ready.
    died_early: AtomicBool,
}

impl Service {
    /// A service that is not started yet, with ports of its own.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn new(options: ServiceOptions) -> std::io::Result<Self> {
        Ok(Self {
            options,
            port: free_port()?,
            http_port: free_port()?,
            settings: Settings::default(),
            running: Mutex::default(),
            pid: AtomicU32::new(0),
            died_early: AtomicBool::new(false),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The process that was started last, unless it was stopped.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::SeqCst)).filter(|pid| *pid != 0)
    }

    /// Where its output goes.
    pub fn log_file(&self) -> PathBuf {
        self.options.dir.join(format!("{}.log", self.options.name))
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its metrics are, and its webhooks if it has any.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// A connection to it for a shop and an operator, made when it is first used and again whenever
    /// it breaks.
    pub fn channel(&self) -> anyhow::Result<NamedChannel> {
        let channel = Endpoint::from_shared(self.url())?
            .connect_timeout(Duration::from_secs(1))
            .connect_lazy();
        Ok(self.options.keys.shop_and_operator(channel))
    }

    /// The same as one of our services, by name: for what only that may call.
    pub fn channel_as(&self, service: &str) -> anyhow::Result<NamedChannel> {
        let key = OneKey::new(self.options.keys.service(service));
        Ok(self.channel()?.of(Arc::new(key)))
    }

    /// Starts it with `settings` on every start, and waits until it serves.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not serve in time.
    pub async fn start(&mut self, settings: Settings) -> anyhow::Result<()> {
        self.settings = settings;
        self.restart(&[]).await?;
        Ok(())
    }

    /// Kills it and starts it once more, with the variables `more` this time. That it may be killed
    /// before it is ready tells [`Self::was_killed`].
    ///
    /// # Errors
    /// If it cannot be started, ends otherwise than by SIGKILL, or does not serve in time.
    pub async fn restart(&self, more: &[(&str, String)]) -> anyhow::Result<()> {
        self.kill().await;
        self.died_early.store(false, Ordering::SeqCst);
        let ready_file = self.options.dir.join(format!("{}.ready", self.options.name));
        let own = [
            ("FLASHSALE_SERVER__GRPC_LISTEN", format!("127.0.0.1:{}", self.port)),
            ("FLASHSALE_SERVER__HTTP_LISTEN", format!("127.0.0.1:{}", self.http_port)),
            ("FLASHSALE_SERVER__READY_FILE", ready_file.display().to_string()),
        ];
        let mut env: Vec<(OsString, OsString)> = Vec::new();
        for (key, value) in self.settings.to_env()? {
            env.push((key.into(), value.into()));
        }
        env.extend(own.iter().chain(more).map(|(key, value)| (OsString::from(key), value.into())));
        let options = ProgramOptions {
            name: self.options.name.clone(),
            path: self.options.program.clone(),
            args: self.options.args.clone(),
            env,
            log_file: self.log_file(),
            ready_file,
            ready_within: READY_WITHIN,
        };
        match Program::start(options).await {
            Ok(program) => {
                self.pid.store(program.child().pid(), Ordering::SeqCst);
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

    /// SIGTERM, and a new start as soon as it has ended. Answers how long it took to end, or says
    /// that it had to be killed after `grace`.
    ///
    /// # Errors
    /// If it had to be killed, or does not start again.
    pub async fn roll(&self, grace: Duration) -> anyhow::Result<Duration> {
        self.pid.store(0, Ordering::SeqCst);
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
    pub async fn kill(&self) {
        self.pid.store(0, Ordering::SeqCst);
        if let Some(running) = self.running.lock().await.take() {
            running.child().kill();
            running.child().wait().await;
        }
    }

    /// Whether it ended by SIGKILL since it was started, and not by [`Self::kill`].
    pub async fn was_killed(&self) -> bool {
        let running = self.running.lock().await;
        let ended = running.as_ref().and_then(|running| running.child().ended());
        ended.is_some_and(|status| status.signal() == Some(Signal::SIGKILL as i32))
            || self.died_early.load(Ordering::SeqCst)
    }

    /// Waits until it ends without having been stopped; it cannot be restarted meanwhile. `None` if
    /// it does not run.
    pub async fn ended(&self) -> Option<ExitStatus> {
        match &*self.running.lock().await {
            Some(running) => Some(running.child().wait().await),
            None => None,
        }
    }

    /// SIGSTOP or SIGCONT.
    pub async fn signal(&self, signal: Signal) {
        if let Some(running) = &*self.running.lock().await {
            running.child().signal(signal);
        }
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.stop_within(self.options.stop_within).await
    }

    /// Stops it in order, which may take as long as `grace`.
    ///
    /// # Errors
    /// If it had to be killed.
    pub async fn stop_within(&self, grace: Duration) -> anyhow::Result<()> {
        self.pid.store(0, Ordering::SeqCst);
        let running = self.running.lock().await.take();
        if let Some(running) = running {
            running.stop(grace).await?;
        }
        Ok(())
    }
}
