//! Redis that is reached over TLS alone, by clients with a certificate: one server, under a
//! Sentinel, and as a Cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flashsale_redis::{RedisConfig, Script, Store};
use flashsale_testbed::{
    AuthorityFolder, Child, Command, RedisOptions, RedisServer, ServerTls, Signed, Tools, Validity,
    eventually, free_port, init,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

struct Tls {
    authority: AuthorityFolder,
    server: ServerTls,
    client: Signed,
}

impl Tls {
    fn new(folder: &Path) -> Self {
        init();
        let authority = AuthorityFolder::create(&folder.join("tls")).unwrap();
        let server = authority.server("redis").unwrap();
        let client = authority.sign("client", &["client"], Validity::Now).unwrap();
        Self { authority, server, client }
    }

    fn config(&self, url: String) -> RedisConfig {
        let text = |path: &Path| path.display().to_string();
        let config = RedisConfig {
            connections: 2,
            command_timeout_ms: 5_000,
            ca_file: text(self.authority.ca_file()),
            cert_file: text(&self.client.cert_file),
            key_file: text(&self.client.key_file),
            ..RedisConfig::at(url)
        };
        assert_eq!(config.problems(), []);
        config
    }

    /// The arguments of a Redis that speaks nothing else, to clients, peers and Sentinels.
    fn args(&self, port: u16) -> Vec<String> {
        let file = |path: &PathBuf| path.display().to_string();
        let own = &self.server.own;
        let port = port.to_string();
        [
            ("--port", "0"),
            ("--tls-port", &port),
            ("--bind", "127.0.0.1"),
            ("--tls-replication", "yes"),
            ("--tls-ca-cert-file", &file(&self.server.ca_file)),
            ("--tls-cert-file", &file(&own.cert_file)),
            ("--tls-key-file", &file(&own.key_file)),
            ("--unixsocket", "redis.sock"),
            ("--save", ""),
        ]
        .into_iter()
        .flat_map(|(key, value)| [key.to_owned(), value.to_owned()])
        .collect()
    }
}

fn spawn(folder: &Path, args: &[String]) -> Child {
    std::fs::create_dir_all(folder).unwrap();
    let folder_args = ["--dir".to_owned(), folder.display().to_string()];
    Command::new(Tools::locate().unwrap().redis_server())
        .args(args)
        .args(folder_args)
        .log(folder.join("redis.log"))
        .spawn()
        .unwrap()
}

/// The answer to an inline command, by way of the server's own socket.
async fn ask(folder: &Path, command: &str) -> Option<String> {
    let mut stream = UnixStream::connect(folder.join("redis.sock")).await.ok()?;
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

async fn runs_a_script(config: &RedisConfig) {
    let store = Store::connect(config).await.unwrap();
    let script = Script::new("test", "return redis.call('INCR', KEYS[1])");
    let count: i64 = eventually("a script runs", async || {
        store.eval(&script, vec!["key".to_owned()], vec![]).await.ok()
    })
    .await
    .convert()
    .unwrap();
    assert!(count > 0);
    eventually("the server is named", async || {
        store.is_named(Duration::from_secs(1)).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_server_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::new(folder.path());
    let tools = Tools::locate().unwrap();
    let (data, options) = (folder.path().join("data"), RedisOptions::default());
    let redis = RedisServer::start_over_tls(&tools, data, options, tls.server.clone()).await;
    runs_a_script(&tls.config(redis.unwrap().url())).await;
}

#[tokio::test]
async fn sentinel_and_its_server_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::new(folder.path());
    let (master, sentinel) = (free_port().unwrap(), free_port().unwrap());
    let _master = spawn(&folder.path().join("master"), &tls.args(master));
    let own = folder.path().join("sentinel");
    std::fs::create_dir_all(&own).unwrap();
    // A Sentinel writes into its file.
    let file = own.join("sentinel.conf");
    std::fs::write(&file, format!("sentinel monitor it 127.0.0.1 {master} 1\n")).unwrap();
    let mut args = vec![file.display().to_string(), "--sentinel".to_owned()];
    args.extend(tls.args(sentinel));
    let _sentinel = spawn(&own, &args);
    let url = format!("rediss-sentinel://127.0.0.1:{sentinel}?sentinelServiceName=it");
    runs_a_script(&tls.config(url)).await;
}

#[tokio::test]
async fn cluster_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::new(folder.path());
    let (port, bus) = (free_port().unwrap(), free_port().unwrap());
    let mut args = tls.args(port);
    args.extend(["--cluster-announce-ip", "127.0.0.1"].map(str::to_owned));
    let cluster = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port"];
    args.extend(cluster.map(str::to_owned));
    args.push(bus.to_string());
    let own = folder.path().join("node");
    let _node = spawn(&own, &args);
    eventually("the node has all slots", async || {
        let answer = ask(&own, "CLUSTER ADDSLOTSRANGE 0 16383").await?;
        answer.starts_with("+OK").then_some(())
    })
    .await;
    runs_a_script(&tls.config(format!("rediss-cluster://127.0.0.1:{port}"))).await;
}
