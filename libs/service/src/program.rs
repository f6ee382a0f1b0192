//! The main function of every service.

use std::{future::Future, io::Write as _, process::ExitCode};

use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};

use crate::{CommonConfig, Drain, Hosted, Validate, config, serve};

/// Loads the configuration, sets up telemetry, builds the service `name`, serves it until SIGTERM
/// or SIGINT, and drains.
///
/// Exits with 2 when the configuration is wrong, with every problem on standard error; with 1 when
/// it cannot start, or a background task has failed; with 0 after a drain.
pub fn main<C, F, Fut>(name: &'static str, defaults: &[&str], build: F) -> ExitCode
where
    C: DeserializeOwned + Validate + CommonConfig,
    F: FnOnce(C, Drain) -> Fut,
    Fut: Future<Output = anyhow::Result<Hosted>>,
{
    let config = match config::load::<C>(name, defaults) {
        Ok(config) => config,
        Err(error) => {
            complain(&format!("{name} cannot start: {error}"));
            return ExitCode::from(2);
        }
    };
    match run(name, config, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{name} ends with a failure: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run<C, F, Fut>(name: &'static str, config: C, build: F) -> anyhow::Result<()>
where
    C: CommonConfig,
    F: FnOnce(C, Drain) -> Fut,
    Fut: Future<Output = anyhow::Result<Hosted>>,
{
    // Two providers are among the dependencies; a failure means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let telemetry = flashsale_telemetry::init(name, config.telemetry())?;
        let (server, access) = (config.server().clone(), config.access().clone());
        let drain = Drain::new();
        begin_on_signals(&drain)?;
        let served = match build(config, drain.clone()).await {
            Ok(hosted) => serve(name, &server, &access, vec![hosted], drain).await,
            Err(error) => Err(error.context("it cannot be built")),
        };
        // Exporting blocks its thread; the runtime has to go on meanwhile to carry the export.
        tokio::task::spawn_blocking(|| telemetry.shutdown()).await?;
        served
    })
}

/// The first SIGTERM or SIGINT begins the drain; a second one skips its delay.
fn begin_on_signals(drain: &Drain) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let drain = drain.clone();
    tokio::spawn(async move {
        for step in [Drain::begin, Drain::start] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "asked to end");
            step(&drain);
        }
    });
    Ok(())
}

/// Writes to standard error: the log may not be set up. That standard error is closed must not
/// change the exit code.
fn complain(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}
