//! A private Redis Cluster: three masters, each with a replica if asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use thiserror::Error;
use tokio::time::Instant;

use super::process::Command;
use super::redis::{USERS, answers, write_users};
use super::resp::{Reply, RespError, ask};
use super::server::{Kind, POLL, Server, StartError};
use super::tools::Tools;

const MASTERS: usize = 3;
const SLOTS: u16 = 16_384;
/// How long a node may be silent before the others think it gone.
const NODE_TIMEOUT_MS: &str = "2000";
/// How long the nodes may take to agree on something.
const AGREED_WITHIN: Duration = Duration::from_secs(60);
/// How many keys move from one master to another at a time.
const KEYS_AT_ONCE: &str = "10";

/// A cluster did not do what it was told.
#[derive(Debug, Error)]
#[error("the cluster did not {what}: {cause}")]
pub struct ClusterError {
    what: &'static str,
    cause: String,
}

/// What a node of the cluster is made of: a Redis with a second port for the other nodes.
#[derive(Debug)]
pub struct ClusterNode {
    program: PathBuf,
}

impl Kind for ClusterNode {
    const NAME: &'static str = "redis";
    const PORTS: usize = 2;
    const STOP: Signal = Signal::SIGTERM;
    const DEATH: Signal = Signal::SIGKILL;

    async fn prepare(&mut self, dir: &Path) -> Result<(), StartError> {
        write_users::<Self>(dir)
    }

    fn command(&self, dir: &Path, ports: &[u16]) -> Result<Command, StartError> {
        Ok(Command::new(&self.program)
            .args(["--bind", "127.0.0.1", "--port", &ports[0].to_string()])
            .arg("--dir")
            .arg(dir)
            .args(["--daemonize", "no", "--save", "", "--appendonly", "no"])
            .args(["--maxmemory-policy", "noeviction"])
            .args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"])
            // Not the port + 10000 of old: that one may be another server's.
            .args(["--cluster-port", &ports[1].to_string()])
            .args(["--cluster-node-timeout", NODE_TIMEOUT_MS])
            // Masters that are there go on while another one is gone.
            .args(["--cluster-require-full-coverage", "no"])
            // Only the test promotes.
            .args(["--cluster-replica-no-failover", "yes", "--cluster-allow-replica-migration"])
            .args(["no", "--repl-diskless-sync-delay", "0"])
            .arg("--aclfile")
            .arg(dir.join(USERS)))
    }

    async fn ready(&self, _dir: &Path, ports: &[u16], pid: u32) -> Result<(), String> {
        answers(ports[0], pid).await
    }
}

/// A private cluster. Dropped, its nodes are stopped at once.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters first, then the replica of each in the same order.
    nodes: Vec<Server<ClusterNode>>,
}

impl RedisCluster {
    /// Starts three masters with a third of the slots each, and a replica of each if asked for;
    /// their data is in `dir`, in memory only over a restart. Waits until all of them agree on who
    /// has what.
    ///
    /// # Errors
    /// If a node does not start or they do not agree.
    pub async fn start(tools: &Tools, dir: &Path, replicas: bool) -> Result<Self, StartError> {
        let count = if replicas { 2 * MASTERS } else { MASTERS };
        let mut nodes = Vec::with_capacity(count);
        for index in 0..count {
            let kind = ClusterNode { program: tools.redis_server().to_owned() };
            nodes.push(Server::launch(kind, dir.join(format!("node-{index}"))).await?);
        }
        let cluster = Self { nodes };
        cluster.form().await.map_err(|error| StartError::NotReady {
            name: "redis-cluster".to_owned(),
            limit: AGREED_WITHIN,
            reason: error.to_string(),
            log: String::new(),
        })?;
        Ok(cluster)
    }

    /// `redis-cluster://127.0.0.1:<port>?node=127.0.0.1:<port>…`, with all masters.
    pub fn url(&self) -> String {
        let ports: Vec<u16> = self.nodes.iter().take(MASTERS).map(Server::port).collect();
        let more: Vec<String> =
            ports.iter().skip(1).map(|port| format!("node=127.0.0.1:{port}")).collect();
        format!("redis-cluster://127.0.0.1:{}?{}", ports[0], more.join("&"))
    }

    /// How many masters it was started with.
    pub fn masters(&self) -> usize {
        MASTERS
    }

    /// A node: the masters first, then the replica of each in the same order.
    pub fn node(&self, index: usize) -> &Server<ClusterNode> {
        &self.nodes[index]
    }

    /// Asks one node.
    ///
    /// # Errors
    /// [`RespError`]
    pub async fn ask(&self, node: usize, command: &[&str]) -> Result<Reply, RespError> {
        ask(self.nodes[node].port(), command).await
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub async fn slot_of(&self, key: &str) -> Result<u16, ClusterError> {
        let reply = self.must(0, &["CLUSTER", "KEYSLOT", key], "name a slot").await?;
        match reply {
            Reply::Int(slot) => Ok(u16::try_from(slot).unwrap_or(0)),
            other @ (Reply::Nil | Reply::Text(_) | Reply::List(_)) => {
                Err(failed("name a slot", &format!("{other:?}")))
            }
        }
    }

    /// Which node has a slot, as `node` sees it.
    ///
    /// # Errors
    /// If it does not answer, or no node has the slot.
    pub async fn owner_of(&self, slot: u16, node: usize) -> Result<usize, ClusterError> {
        let what = "name the owner of a slot";
        let ranges = self.must(node, &["CLUSTER", "SLOTS"], what).await?;
        let owner = ranges.list().iter().find_map(|range| match range.list() {
            [Reply::Int(start), Reply::Int(end), master, ..]
                if (*start..=*end).contains(&i64::from(slot)) =>
            {
                master.list().get(1).cloned()
            }
            _ => None,
        });
        let port = |server: &Server<ClusterNode>| Reply::Int(i64::from(server.port()));
        self.nodes
            .iter()
            .position(|server| Some(port(server)) == owner)
            .ok_or_else(|| failed(what, "no node has it"))
    }

    /// Moves a slot with its keys from the master that has it to the master `to`, as `redis-cli
    /// --cluster reshard` does.
    ///
    /// # Errors
    /// If a step fails; the slot may then be half-way.
    pub async fn migrate_slot(&self, slot: u16, to: usize) -> Result<(), ClusterError> {
        let what = "move a slot";
        let from = self.owner_of(slot, to).await?;
        let (source, target) = (self.id(from).await?, self.id(to).await?);
        let (number, port) = (slot.to_string(), self.nodes[to].port().to_string());
        let set = ["CLUSTER", "SETSLOT", number.as_str()];
        self.must(to, &[&set[..], &["IMPORTING", &source]].concat(), what).await?;
        self.must(from, &[&set[..], &["MIGRATING", &target]].concat(), what).await?;
        loop {
            let listed = ["CLUSTER", "GETKEYSINSLOT", &number, KEYS_AT_ONCE];
            let keys = self.must(from, &listed, what).await?;
            if keys.list().is_empty() {
                break;
            }
            // One by one, so that there are moments at which the keys are on both.
            for key in keys.list() {
                let migrate = ["MIGRATE", "127.0.0.1", &port, key.text(), "0", "5000"];
                self.must(from, &migrate, what).await?;
            }
        }
        // First where the slot goes, so that some node has it at every moment.
        self.must(to, &[&set[..], &["NODE", &target]].concat(), what).await?;
        self.must(from, &[&set[..], &["NODE", &target]].concat(), what).await?;
        self.agreed(what, async || {
            for node in 0..MASTERS {
                if !matches!(self.owner_of(slot, node).await, Ok(owner) if owner == to) {
                    return Err(format!("node {node} has not heard of it"));
                }
            }
            Ok(())
        })
        .await
    }

    /// Kills a master and has its replica take its place, whatever the replica had not been told
    /// yet. Returns the replica's index.
    ///
    /// # Errors
    /// If there is no replica or it does not take over.
    pub async fn fail_over(&self, master: usize) -> Result<usize, ClusterError> {
        let what = "fail over";
        let replica = master + MASTERS;
        if replica >= self.nodes.len() {
            return Err(failed(what, "it has no replicas"));
        }
        self.nodes[master].kill().await;
        self.must(replica, &["CLUSTER", "FAILOVER", "TAKEOVER"], what).await?;
        self.agreed(what, async || {
            let role = self.ask(replica, &["ROLE"]).await.map_err(|error| error.to_string())?;
            match role.list().first() {
                Some(role) if role.text() == "master" => Ok(()),
                role => Err(format!("it is {role:?}")),
            }
        })
        .await?;
        Ok(replica)
    }

    async fn form(&self) -> Result<(), ClusterError> {
        let what = "form";
        let share = SLOTS / 3;
        for (master, first) in (0..MASTERS).zip((0..SLOTS).step_by(usize::from(share))) {
            let last = if master + 1 == MASTERS { SLOTS - 1 } else { first + share - 1 };
            let (first, last) = (first.to_string(), last.to_string());
            self.must(master, &["CLUSTER", "ADDSLOTSRANGE", &first, &last], what).await?;
        }
        for node in 0..self.nodes.len() {
            let epoch = (node + 1).to_string();
            self.must(node, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch], what).await?;
        }
        for server in self.nodes.iter().skip(1) {
            let (port, bus) = (server.port().to_string(), server.port_at(1).to_string());
            self.must(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus], what).await?;
        }
        let count = self.nodes.len();
        self.agreed(what, async || {
            for node in 0..count {
                let known = self.ask(node, &["CLUSTER", "NODES"]).await;
                let known = known.map_err(|error| error.to_string())?;
                let met = |line: &&str| !line.contains("handshake") && line.contains(" connected");
                if known.text().lines().filter(met).count() != count {
                    return Err(format!("node {node} does not know all others"));
                }
            }
            Ok(())
        })
        .await?;
        for replica in MASTERS..count {
            let master = self.id(replica - MASTERS).await?;
            self.must(replica, &["CLUSTER", "REPLICATE", &master], what).await?;
        }
        self.agreed(what, async || {
            for node in 0..count {
                let info = self.ask(node, &["CLUSTER", "INFO"]).await;
                let info = info.map_err(|error| error.to_string())?;
                if !info.text().contains("cluster_state:ok")
                    || !info.text().contains("cluster_slots_ok:16384")
                {
                    return Err(format!("node {node} is not content"));
                }
                let replication = self.ask(node, &["INFO", "replication"]).await;
                let replication = replication.map_err(|error| error.to_string())?;
                if node >= MASTERS && !replication.text().contains("master_link_status:up") {
                    return Err(format!("replica {node} has no copy yet"));
                }
            }
            Ok(())
        })
        .await
    }

    async fn id(&self, node: usize) -> Result<String, ClusterError> {
        Ok(self.must(node, &["CLUSTER", "MYID"], "name a node").await?.text().to_owned())
    }

    async fn must(
        &self,
        node: usize,
        command: &[&str],
        what: &'static str,
    ) -> Result<Reply, ClusterError> {
        self.ask(node, command)
            .await
            .map_err(|error| failed(what, &format!("node {node}, {}: {error}", command.join(" "))))
    }

    async fn agreed(
        &self,
        what: &'static str,
        condition: impl AsyncFn() -> Result<(), String>,
    ) -> Result<(), ClusterError> {
        agreed(condition).await.map_err(|reason| failed(what, &reason))
    }
}

/// Waits until the servers agree; says what was missing if they do not.
pub(crate) async fn agreed(condition: impl AsyncFn() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + AGREED_WITHIN;
    loop {
        match condition().await {
            Ok(()) => return Ok(()),
            Err(reason) if Instant::now() >= deadline => return Err(reason),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

fn failed(what: &'static str, cause: &str) -> ClusterError {
    ClusterError { what, cause: cause.to_owned() }
}
