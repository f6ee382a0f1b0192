//! Decides, from outside, whether a sale kept its promises I1 to I7 and I9: it reads Redis,
//! JetStream and Postgres raw, compares them with each other and with the logs of the payment
//! provider, the mail server and the buyers, and writes to none of them. It shares no code with the
//! services, so that it does not repeat their mistakes. What it reads is described in
//! `docs/stores.md`, its report in `docs/report.md`.

mod check;
mod findings;
mod read;
mod report;

use std::path::PathBuf;

pub use findings::Invariant;
pub use report::{Report, Verdict};
use uuid::Uuid;

/// Which sale to audit and where everything is.
#[derive(Debug, Clone)]
pub struct Options {
    pub sale: Uuid,
    /// `redis://…`
    pub redis: String,
    /// `nats://…`
    pub nats: String,
    /// `postgres://…`
    pub postgres: String,
    pub client: Client,
    /// The payment provider's own log; only a stand-in keeps one.
    pub stripe_log: Option<PathBuf>,
    pub mail_log: Option<PathBuf>,
    /// The log of what the buyers saw.
    pub history: Option<PathBuf>,
    /// Whether the sale has come to rest: no order, payment or consequence may be pending.
    pub at_rest: bool,
}

/// What is shown to stores that are reached over TLS.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The authorities of the stores, PEM. Without it: the public ones.
    pub ca_file: Option<PathBuf>,
    /// A certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
    /// Credentials for NATS (`.creds`).
    pub nats_credentials: Option<PathBuf>,
}

/// Audits a sale. If a source cannot be read, the report says so and decides nothing.
pub async fn audit(options: &Options) -> Report {
    match read::facts(options).await {
        Ok(facts) => report::of(&facts, &check::all(&facts)),
        Err(unread) => Report::unread(options.sale, unread),
    }
}
