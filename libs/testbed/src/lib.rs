//! What the tests, the fault suites, the benchmark and `flashsale run`, `up` and `load` start.
//!
//! - [`servers`]: real Redis, NATS and Postgres, and programs of ours, as child processes.
//! - [`platform`]: all of the platform on one machine, with [proxies](proxy) where something is to
//!   fail.
//! - [`buyer`]: what a buyer says in each call.
//! - [`fixtures`]: sales, orders and payments that are written into the record.
//! - [`keys`]: the keys of those who call; [`pki`]: certificates; [`shop_tokens`]: what a shop signs
//!   for its buyers.
//! - [`grants`]: what each service may do in the stores, from the list in `k8s/stores/`.
//! - [`testing`]: the same for one test each, services in the process of the test, and generated
//!   fakes of their peers.
//!
//! Nothing here is for production.

pub mod buyer;
pub mod fixtures;
pub mod grants;
pub mod keys;
pub mod pki;
pub mod platform;
pub mod proxy;
pub mod servers;
pub mod shop_tokens;
pub mod testing;

pub use servers::{
    Appendonly, AuthorityFolder, Child, ClusterError, ClusterNode, Command, Home, Kind,
    NatsCluster, NatsOperator, NatsOptions, NatsServer, PostgresOptions, PostgresServer, Program,
    ProgramOptions, RedisCluster, RedisOptions, RedisSentinel, RedisServer, Reply, RespError,
    RunDir, Sentinel, Server, ServerTls, Signed, StartError, StopError, Tools, ToolsError,
    Validity, Versions, ask, free_port,
};
pub use testing::{
    TestCluster, TestNats, TestPg, TestRedis, TestSentinel, TestServer, ask_redis, assert_failure,
    eventually, fakes, identity, init, keys as test_keys, nats, peer_config, postgres, redis,
    redis_cluster, redis_sentinel, serve, server_config,
};
