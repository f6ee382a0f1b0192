//! A private Redis with a replica, and three Sentinels that put the replica in its place when it is
//! gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::process::Command;
use super::redis::{RedisOptions, RedisServer};
use super::redis_cluster::agreed;
use super::resp::{Reply, ask};
use super::server::{Kind, Server, StartError, io_error};
use super::tools::Tools;

const SENTINELS: usize = 3;
/// What the Sentinels call the pair.
const SERVICE: &str = "flashsale";

/// What a Sentinel is made of.
#[derive(Debug)]
pub struct Sentinel {
    program: PathBuf,
    master: u16,
}

impl Kind for Sentinel {
    const NAME: &'static str = "sentinel";
    const PORTS: usize = 1;
    const STOP: Signal = Signal::SIGTERM;
    const DEATH: Signal = Signal::SIGKILL;

    async fn prepare(&mut self, _dir: &Path) -> Result<(), StartError> {
        Ok(())
    }

    fn command(&self, dir: &Path, ports: &[u16]) -> Result<Command, StartError> {
        // It writes into this file what it learns.
        let file = dir.join("sentinel.conf");
        if !file.exists() {
            let text = format!(
                "bind 127.0.0.1\nport {}\ndir \"{}\"\ndaemonize no\n\
                 sentinel monitor {SERVICE} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {SERVICE} 1000\n\
                 sentinel failover-timeout {SERVICE} 10000\n",
                ports[0],
                dir.display(),
                self.master,
            );
            fs::write(&file, text).map_err(|e| io_error::<Self>("write its settings", e))?;
        }
        Ok(Command::new(&self.program).arg(&file).arg("--sentinel"))
    }

    async fn ready(&self, _dir: &Path, ports: &[u16], pid: u32) -> Result<(), String> {
        // A Sentinel does not close the connection when it is told QUIT.
        let info = ask(ports[0], &["INFO", "server"]).await.map_err(|error| error.to_string())?;
        let mine = info.text().lines().any(|line| line == format!("process_id:{pid}"));
        if mine { Ok(()) } else { Err("another Sentinel answers on this port".to_owned()) }
    }
}

/// A private Redis with a replica under three Sentinels. Dropped, all of them are stopped at once.
#[derive(Debug)]
pub struct RedisSentinel {
    sentinels: Vec<Server<Sentinel>>,
    /// The first master, then its replica.
    servers: [RedisServer; 2],
}

impl RedisSentinel {
    /// Starts them with their data in `dir`, and waits until all Sentinels know of each other and
    /// of the replica.
    ///
    /// # Errors
    /// If one does not start or they do not find each other.
    pub async fn start(
        tools: &Tools,
        dir: &Path,
        options: RedisOptions,
    ) -> Result<Self, StartError> {
        let master = RedisServer::start(tools, dir.join("master"), options.clone()).await?;
        let replica = RedisServer::start(tools, dir.join("replica"), options).await?;
        let port = master.port();
        let unready = |reason: String| StartError::NotReady {
            name: "redis-sentinel".to_owned(),
            limit: Duration::from_secs(60),
            reason,
            log: String::new(),
        };
        ask(replica.port(), &["REPLICAOF", "127.0.0.1", &port.to_string()])
            .await
            .map_err(|error| unready(error.to_string()))?;
        agreed(async || {
            let info = ask(replica.port(), &["INFO", "replication"]).await;
            let info = info.map_err(|error| error.to_string())?;
            let up = info.text().contains("master_link_status:up");
            if up { Ok(()) } else { Err("the replica has no copy yet".to_owned()) }
        })
        .await
        .map_err(unready)?;
        let mut sentinels = Vec::with_capacity(SENTINELS);
        for index in 0..SENTINELS {
            let kind = Sentinel { program: tools.redis_server().to_owned(), master: port };
            sentinels.push(Server::launch(kind, dir.join(format!("sentinel-{index}"))).await?);
        }
        let all = Self { sentinels, servers: [master, replica] };
        agreed(async || {
            for sentinel in &all.sentinels {
                let state = ask(sentinel.port(), &["SENTINEL", "MASTER", SERVICE]).await;
                let state = state.map_err(|error| error.to_string())?;
                let field = |name: &str| {
                    let at = state.list().iter().position(|field| field.text() == name)?;
                    state.list().get(at + 1).map(|value| value.text().to_owned())
                };
                let others = field("num-other-sentinels");
                if others.as_deref() != Some("2") || field("num-slaves").as_deref() != Some("1") {
                    return Err("a Sentinel does not know the others and the replica".to_owned());
                }
            }
            Ok(())
        })
        .await
        .map_err(unready)?;
        Ok(all)
    }

    /// `redis-sentinel://127.0.0.1:<port>?node=127.0.0.1:<port>…&sentinelServiceName=…`, with all
    /// Sentinels.
    pub fn url(&self) -> String {
        let more: String = self
            .sentinels
            .iter()
            .skip(1)
            .map(|sentinel| format!("node=127.0.0.1:{}&", sentinel.port()))
            .collect();
        let first = self.sentinels[0].port();
        format!("redis-sentinel://127.0.0.1:{first}?{more}sentinelServiceName={SERVICE}")
    }

    /// The server that was the master at first.
    pub fn first_master(&self) -> &RedisServer {
        &self.servers[0]
    }

    /// The server that was the replica at first.
    pub fn first_replica(&self) -> &RedisServer {
        &self.servers[1]
    }

    /// Whether the replica has become the master, and the Sentinels say so.
    pub async fn has_failed_over(&self) -> bool {
        let replica = self.servers[1].port();
        let role = ask(replica, &["ROLE"]).await;
        if !role.is_ok_and(|role| role.list().first().map(Reply::text) == Some("master")) {
            return false;
        }
        for sentinel in &self.sentinels {
            let address = ask(sentinel.port(), &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
            let address = address.await.ok();
            let port = address.as_ref().and_then(|address| address.list().get(1));
            if port.map(Reply::text) != Some(replica.to_string().as_str()) {
                return false;
            }
        }
        true
    }
}
