//! Real servers for tests, each test's own: a database from a migrated template, a Redis, a NATS, a
//! service on free ports. Everything is gone when the value is dropped. A server that cannot be
//! started fails the test; nothing is skipped.

// A test that cannot be set up has failed: there is no caller to hand an error to.
#![allow(clippy::expect_used, clippy::panic)]

pub mod fakes;
mod postgres;
mod serve;

use std::{future::Future, time::Duration};

use flashsale_errors::{Failure, Reason};
pub use postgres::{TestPg, postgres};
pub use serve::{TestServer, peer_config, serve, server_config};
use tempfile::TempDir;
use tonic::Status;

use crate::grants::as_own;
use crate::keys::KeyFolder;
pub use crate::servers::ask as ask_redis;
use crate::servers::{
    Appendonly, NatsOptions, NatsServer, RedisCluster, RedisOptions, RedisSentinel, RedisServer,
    Tools,
};

/// How long [`eventually`] waits. Far more than anything takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Installs the TLS provider that every main installs.
pub fn init() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Ok(filter) = std::env::var("RUST_LOG") {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    }
}

/// The keys of everyone in a test. They are made once for all tests, in the data folder.
pub fn keys() -> KeyFolder {
    let home = crate::servers::Home::locate().expect("the data folder");
    KeyFolder::open_in(home.path()).expect("the keys of the tests")
}

/// The variables that tell a service under test whose keys it knows, and its own.
pub fn identity() -> impl Iterator<Item = (String, String)> {
    keys().env()
}

fn tools() -> Tools {
    Tools::locate().unwrap_or_else(|error| panic!("{error}"))
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("flashsale-test-").tempdir().expect("a temporary folder")
}

/// A Redis of this test's own.
#[derive(Debug)]
pub struct TestRedis {
    /// `redis://…`
    pub url: String,
    /// For killing, pausing and restarting it.
    pub server: RedisServer,
    _folder: TempDir,
}

impl TestRedis {
    /// The URL that leads every service here as itself.
    pub fn own_url(&self) -> String {
        as_own(&self.url)
    }
}

/// Starts a Redis that keeps its data over a restart.
pub async fn redis() -> TestRedis {
    init();
    let folder = folder();
    let options = RedisOptions { appendonly: Appendonly::Always };
    let server = RedisServer::start(&tools(), folder.path(), options).await.expect("Redis starts");
    TestRedis { url: server.url(), server, _folder: folder }
}

/// A Redis Cluster of this test's own.
#[derive(Debug)]
pub struct TestCluster {
    /// `redis-cluster://…`
    pub url: String,
    /// For moving slots and for failing over.
    pub servers: RedisCluster,
    _folder: TempDir,
}

/// Starts three masters, each with a replica, that keep everything in memory.
pub async fn redis_cluster() -> TestCluster {
    init();
    let folder = folder();
    let servers =
        RedisCluster::start(&tools(), folder.path(), true).await.expect("the cluster starts");
    TestCluster { url: servers.url(), servers, _folder: folder }
}

/// A Redis with a replica under Sentinels, of this test's own.
#[derive(Debug)]
pub struct TestSentinel {
    /// `redis-sentinel://…`
    pub url: String,
    /// For failing over.
    pub servers: RedisSentinel,
    _folder: TempDir,
}

/// Starts them.
pub async fn redis_sentinel() -> TestSentinel {
    init();
    let folder = folder();
    let options = RedisOptions { appendonly: Appendonly::Everysec };
    let servers = RedisSentinel::start(&tools(), folder.path(), options)
        .await
        .expect("Redis and its Sentinels start");
    TestSentinel { url: servers.url(), servers, _folder: folder }
}

/// A NATS server of this test's own.
#[derive(Debug)]
pub struct TestNats {
    /// `nats://…`
    pub url: String,
    /// For killing, pausing and restarting it.
    pub server: NatsServer,
    _folder: TempDir,
}

impl TestNats {
    /// The URL that leads every service here as itself.
    pub fn own_url(&self) -> String {
        as_own(&self.url)
    }
}

/// Starts a NATS server with JetStream.
pub async fn nats() -> TestNats {
    init();
    let folder = folder();
    let server = NatsServer::start(&tools(), folder.path(), NatsOptions::default())
        .await
        .expect("NATS starts");
    TestNats { url: server.url(), server, _folder: folder }
}

/// Asks again and again until `check` has an answer, and fails the test after half a minute.
pub async fn eventually<T, F, Fut>(what: &str, mut check: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = check().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// Asserts that a call failed for `reason`, with the code that goes with it, and returns the
/// failure.
pub fn assert_failure(status: &Status, reason: Reason) -> Failure {
    let failure =
        Failure::from_status(status).unwrap_or_else(|| panic!("not a failure of ours: {status:?}"));
    assert_eq!(failure.reason(), reason, "{status:?}");
    assert_eq!(status.code(), reason.code(), "{status:?}");
    failure
}
