//! `stripe-standin`: see the crate's README.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use flashsale_stripe_standin::{Config, Standin, faults::Rule};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for Stripe's payments API.
#[derive(Debug, Parser)]
#[command(name = "stripe-standin", version)]
struct Args {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// File for the log of what happened to the money (JSON lines, appended).
    #[arg(long)]
    log: PathBuf,
    /// File in which the state is kept, so that it survives a restart. For one process at a time.
    #[arg(long)]
    state: Option<PathBuf>,
    /// Id of the account that the keys belong to.
    #[arg(long, default_value = "acct_1StandInStandIn")]
    account: String,
    /// Where events are pushed, such as http://127.0.0.1:8080/webhooks/stripe.
    #[arg(long)]
    webhook_url: Option<String>,
    /// Secret to sign events with; repeat it for a secret that is being rolled.
    #[arg(long)]
    webhook_secret: Vec<String>,
    /// Requests per second and endpoint.
    #[arg(long, default_value_t = 25)]
    rate_per_endpoint: u32,
    /// Requests per second over all endpoints.
    #[arg(long, default_value_t = 25)]
    rate_total: u32,
    /// Latency of charging a card, in milliseconds.
    #[arg(long, default_value_t = 50)]
    confirm_latency_ms: u64,
    /// Latency of every other call, in milliseconds.
    #[arg(long, default_value_t = 10)]
    latency_ms: u64,
    /// How long until a refund of pm_card_pendingRefund or pm_card_refundFail ends and a payment by
    /// pm_card_createDispute is disputed, in milliseconds of the stand-in's clock.
    #[arg(long, default_value_t = 5_000)]
    outcome_delay_ms: u64,
    /// A fault that is active from the start, as POST /_control/faults takes it; repeat it for
    /// more.
    #[arg(long, value_name = "JSON", value_parser = rule)]
    fault: Vec<Rule>,
    /// File to write the address to once the stand-in listens.
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Else the subscriber reports a closed standard error on standard error, and panics.
        .log_internal_errors(false)
        .init();
    let args = Args::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let standin = Standin::start(Config {
        listen: args.listen,
        log: args.log,
        state: args.state,
        account: args.account,
        webhook_url: args.webhook_url,
        webhook_secrets: args.webhook_secret,
        rate_per_endpoint: args.rate_per_endpoint,
        rate_total: args.rate_total,
        confirm_latency: Duration::from_millis(args.confirm_latency_ms),
        latency: Duration::from_millis(args.latency_ms),
        outcome_delay: Duration::from_millis(args.outcome_delay_ms),
        faults: args.fault,
    })
    .await?;
    let addr = standin.addr();
    // Standard output may be closed.
    writeln!(std::io::stdout(), "stripe-standin listening on http://{addr}").ok();
    if let Some(path) = &args.ready_file {
        write_whole(path, &addr.to_string())
            .with_context(|| format!("the ready file {} cannot be written", path.display()))?;
    }

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    standin.stop().await;
    Ok(())
}

fn rule(text: &str) -> Result<Rule, serde_json::Error> {
    serde_json::from_str(text)
}

/// Writes the file atomically, so that a reader never sees a part of it.
fn write_whole(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}
