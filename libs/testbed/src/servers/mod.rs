//! Real Redis, NATS and Postgres as child processes.
//!
//! Everything listens on free ports of 127.0.0.1, keeps its data in a folder of its own and ends
//! with the process that started it, also when that one is killed with SIGKILL. Nothing here is for
//! production: the servers ask for no passwords, and have TLS and replicas only where a test asks
//! for them. A connection that names no user may do everything, and the services' users what their
//! grants say.
//!
//! - [`Tools`] finds the server programs and checks their versions.
//! - [`RedisServer`], [`NatsServer`] and [`PostgresServer`] start, restart, break and stop a
//!   server.
//! - [`RedisCluster`] and [`RedisSentinel`] are several of them at once, for tests of what happens
//!   when one gives way to another.
//! - [`Program`] does the same for programs of ours.
//! - [`Home`] and [`RunDir`] say where data goes (`.flashsale/`) and clear up after runs that died.
//!
//! Linux only: the tie between parent and child is a Linux signal.

mod death;
mod folder;
mod nats;
mod nats_cluster;
mod nats_operator;
mod ports;
mod postgres;
mod process;
mod program;
mod redis;
mod redis_cluster;
mod redis_sentinel;
mod resp;
mod run_dir;
mod server;
mod tls;
mod tools;

pub use flashsale_home::Home;
pub use nats::{NatsOptions, NatsServer};
pub use nats_cluster::NatsCluster;
pub use nats_operator::NatsOperator;
pub use ports::free_port;
pub use postgres::{PostgresOptions, PostgresServer};
pub use process::{Child, Command};
pub use program::{Program, ProgramOptions};
pub use redis::{Appendonly, RedisOptions, RedisServer};
pub use redis_cluster::{ClusterError, ClusterNode, RedisCluster};
pub use redis_sentinel::{RedisSentinel, Sentinel};
pub use resp::{Reply, RespError, ask};
pub use run_dir::RunDir;
pub use server::{Kind, Server, StartError, StopError};
pub use tls::{AuthorityFolder, ServerTls, Signed, Validity};
pub use tools::{Tools, ToolsError, Versions};
