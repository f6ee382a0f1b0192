//! Decides, from outside, whether a sale kept its promises I1 to I7: it reads Redis, JetStream and Postgres raw, holds them against each
//! other and against the logs of the payment provider, the mail server and the buyers, and changes nothing anywhere. It shares no code with
//! the services, so that it does not repeat their mistakes. What it reads is described in `docs/stores.md`, what it says in
//! `docs/report.md`.

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
    /// The sale.
    pub sale: Uuid,
    /// `redis://…`
    pub redis: String,
    /// `nats://…`
    pub nats: String,
    /// `postgres://…`
    pub postgres: String,
    /// The payment provider's own log, if it keeps one for us.
    pub stripe_log: Option<PathBuf>,
    /// The mail server's log.
    pub mail_log: Option<PathBuf>,
    /// What the buyers saw.
    pub history: Option<PathBuf>,
    /// Whether the sale has come to rest: nothing may be on its way any more.
    pub at_rest: bool,
}

/// Audits a sale. What cannot be read is said in the report, which then decides nothing.
pub async fn audit(options: &Options) -> Report {
    match read::facts(options).await {
        Ok(facts) => report::of(&facts, &check::all(&facts)),
        Err(unread) => Report::unread(options.sale, unread),
    }
}
