//! The auditor's command line.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::Parser;
use flashsale_auditor::{Client, Options, Verdict, audit};
use uuid::Uuid;

/// Decides from the stores and from logs of others whether a sale kept its promises.
///
/// Exits with 0 if all of them held, 1 if one was broken, 2 if something could not be read.
#[derive(Debug, Parser)]
#[command(name = "flashsale-auditor", version)]
struct Args {
    /// The sale's id.
    #[arg(long)]
    sale: Uuid,
    /// Where the stock and the room are: redis://host:port
    #[arg(long)]
    redis: String,
    /// Where the order queue is: nats://host:port
    #[arg(long)]
    nats: String,
    /// Where the record is: postgres://user@host:port/database
    #[arg(long)]
    postgres: String,
    /// The authorities of stores that are reached over TLS, PEM; without it the public ones.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A certificate to show to them, PEM.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Credentials for NATS (.creds).
    #[arg(long, value_name = "FILE")]
    nats_credentials: Option<PathBuf>,
    /// The payment provider's log; without it the money is checked against the record alone.
    #[arg(long, value_name = "FILE")]
    stripe_log: Option<PathBuf>,
    /// The mail server's log.
    #[arg(long, value_name = "FILE")]
    mail_log: Option<PathBuf>,
    /// The log of what the buyers saw.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Where to write the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The sale has come to rest: nothing may be pending any more.
    #[arg(long)]
    at_rest: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options {
        sale: args.sale,
        redis: args.redis,
        nats: args.nats,
        postgres: args.postgres,
        client: Client {
            ca_file: args.ca_file,
            cert_file: args.cert_file,
            key_file: args.key_file,
            nats_credentials: args.nats_credentials,
        },
        stripe_log: args.stripe_log,
        mail_log: args.mail_log,
        history: args.history,
        at_rest: args.at_rest,
    };
    let report = audit(&options).await;
    // The reader of a pipe may be gone: the verdict is the exit code.
    write!(std::io::stdout(), "{report}").ok();
    if let Some(path) = args.json
        && let Err(error) = std::fs::write(&path, format!("{:#}\n", report.value))
    {
        writeln!(std::io::stderr(), "{} cannot be written: {error}", path.display()).ok();
        return ExitCode::from(2);
    }
    match report.verdict {
        Verdict::Held => ExitCode::SUCCESS,
        Verdict::Broken => ExitCode::from(1),
        Verdict::Unread => ExitCode::from(2),
    }
}
