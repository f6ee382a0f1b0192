//! `smtp-sink`: see the crate's README.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use flashsale_smtp_sink::{Config, Sink};
use tokio::signal::unix::{SignalKind, signal};

/// An SMTP server that keeps every mail and sends none.
#[derive(Debug, Parser)]
#[command(name = "smtp-sink", version)]
struct Args {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// File for the log of accepted mail (JSON lines, appended).
    #[arg(long)]
    log: PathBuf,
    /// Folder to keep whole messages in.
    #[arg(long)]
    maildir: Option<PathBuf>,
    /// Probability that a message is refused with 451, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    fail_rate: f64,
    /// Refuse recipients whose address contains this, with 550.
    #[arg(long)]
    reject_pattern: Option<String>,
    /// Largest message, in bytes.
    #[arg(long, default_value_t = 10 * 1024 * 1024)]
    max_size: u64,
    /// Connections at once.
    #[arg(long, default_value_t = 256)]
    max_connections: usize,
    /// Seconds a connection may be silent (RFC 5321, section 4.5.3.2.7: at least 5 minutes).
    #[arg(long, default_value_t = 300)]
    idle_timeout_s: u64,
    /// File to write the address to once the sink listens.
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

    let sink = Sink::start(Config {
        listen: args.listen,
        log: args.log,
        maildir: args.maildir,
        fail_rate: args.fail_rate,
        reject_pattern: args.reject_pattern,
        max_size: args.max_size,
        max_connections: args.max_connections,
        idle_timeout: Duration::from_secs(args.idle_timeout_s),
    })
    .await?;
    let addr = sink.addr();
    // Standard output may be closed.
    writeln!(std::io::stdout(), "smtp-sink listening on smtp://{addr}").ok();
    if let Some(path) = &args.ready_file {
        write_whole(path, &addr.to_string())
            .with_context(|| format!("the ready file {} cannot be written", path.display()))?;
    }

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    sink.stop().await;
    Ok(())
}

/// Writes the file atomically, so that a reader never sees a part of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".tmp");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, path)
}
