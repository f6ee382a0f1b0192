//! The servers for real: start, break, restart, stop.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use flashsale_testbed::{
    Appendonly, NatsCluster, NatsOptions, NatsServer, PostgresOptions, PostgresServer,
    RedisOptions, RedisServer, Tools,
};

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// One inline command; the first line of the answer, or the value behind its length. Empty if none
/// came in time.
fn redis(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    let length = stream.read(&mut buffer).unwrap_or(0);
    let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let mut lines = answer.lines();
    match lines.next() {
        Some(length) if length.starts_with('$') => lines.next().unwrap_or_default().to_owned(),
        line => line.unwrap_or_default().to_owned(),
    }
}

/// What the monitoring endpoint says to a path.
fn http_get(url: &str, path: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn setting(postgres: &PostgresServer, name: &str) -> String {
    // The data folder belongs to another user when we are root; psql asks over the port as any
    // client does.
    let output = std::process::Command::new(psql())
        .args(["-At", "-c", &format!("SHOW {name}"), &postgres.url()])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn psql() -> std::path::PathBuf {
    Tools::locate().unwrap().postgres_bin().join("psql")
}

fn unsynced() -> PostgresOptions {
    PostgresOptions { fsync: false, ..PostgresOptions::default() }
}

#[tokio::test]
async fn redis_starts_with_the_settings_asked_for_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let tools = Tools::locate().unwrap();
    let options = RedisOptions { appendonly: Appendonly::Always };
    let server = RedisServer::start(&tools, dir.path(), options).await.unwrap();
    let (pid, port) = (server.pid(), server.port());
    assert_eq!(server.url(), format!("redis://127.0.0.1:{port}"));
    assert_eq!(redis(port, "PING"), "+PONG");
    let config = |name: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(format!("CONFIG GET {name}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().nth(4).unwrap_or_default().to_owned()
    };
    assert_eq!(config("appendonly"), "yes");
    assert_eq!(config("appendfsync"), "always");
    assert_eq!(config("maxmemory-policy"), "noeviction");
    assert_eq!(config("save"), "");
    server.stop().await.unwrap();
    assert!(!alive(pid));
    assert!(!listens(port));
}

#[tokio::test]
async fn nats_starts_with_jetstream_and_the_settings_asked_for_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let tools = Tools::locate().unwrap();
    let options = NatsOptions { sync_interval: "always".to_owned(), max_payload_bytes: 65_536 };
    let server = NatsServer::start(&tools, dir.path(), options).await.unwrap();
    let (pid, port) = (server.pid(), server.port());
    let jetstream = http_get(&server.monitoring_url(), "/jsz");
    assert!(jetstream.contains("\"sync_always\": true"), "{jetstream}");
    let server_info = http_get(&server.monitoring_url(), "/varz");
    assert!(server_info.contains("\"max_payload\": 65536"), "{server_info}");
    server.stop().await.unwrap();
    assert!(!alive(pid));
    assert!(!listens(port));
}

#[tokio::test]
async fn three_nats_servers_are_one_cluster_with_a_leader() {
    let dir = tempfile::tempdir().unwrap();
    let tools = Tools::locate().unwrap();
    let cluster = NatsCluster::start(&tools, dir.path(), &NatsOptions::default()).await.unwrap();
    assert_eq!(cluster.url().split(',').count(), 3);
    for server in cluster.servers() {
        // Two of them elect a leader; it may hear of the third one later.
        let jetstream =
            flashsale_testbed::eventually("three servers know each other", async || {
                let jetstream = http_get(&server.monitoring_url(), "/jsz");
                jetstream.contains("\"cluster_size\": 3").then_some(jetstream)
            })
            .await;
        assert!(jetstream.contains("\"leader\": \"flashsale-"), "{jetstream}");
    }
    let pids: Vec<u32> = cluster.servers().iter().map(NatsServer::pid).collect();
    drop(cluster);
    assert!(pids.iter().all(|pid| !alive(*pid)));
}

#[tokio::test]
async fn postgres_starts_with_the_settings_asked_for_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let tools = Tools::locate().unwrap();
    let server =
        PostgresServer::start(&tools, dir.path(), PostgresOptions::default()).await.unwrap();
    let (pid, port) = (server.pid(), server.port());
    assert_eq!(setting(&server, "fsync"), "on");
    assert_eq!(setting(&server, "synchronous_commit"), "on");
    assert_eq!(setting(&server, "max_connections"), "200");
    assert_eq!(setting(&server, "listen_addresses"), "127.0.0.1");
    assert_eq!(setting(&server, "unix_socket_directories"), "");
    server.stop().await.unwrap();
    assert!(!alive(pid));
    assert!(!listens(port));
}

#[tokio::test]
async fn what_redis_had_synced_is_back_after_a_kill_and_a_restart_on_the_same_port() {
    let dir = tempfile::tempdir().unwrap();
    let options = RedisOptions { appendonly: Appendonly::Always };
    let mut server =
        RedisServer::start(&Tools::locate().unwrap(), dir.path(), options).await.unwrap();
    let (pid, port) = (server.pid(), server.port());
    assert_eq!(redis(port, "SET units 7"), "+OK");
    server.kill().await;
    assert!(!alive(pid));
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(redis(port, "GET units"), "7");
}

#[tokio::test]
async fn a_redis_without_a_log_comes_back_empty() {
    let dir = tempfile::tempdir().unwrap();
    let options = RedisOptions { appendonly: Appendonly::Off };
    let mut server =
        RedisServer::start(&Tools::locate().unwrap(), dir.path(), options).await.unwrap();
    assert_eq!(redis(server.port(), "SET units 7"), "+OK");
    server.restart().await.unwrap();
    assert_eq!(redis(server.port(), "EXISTS units"), ":0");
}

#[tokio::test]
async fn nats_comes_back_on_the_same_ports_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut server =
        NatsServer::start(&Tools::locate().unwrap(), dir.path(), NatsOptions::default())
            .await
            .unwrap();
    let before = (server.url(), server.monitoring_url());
    server.kill().await;
    assert!(!listens(server.port()));
    server.restart().await.unwrap();
    assert_eq!((server.url(), server.monitoring_url()), before);
    assert!(listens(server.port()));
}

#[tokio::test]
async fn what_postgres_had_committed_is_back_after_a_kill_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut server =
        PostgresServer::start(&Tools::locate().unwrap(), dir.path(), PostgresOptions::default())
            .await
            .unwrap();
    let ask = |sql: &str| {
        let output = std::process::Command::new(psql())
            .args(["-At", "-c", sql, &server.url()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    ask("CREATE TABLE units AS SELECT 7 AS n");
    server.kill().await;
    server.restart().await.unwrap();
    let output = std::process::Command::new(psql())
        .args(["-At", "-c", "SELECT n FROM units", &server.url()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "7");
}

#[tokio::test]
async fn a_paused_redis_keeps_its_connections_and_answers_once_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let server = RedisServer::start(&Tools::locate().unwrap(), dir.path(), RedisOptions::default())
        .await
        .unwrap();
    server.pause();
    assert_eq!(redis(server.port(), "PING"), "");
    server.resume();
    assert_eq!(redis(server.port(), "PING"), "+PONG");
    // A paused one stops in order all the same.
    server.pause();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn two_stacks_beside_each_other_do_not_meet() {
    let tools = Tools::locate().unwrap();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let stack = |dir: &tempfile::TempDir| {
        let (tools, path) = (tools.clone(), dir.path().to_owned());
        async move {
            tokio::try_join!(
                RedisServer::start(&tools, path.join("redis"), RedisOptions::default()),
                NatsServer::start(&tools, path.join("nats"), NatsOptions::default()),
                PostgresServer::start(&tools, path.join("postgres"), unsynced()),
            )
            .unwrap()
        }
    };
    let (one, two) = tokio::join!(stack(&dirs[0]), stack(&dirs[1]));
    assert_eq!(redis(one.0.port(), "SET who one"), "+OK");
    assert_eq!(redis(two.0.port(), "EXISTS who"), ":0");
    assert_ne!(one.1.url(), two.1.url());
    assert_ne!(one.2.url(), two.2.url());
    let pids = [&one, &two].map(|s| [s.0.pid(), s.1.pid(), s.2.pid()]);
    drop(one);
    // Dropping is enough to end them; the other stack does not notice.
    assert!(pids[0].iter().all(|pid| !alive(*pid)));
    assert!(pids[1].iter().all(|pid| alive(*pid)));
    assert_eq!(redis(two.0.port(), "PING"), "+PONG");
}

#[tokio::test]
async fn postgres_keeps_its_data_in_the_folder_asked_for_when_its_user_can_reach_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
    let inside = dir.path().join("postgres");
    let server =
        PostgresServer::start(&Tools::locate().unwrap(), &inside, unsynced()).await.unwrap();
    assert_eq!(server.data_dir(), inside.join("data"));
    server.stop().await.unwrap();
    assert!(inside.join("data/PG_VERSION").exists());
}

#[tokio::test]
async fn postgres_started_by_root_in_a_folder_closed_to_others_keeps_its_data_elsewhere_until_it_stops()
 {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
    let inside = dir.path().join("postgres");
    let server =
        PostgresServer::start(&Tools::locate().unwrap(), &inside, unsynced()).await.unwrap();
    let data = server.data_dir().to_owned();
    // A plain user's Postgres runs as that user, who can reach it.
    assert_eq!(data.starts_with(dir.path()), !nix::unistd::Uid::effective().is_root());
    assert!(data.join("PG_VERSION").exists());
    server.stop().await.unwrap();
    assert_eq!(data.exists(), data.starts_with(dir.path()));
}

#[tokio::test]
async fn a_server_that_refuses_its_data_says_so_with_the_end_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("appendonlydir")).unwrap();
    fs::write(dir.path().join("appendonlydir/appendonly.aof.manifest"), "nonsense\n").unwrap();
    let error = RedisServer::start(&Tools::locate().unwrap(), dir.path(), RedisOptions::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("redis ended before it was ready"), "{error}");
    assert!(error.contains("manifest"), "{error}");
}
