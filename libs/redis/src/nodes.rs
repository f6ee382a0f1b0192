//! The servers there are, and which of them has a key.
//!
//! A single server, and the one that Sentinels name, has every key. In a cluster the driver's table
//! of slots says who has it. Each connection has a table of its own, as old as its last look at the
//! cluster.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use fred::{
    clients::{Client, WithOptions},
    interfaces::{ClientLike as _, ClusterInterface as _},
    types::{
        cluster::ClusterRouting,
        config::{Options, Server},
    },
};

use crate::ServerName;

/// The name of the one server where there is no cluster.
const ONLY: &str = "redis";

/// One server, or the place of one: which server answers there is told by its [`ServerName`].
#[derive(Debug)]
pub(crate) struct Node {
    /// `host:port`.
    pub(crate) name: String,
    /// Where commands are sent; nowhere in particular if there is no cluster.
    server: Option<Server>,
    /// Which server that is, as last read.
    pub(crate) server_name: ArcSwapOption<ServerName>,
}

impl Node {
    /// A connection whose commands go to this server.
    pub(crate) fn on(&self, client: &Client) -> WithOptions<Client> {
        client.with_options(&Options { cluster_node: self.server.clone(), ..Options::default() })
    }
}

/// One connection, or in a cluster one to each master, with its view of who has what.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) client: Client,
    table: ArcSwapOption<Table>,
    /// By server: what was asked of it since it answered last.
    unanswered: Mutex<HashMap<String, Unanswered>>,
}

#[derive(Debug)]
struct Unanswered {
    since: Instant,
    asked: u32,
}

/// An answer to a caller that went away early is not seen here: this many in a row may be missing
/// before it counts as silence.
const UNHEARD: u32 = 3;

impl Way {
    /// Takes note that a server is asked something. True, once, if it has answered nothing for
    /// longer than `limit`: the connection hangs.
    ///
    /// The driver looks for that itself, but measures from the last time it wrote: a connection
    /// that is always written to never hangs for it.
    pub(crate) fn asks(&self, node: &Node, limit: Duration) -> bool {
        let mut unanswered = lock(&self.unanswered);
        let Some(silence) = unanswered.get_mut(&node.name) else {
            unanswered.insert(node.name.clone(), Unanswered { since: Instant::now(), asked: 1 });
            return false;
        };
        silence.asked += 1;
        let hangs = silence.asked > UNHEARD && silence.since.elapsed() > limit;
        if hangs {
            unanswered.clear();
        }
        hangs
    }

    /// Takes note that a server has answered.
    pub(crate) fn heard(&self, node: &Node) {
        lock(&self.unanswered).remove(&node.name);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is guarded here can be left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Slots and their masters, by the first slot of each range.
#[derive(Debug)]
struct Table(Vec<Range>);

#[derive(Debug)]
struct Range {
    start: u16,
    end: u16,
    node: Arc<Node>,
}

impl Table {
    fn get(&self, slot: u16) -> Option<Arc<Node>> {
        let behind = self.0.partition_point(|range| range.start <= slot);
        let range = self.0.get(behind.checked_sub(1)?)?;
        (slot <= range.end).then(|| Arc::clone(&range.node))
    }
}

/// All connections and servers.
#[derive(Debug)]
pub(crate) struct Nodes {
    ways: Vec<Way>,
    next: AtomicUsize,
    clustered: bool,
    /// By place. A server's name that one connection has read serves all of them.
    known: Mutex<HashMap<String, Arc<Node>>>,
}

impl Nodes {
    pub(crate) fn new(clients: &[Client], clustered: bool) -> Self {
        let ways = clients
            .iter()
            .map(|client| Way {
                client: client.clone(),
                table: ArcSwapOption::empty(),
                unanswered: Mutex::default(),
            })
            .collect();
        Self { ways, next: AtomicUsize::new(0), clustered, known: Mutex::default() }
    }

    /// The next connection in turn that stands; the next one if none does.
    pub(crate) fn way(&self) -> &Way {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let at = |offset: usize| &self.ways[first.wrapping_add(offset) % self.ways.len()];
        (0..self.ways.len()).map(at).find(|way| way.client.is_connected()).unwrap_or(at(0))
    }

    /// The server that has `key`, as this connection last saw it; any one if there is no key.
    pub(crate) fn of(&self, way: &Way, key: Option<&str>) -> Option<Arc<Node>> {
        let table = match way.table.load_full() {
            Some(table) => table,
            None => self.read(way)?,
        };
        match key {
            Some(key) if self.clustered => table.get(ClusterRouting::hash_key(key.as_bytes())),
            _ => table.0.first().map(|range| Arc::clone(&range.node)),
        }
    }

    /// The slot that a key is in, in a cluster.
    pub(crate) fn slot_of(&self, key: &str) -> Option<u16> {
        self.clustered.then(|| ClusterRouting::hash_key(key.as_bytes()))
    }

    /// Every server that has slots, as this connection last saw it.
    pub(crate) fn all(&self, way: &Way) -> Vec<Arc<Node>> {
        let mut all: Vec<Arc<Node>> = Vec::new();
        for range in self.read(way).iter().flat_map(|table| &table.0) {
            if !all.iter().any(|node| Arc::ptr_eq(node, &range.node)) {
                all.push(Arc::clone(&range.node));
            }
        }
        all
    }

    /// Takes over what the driver knows by now of who has what.
    pub(crate) fn look_again(&self, way: &Way) {
        self.read(way);
    }

    /// None if the driver has not reached the cluster yet.
    fn read(&self, way: &Way) -> Option<Arc<Table>> {
        let table = if self.clustered {
            let routing = way.client.cached_cluster_state()?;
            let range = |range: &fred::types::cluster::SlotRange| Range {
                start: range.start,
                end: range.end,
                node: self.node(range.primary.to_string(), Some(&range.primary)),
            };
            Table(routing.slots().iter().map(range).collect())
        } else {
            Table(vec![Range { start: 0, end: u16::MAX, node: self.node(ONLY.to_owned(), None) }])
        };
        let table = Arc::new(table);
        way.table.store(Some(Arc::clone(&table)));
        // Servers that are in no connection's table any more are only known here.
        self.known().retain(|_, node| Arc::strong_count(node) > 1);
        Some(table)
    }

    fn node(&self, name: String, server: Option<&Server>) -> Arc<Node> {
        let mut known = self.known();
        if let Some(node) = known.get(&name) {
            return Arc::clone(node);
        }
        let node = Arc::new(Node {
            name: name.clone(),
            server: server.cloned(),
            server_name: ArcSwapOption::empty(),
        });
        known.insert(name, Arc::clone(&node));
        node
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<Node>>> {
        lock(&self.known)
    }
}
