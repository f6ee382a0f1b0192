//! The connection pool and the running of scripts.

use std::{sync::Arc, time::Duration};

use flashsale_failpoint::AsStep as _;
use fred::{
    clients::{Client, Pool},
    interfaces::ClientLike as _,
    types::{
        Builder, ClusterHash, CustomCommand, InfoKind, Value,
        config::{ReconnectPolicy, Server, UnresponsiveConfig},
    },
};

use crate::{
    EvalError, RedisConfig, RedisError, Script, ServerName,
    error::{astray, is_of_another_server},
    nodes::{Node, Nodes, Way},
    outages,
    sentinels::Sentinels,
};

/// How many servers a script is tried on when its keys have moved: a connection with an old table
/// of slots is redirected once, or first finds that its server is gone.
const MAX_TRIES: u32 = 3;

/// After how many timeouts without any answer a connection counts as hanging.
const SILENT_FOR: u32 = 3;

/// As a custom command, because fred's own commands for scripts ignore which node they are meant
/// for.
fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::Random, false)
}

/// What a script answered, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The server that ran it, which has a clock of its own.
    pub server: Arc<ServerName>,
    /// The answer.
    pub value: Value,
}

/// The connections to Redis: one server, one behind Sentinels, or a cluster. A clone shares them.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    pub(crate) nodes: Arc<Nodes>,
    sentinels: Option<Sentinels>,
    timeout: Duration,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// How one try at running a script ended.
enum Tried {
    Answered(Answered),
    /// It did not run: the keys are not there, or there is no way there.
    Astray(EvalError),
}

impl Store {
    /// Sets up the pool; connections are made in the background and made again whenever they break.
    ///
    /// # Errors
    /// `redis.url` is not a Redis URL, the files for TLS cannot be used, or the pool cannot be set
    /// up.
    pub async fn connect(config: &RedisConfig) -> Result<Self, RedisError> {
        let set_up = |error: fred::error::Error| RedisError(error.details().to_owned());
        let timeout = Duration::from_millis(config.command_timeout_ms);
        let mut url = config.driver_config().map_err(RedisError)?;
        url.fail_fast = false;
        let clustered = url.server.is_clustered();
        let sentinels = Sentinels::connect(&url, timeout)?;
        let mut builder = Builder::from_config(url);
        builder
            .with_connection_config(|connection| {
                connection.connection_timeout = timeout;
                connection.internal_command_timeout = timeout;
                // fred's default sends a command again when its answer is lost. Our scripts are
                // idempotent by request id, but a retry is the caller's to decide.
                connection.max_command_attempts = 1;
                // Nor does it follow a cluster that sends it to another server: the script is made
                // out for the one it was sent to. fred brings its table of slots up to date, says
                // that there were too many redirections, and we try the right one.
                connection.max_redirections = 0;
                connection.max_command_buffer_len = config.max_queue;
                connection.auto_client_setname = false;
                connection.tcp.nodelay = Some(true);
                // Without this a server that hangs with its connection open is never noticed. While
                // it is asked often it is not noticed by this either: see `Way::asks`.
                connection.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(timeout.saturating_mul(SILENT_FOR)),
                    interval: timeout,
                };
            })
            .with_performance_config(|performance| {
                performance.default_command_timeout = timeout;
            })
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
        let pool = builder.build_pool(config.connections).map_err(set_up)?;
        outages::tell("redis", pool.clients());
        // The handles end with the pool; errors go to fred's own reconnecting.
        drop(pool.connect());
        let nodes = Arc::new(Nodes::new(pool.clients(), clustered));
        Ok(Self { pool, nodes, sentinels, timeout })
    }

    /// The pool, for plain reads. In a cluster such a read fails once for each connection when its
    /// key has moved.
    pub fn client(&self) -> &Pool {
        &self.pool
    }

    /// The slot that a key is in; `None` where there is no cluster.
    pub fn slot_of(&self, key: &str) -> Option<u16> {
        self.nodes.slot_of(key)
    }

    /// Whether the server that connections lead to is the one that counts, as far as others decide
    /// that: under Sentinels only the one that most of them name, on every established connection.
    /// Within a cluster the masters decide, and behind a plain address no authority does.
    pub async fn is_named(&self, within: Duration) -> bool {
        let Some(sentinels) = &self.sentinels else { return true };
        let mut servers: Vec<Server> = self
            .pool
            .clients()
            .iter()
            .filter(|client| client.is_connected())
            .flat_map(|client| client.active_connections())
            .collect();
        servers.dedup();
        match servers.as_slice() {
            [server] => sentinels.name(server, within).await,
            _ => false,
        }
    }

    /// The name of the server, as last read; of any one in a cluster.
    ///
    /// # Errors
    /// When it was never read and Redis does not answer.
    pub async fn server(&self) -> Result<Arc<ServerName>, EvalError> {
        self.server_of(&[]).await
    }

    /// The name of the server that has these keys, as last read.
    ///
    /// # Errors
    /// When it was never read and Redis does not answer.
    pub async fn server_of(&self, keys: &[String]) -> Result<Arc<ServerName>, EvalError> {
        let way = self.nodes.way();
        let node = self.node_of(way, keys.first().map(String::as_str)).await?;
        self.known_server(&way.client, &node).await
    }

    /// Runs a script once, as the step of its name, on the server that has its keys. It is loaded
    /// first if that server has never seen it, which is how a new server is detected.
    ///
    /// # Errors
    /// See [`EvalError`]. Nothing is tried again but a script that certainly did not run: one the
    /// server did not know, or one whose keys were on another server.
    pub async fn eval(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Value, EvalError> {
        Ok(self.eval_with(script, keys, |_| args.clone()).await?.value)
    }

    /// As [`Self::eval`], with arguments that depend on the server which is to run the script, such
    /// as a deadline by its clock: `args` is given the server's name, and is called again for each
    /// server that is tried.
    ///
    /// # Errors
    /// As [`Self::eval`].
    pub async fn eval_with(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: impl Fn(&Arc<ServerName>) -> Vec<Value>,
    ) -> Result<Answered, EvalError> {
        self.eval_anywhere(script, keys, args).step(script.step()).await
    }

    async fn eval_anywhere(
        &self,
        script: &Script,
        keys: Vec<String>,
        args: impl Fn(&Arc<ServerName>) -> Vec<Value>,
    ) -> Result<Answered, EvalError> {
        let way = self.nodes.way();
        let key = keys.first().map(String::as_str);
        let mut node = self.node_of(way, key).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            if way.asks(&node, self.timeout.saturating_mul(SILENT_FOR)) {
                tracing::warn!(node = node.name, "a connection to Redis hangs and is replaced");
                let client = way.client.clone();
                tokio::spawn(async move { client.force_reconnection().await });
            }
            let tried = self.eval_on(&way.client, &node, script, &keys, &args).await;
            if !matches!(tried, Err(EvalError::Timeout)) {
                way.heard(&node);
            }
            let cause = match tried? {
                Tried::Answered(answered) => return Ok(answered),
                Tried::Astray(cause) => cause,
            };
            self.nodes.look_again(way);
            match self.nodes.of(way, key) {
                Some(other) if tries < MAX_TRIES && !Arc::ptr_eq(&other, &node) => node = other,
                _ => return Err(cause),
            }
        }
    }

    /// The server that has `key`. Before the first connection stands, that is waited for.
    pub(crate) async fn node_of(
        &self,
        way: &Way,
        key: Option<&str>,
    ) -> Result<Arc<Node>, EvalError> {
        if let Some(node) = self.nodes.of(way, key) {
            return Ok(node);
        }
        if !way.client.is_connected() {
            let connected = tokio::time::timeout(self.timeout, way.client.wait_for_connect());
            connected.await.map_err(|_| EvalError::Unavailable)??;
        }
        self.nodes.look_again(way);
        self.nodes.of(way, key).ok_or(EvalError::Unavailable)
    }

    async fn eval_on(
        &self,
        client: &Client,
        node: &Node,
        script: &Script,
        keys: &[String],
        args: &impl Fn(&Arc<ServerName>) -> Vec<Value>,
    ) -> Result<Tried, EvalError> {
        let there = node.on(client);
        let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        let mut server = match self.known_server(client, node).await {
            Ok(server) => server,
            Err(error @ EvalError::Unavailable) => return Ok(Tried::Astray(error)),
            Err(error) => return Err(error),
        };
        let mut loaded = false;
        loop {
            let sha = script.make_out(&server).sha.clone();
            let args = args(&server);
            let mut all: Vec<Value> = Vec::with_capacity(2 + keys.len() + args.len());
            all.extend([sha.into(), Value::Integer(count)]);
            all.extend(keys.iter().map(|key| key.as_str().into()));
            all.extend(args);
            match there.custom(command("EVALSHA"), all).await {
                Ok(value) => return Ok(Tried::Answered(Answered { server, value })),
                Err(error) if is_of_another_server(&error) && !loaded => {
                    server = self.load(client, node, script).await?;
                    loaded = true;
                }
                // Loaded and gone again: the server changed in between.
                Err(error) if is_of_another_server(&error) => return Err(EvalError::Unavailable),
                Err(error) if astray(&error) => return Ok(Tried::Astray(error.into())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn known_server(
        &self,
        client: &Client,
        node: &Node,
    ) -> Result<Arc<ServerName>, EvalError> {
        match node.server_name.load_full() {
            Some(server) => Ok(server),
            None => self.read_server(client, node).await,
        }
    }

    async fn read_server(
        &self,
        client: &Client,
        node: &Node,
    ) -> Result<Arc<ServerName>, EvalError> {
        let run_id = self.info(client, node, InfoKind::Server, "run_id").await?;
        let replication_id =
            self.info(client, node, InfoKind::Replication, "master_replid").await?;
        let server = Arc::new(ServerName::new(run_id, replication_id));
        node.server_name.store(Some(Arc::clone(&server)));
        Ok(server)
    }

    /// One field of what a server says about itself.
    pub(crate) async fn info(
        &self,
        client: &Client,
        node: &Node,
        section: InfoKind,
        field: &str,
    ) -> Result<String, EvalError> {
        let info: String = node.on(client).info(Some(section)).await?;
        info.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| EvalError::Other(format!("INFO has no {field}")))
    }

    /// Loads a script for the present server, and makes sure that this server loaded it; returns
    /// its name.
    async fn load(
        &self,
        client: &Client,
        node: &Node,
        script: &Script,
    ) -> Result<Arc<ServerName>, EvalError> {
        let there = node.on(client);
        let server = self.read_server(client, node).await?;
        let sha: String =
            there.custom(command("SCRIPT"), vec!["LOAD".to_owned(), script.text(&server)]).await?;
        if sha != script.make_out(&server).sha {
            return Err(EvalError::Other(format!("script {} has another hash", script.name())));
        }
        if self.read_server(client, node).await? != server {
            // The server changed in between and now may hold a script made out for its predecessor:
            // forget it at once.
            let () = there.custom(command("SCRIPT"), vec!["FLUSH", "SYNC"]).await?;
            return Err(EvalError::Unavailable);
        }
        tracing::info!(
            script = script.name(),
            node = node.name,
            %server,
            "script loaded"
        );
        Ok(server)
    }
}
