//! The connection pool and the running of scripts.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use fred::{
    clients::Pool,
    error::{Error, ErrorKind},
    interfaces::{ClientLike as _, LuaInterface as _},
    types::{
        Builder, InfoKind, Value,
        config::{Config, ReconnectPolicy, UnresponsiveConfig},
    },
};

use crate::{RedisConfig, Script};

/// Why the pool could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the Redis client cannot be set up: {0}")]
pub struct RedisError(String);

/// Why a script has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// No answer came: the script may or may not have run, or may still run until its own deadline.
    #[error("no answer from Redis; the outcome is unknown")]
    Timeout,
    /// The command was not sent.
    #[error("Redis cannot be reached")]
    Unavailable,
    /// The server refused the script, or it failed: a fault of ours or of the server's set-up.
    #[error("Redis refused the script: {0}")]
    Other(String),
}

impl From<Error> for EvalError {
    fn from(error: Error) -> Self {
        match error.kind() {
            // A connection that broke may have carried the command there.
            ErrorKind::Timeout | ErrorKind::IO | ErrorKind::Canceled => Self::Timeout,
            ErrorKind::Backpressure | ErrorKind::Routing | ErrorKind::Sentinel => Self::Unavailable,
            ErrorKind::Config
            | ErrorKind::Auth
            | ErrorKind::InvalidCommand
            | ErrorKind::InvalidArgument
            | ErrorKind::Url
            | ErrorKind::Protocol
            | ErrorKind::Tls
            | ErrorKind::Unknown
            | ErrorKind::Cluster
            | ErrorKind::Parse
            | ErrorKind::NotFound => Self::Other(error.details().to_owned()),
        }
    }
}

/// The way to Redis. A clone shares the connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    run_id: Arc<ArcSwapOption<String>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("run_id", &self.run_id.load()).finish_non_exhaustive()
    }
}

impl Store {
    /// Sets up the pool; connections are made in the background and made again whenever they break.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub async fn connect(config: &RedisConfig) -> Result<Self, RedisError> {
        let set_up = |error: Error| RedisError(error.details().to_owned());
        let timeout = Duration::from_millis(config.command_timeout_ms);
        let mut url = Config::from_url(&config.url).map_err(set_up)?;
        url.fail_fast = false;
        let mut builder = Builder::from_config(url);
        builder
            .with_connection_config(|connection| {
                connection.connection_timeout = timeout;
                connection.internal_command_timeout = timeout;
                // fred's default sends a command again when its answer is lost. Our scripts are idempotent by request id, but a
                // retry is the caller's to decide.
                connection.max_command_attempts = 1;
                connection.max_command_buffer_len = config.max_queue;
                connection.auto_client_setname = false;
                connection.tcp.nodelay = Some(true);
                // Without this a server that hangs with its connection open is never noticed.
                connection.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(timeout.saturating_mul(3)),
                    interval: timeout,
                };
            })
            .with_performance_config(|performance| {
                performance.default_command_timeout = timeout;
            })
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
        let pool = builder.build_pool(config.connections).map_err(set_up)?;
        // The handles end with the pool; errors go to fred's own reconnecting.
        drop(pool.connect());
        Ok(Self { pool, run_id: Arc::new(ArcSwapOption::empty()) })
    }

    /// The pool, for plain reads.
    pub fn client(&self) -> &Pool {
        &self.pool
    }

    /// The run id of the server, as last read.
    ///
    /// # Errors
    /// When it was never read and Redis does not answer.
    pub async fn run_id(&self) -> Result<Arc<String>, EvalError> {
        match self.run_id.load_full() {
            Some(run_id) => Ok(run_id),
            None => self.read_run_id().await,
        }
    }

    /// Asks the server for its run id.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn read_run_id(&self) -> Result<Arc<String>, EvalError> {
        let info: String = self.pool.info(Some(InfoKind::Server)).await?;
        let run_id = info
            .lines()
            .find_map(|line| line.strip_prefix("run_id:"))
            .map(|run_id| Arc::new(run_id.trim().to_owned()))
            .ok_or_else(|| EvalError::Other("INFO has no run_id".to_owned()))?;
        self.run_id.store(Some(Arc::clone(&run_id)));
        Ok(run_id)
    }

    /// Runs a script once. It is loaded first if the server has never seen it, which is how a new server is noticed.
    ///
    /// # Errors
    /// See [`EvalError`]; nothing is tried again but a script the server did not know, which then did not run.
    pub async fn eval(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Value, EvalError> {
        let run_id = self.run_id().await?;
        let made_out = script.make_out(&run_id);
        match self.pool.evalsha(made_out.sha.as_str(), keys.clone(), args.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_noscript(&error) => {}
            Err(error) => return Err(error.into()),
        }
        self.load(script).await?;
        let run_id = self.run_id().await?;
        let made_out = script.make_out(&run_id);
        Ok(self.pool.evalsha(made_out.sha.as_str(), keys, args).await?)
    }

    /// Loads a script for the server there is, and makes sure that it was that server which loaded it.
    async fn load(&self, script: &Script) -> Result<(), EvalError> {
        let run_id = self.read_run_id().await?;
        let made_out = script.make_out(&run_id);
        let sha: String = self.pool.script_load(made_out.text.as_str()).await?;
        if sha != made_out.sha {
            return Err(EvalError::Other(format!("script {} has another hash", script.name())));
        }
        if *self.read_run_id().await? != *run_id {
            // The server changed in between and now may hold a script made out for its predecessor: forget it at once.
            let () = self.pool.script_flush(false).await?;
            return Err(EvalError::Unavailable);
        }
        tracing::info!(script = script.name(), run_id = run_id.as_str(), "script loaded");
        Ok(())
    }
}

fn is_noscript(error: &Error) -> bool {
    error.details().starts_with("NOSCRIPT")
}
