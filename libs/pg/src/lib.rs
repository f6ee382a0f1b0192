//! How every service reaches Postgres: one pool set-up, statements that are steps, the migrations,
//! and whose fault an error is.

mod fault;
mod first;
mod options;
mod stepped;

use std::{future::Future, time::Duration};

pub use fault::{Fault, failure, refused_content};
#[doc(hidden)]
pub use flashsale_failpoint::Step;
pub use options::{UrlError, read_url};
use secrecy::SecretString;
use serde::Deserialize;
use sqlx::{PgPool, postgres::PgPoolOptions};
pub use stepped::{Statement, SteppedConnection, SteppedPool, SteppedTransaction};

/// The migrations of the whole platform, applied before the services start.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// How often a transaction is tried when others keep getting in its way.
const MAX_ATTEMPTS: u32 = 5;

/// The defaults of `[postgres]`.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// The `[postgres]` section of a service's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PgConfig {
    /// `postgres://user:password@host:port/database?sslmode=verify-full`.
    pub url: SecretString,
    /// The authorities that may sign the server's certificate besides the public ones, PEM. Empty:
    /// none.
    pub ca_file: String,
    /// The certificate that this service shows, PEM. Empty: none.
    pub cert_file: String,
    /// Its private key, PEM. Empty: none.
    pub key_file: String,
    /// Whether the server may be on another machine without TLS, or with any certificate.
    pub allow_plaintext: bool,
    /// Connections this process may open.
    pub max_connections: u32,
    /// How long a caller waits for a free connection.
    pub acquire_timeout_ms: u64,
    /// How long the server works on one statement before it gives up, and how long it waits for the
    /// next one of a transaction.
    pub statement_timeout_ms: u64,
}

impl PgConfig {
    /// The defaults, at `url`.
    #[allow(clippy::expect_used)] // They are compiled in, and the services' tests load them.
    pub fn at(url: impl Into<String>) -> Self {
        #[derive(Deserialize)]
        struct Defaults {
            postgres: PgConfig,
        }
        let defaults: Defaults = toml::from_str(DEFAULTS).expect("they have every key");
        Self { url: SecretString::from(url.into()), ..defaults.postgres }
    }

    /// What is wrong with the section, each as (key, problem).
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = self.connection_problems();
        for (key, value) in [
            ("max_connections", u64::from(self.max_connections)),
            ("acquire_timeout_ms", self.acquire_timeout_ms),
            ("statement_timeout_ms", self.statement_timeout_ms),
        ] {
            if value == 0 {
                problems.push((format!("postgres.{key}"), "must be above 0".to_owned()));
            }
        }
        problems
    }
}

/// A pool for `application` that connects when it is first used, so that a service starts while
/// Postgres is away. Until a first connection stands, the log says why none does.
///
/// # Errors
/// `postgres.url` is not a Postgres URL.
pub fn connect(config: &PgConfig, application: &str) -> Result<PgPool, UrlError> {
    let timeout = format!("{}ms", config.statement_timeout_ms);
    // A client that stops in the middle of a transaction loses it, and with it the locks that all
    // others wait for.
    let timeouts =
        ["statement_timeout", "idle_in_transaction_session_timeout"].map(|key| (key, &timeout));
    let options = config.options()?.application_name(application).options(timeouts);
    let within = Duration::from_millis(config.acquire_timeout_ms);
    tokio::spawn(first::tell_until_connected(options.clone(), within));
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(within)
        .connect_lazy_with(options))
}

/// Applies the migrations that are missing.
///
/// # Errors
/// When Postgres does not answer, or a migration that was applied has changed since.
pub async fn migrate(pool: &PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    MIGRATOR.run(pool).await
}

/// Whether the transaction lost against another one (serialization failure 40001, deadlock 40P01)
/// and may be run again.
pub fn is_conflict(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "40001" || code == "40P01")
}

/// Runs a transaction again while it loses against others, a few times, with a growing random
/// pause.
///
/// # Errors
/// The last error, or the first that is no conflict.
pub async fn retry_conflicts<T, F, Fut>(mut transaction: F) -> Result<T, sqlx::Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, sqlx::Error>>,
{
    let mut attempt = 1;
    loop {
        match transaction().await {
            Err(error) if attempt < MAX_ATTEMPTS && is_conflict(&error) => {
                tracing::debug!(attempt, "transaction lost against another one, trying again");
                let ceiling_ms = 5 << attempt;
                tokio::time::sleep(Duration::from_millis(rand::random_range(1..=ceiling_ms))).await;
                attempt += 1;
            }
            other => return other,
        }
    }
}
