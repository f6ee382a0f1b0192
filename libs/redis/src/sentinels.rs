//! Which server the Sentinels name.
//!
//! The driver asks one Sentinel when it connects, and goes on with the server that one named. A
//! server that was given up by the majority may be alive, and a Sentinel that was cut off may still
//! name it: whether a server counts is what most of them say now.

use std::time::Duration;

use fred::{
    clients::Client,
    interfaces::ClientLike as _,
    types::{
        Builder, ClusterHash, CustomCommand,
        config::{Config, ReconnectPolicy, Server, ServerConfig},
    },
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::timeout;

use crate::{RedisError, outages};

/// A connection to each of the Sentinels.
#[derive(Clone)]
pub(crate) struct Sentinels {
    clients: Vec<Client>,
    service: String,
}

impl Sentinels {
    /// The Sentinels that `config` names; `None` where it names a server or a cluster.
    pub(crate) fn connect(config: &Config, timeout: Duration) -> Result<Option<Self>, RedisError> {
        let ServerConfig::Sentinel { hosts, service_name, username, password } = &config.server
        else {
            return Ok(None);
        };
        let client = |host: &Server| {
            let one = Config {
                server: ServerConfig::Centralized { server: host.clone() },
                // Sentinels have users of their own; those of the servers are none there.
                username: username.clone(),
                password: password.clone(),
                database: None,
                fail_fast: false,
                ..config.clone()
            };
            let client = Builder::from_config(one)
                .with_connection_config(|connection| {
                    connection.connection_timeout = timeout;
                    connection.internal_command_timeout = timeout;
                    connection.max_command_attempts = 1;
                    connection.auto_client_setname = false;
                })
                .with_performance_config(|performance| {
                    performance.default_command_timeout = timeout;
                })
                .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2))
                .build()
                .map_err(|error| RedisError(error.details().to_owned()))?;
            drop(client.connect());
            Ok(client)
        };
        let clients = hosts.iter().map(client).collect::<Result<Vec<_>, _>>()?;
        // The pool says only that it reached none of them.
        outages::tell("redis-sentinel", &clients);
        Ok(Some(Self { clients, service: service_name.clone() }))
    }

    /// Whether more than half of the Sentinels name this server. One that does not answer within
    /// `within` names none; it is not waited for once the others have decided.
    pub(crate) async fn name(&self, server: &Server, within: Duration) -> bool {
        let all = self.clients.len();
        let mut asked: FuturesUnordered<_> = self
            .clients
            .iter()
            .map(|client| timeout(within, self.is_named_by(client, server)))
            .collect();
        let (mut yes, mut no) = (0, 0);
        while let Some(names) = asked.next().await {
            if names.unwrap_or(false) {
                yes += 1;
            } else {
                no += 1;
            }
            if yes * 2 > all || no * 2 >= all {
                break;
            }
        }
        yes * 2 > all
    }

    async fn is_named_by(&self, client: &Client, server: &Server) -> bool {
        // At the start the connections are still being made.
        if !client.is_connected() && client.wait_for_connect().await.is_err() {
            return false;
        }
        let command = CustomCommand::new_static("SENTINEL", ClusterHash::Random, false);
        let args = vec!["GET-MASTER-ADDR-BY-NAME", &self.service];
        match client.custom::<Option<(String, u16)>, _>(command, args).await {
            Ok(Some((host, port))) => *server.host == *host && server.port == port,
            Ok(None) | Err(_) => false,
        }
    }
}
