//! All services in one process behind one port. They still talk gRPC to each other, over loopback.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use flashsale_service::{
    AccessConfig, CommonConfig, Drain, Problem, ServerConfig, Validate, config, serve,
};
use flashsale_telemetry::TelemetryConfig;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

const DEFAULTS: &[&str] = &[include_str!("../config.default.toml")];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    server: ServerConfig,
    access: AccessConfig,
    telemetry: TelemetryConfig,
}

impl CommonConfig for Config {
    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn access(&self) -> &AccessConfig {
        &self.access
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}

impl Validate for Config {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.server.problems();
        problems.extend(self.access.problems(&self.server));
        problems.extend(self.telemetry.problems().into_iter().map(Problem::from));
        problems
    }
}

/// Serves until SIGTERM or SIGINT.
pub(crate) fn main() -> ExitCode {
    // Two providers end up among the dependencies; a failure means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = runtime.context("no threads to run on").and_then(|it| it.block_on(host()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log may not be set up. That standard error is closed must not change the exit
            // code.
            writeln!(std::io::stderr(), "flashsale-serve all: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn host() -> anyhow::Result<()> {
    let config: Config = config::load("flashsale", DEFAULTS)?;
    let telemetry = flashsale_telemetry::init("flashsale", &config.telemetry)?;
    let drain = Drain::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn({
        let drain = drain.clone();
        async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            drain.begin();
        }
    });
    // The environment holds what all of them are told; each picks its own sections.
    let hosted = vec![
        flashsale_sale::build(load(flashsale_sale::DEFAULTS, "sale")?, drain.clone()).await?,
        flashsale_inventory::build(
            load(flashsale_inventory::DEFAULTS, "inventory")?,
            drain.clone(),
        )
        .await?,
        flashsale_waiting_room::build(
            load(flashsale_waiting_room::DEFAULTS, "waiting-room")?,
            drain.clone(),
        )
        .await?,
        flashsale_checkout::build(load(flashsale_checkout::DEFAULTS, "checkout")?, drain.clone())
            .await?,
        flashsale_order_worker::build(
            load(flashsale_order_worker::DEFAULTS, "order-worker")?,
            drain.clone(),
        )
        .await?,
        flashsale_payment::build(load(flashsale_payment::DEFAULTS, "payment")?, drain.clone())
            .await?,
    ];
    let served = serve("flashsale", &config.server, &config.access, hosted, drain).await;
    // Exporting blocks its thread; the runtime has to go on meanwhile to carry the export.
    tokio::task::spawn_blocking(|| telemetry.shutdown()).await?;
    served
}

fn load<C: serde::de::DeserializeOwned + Validate>(
    defaults: &[&str],
    name: &str,
) -> anyhow::Result<C> {
    config::load_from(name, defaults, None, std::env::vars())
        .with_context(|| format!("the configuration of {name}"))
}
