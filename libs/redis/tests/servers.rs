//! Scripts on the servers that have their keys.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use flashsale_redis::{CheckError, RedisConfig, Script, Store, Unfit};
use flashsale_testbed::{RedisCluster, RedisOptions, RedisServer, Tools};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
};

fn config(url: String) -> RedisConfig {
    RedisConfig {
        connections: 2,
        command_timeout_ms: 5_000,
        max_queue: 1_000,
        ..RedisConfig::at(url)
    }
}

#[tokio::test]
async fn script_follows_a_moved_slot() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = RedisCluster::start(&Tools::locate().unwrap(), dir.path(), false).await.unwrap();
    let store = Store::connect(&config(cluster.url())).await.unwrap();
    let script = Script::new("test", "redis.call('INCR', KEYS[1]) return SERVER");
    let run = async |key: &str| -> String {
        store.eval(&script, vec![key.to_owned()], vec![]).await.unwrap().convert().unwrap()
    };
    let server_on = async |node: usize| {
        let field = async |section: &str, name: &str| {
            let info = cluster.ask(node, &["INFO", section]).await.unwrap();
            info.text().lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
        };
        let run_id = field("server", "run_id:").await;
        format!("{run_id}/{}", field("replication", "master_replid:").await)
    };
    let mut seen = [false; 3];
    for key in 0..50 {
        let key = format!("key-{key}");
        let slot = cluster.slot_of(&key).await.unwrap();
        let owner = cluster.owner_of(slot, 0).await.unwrap();
        seen[owner] = true;
        assert_eq!(run(&key).await, server_on(owner).await);
        assert_eq!(store.server_of(&[key]).await.unwrap().to_string(), server_on(owner).await);
    }
    assert_eq!(seen, [true; 3]);
    let slot = cluster.slot_of("key-0").await.unwrap();
    let to = (cluster.owner_of(slot, 0).await.unwrap() + 1) % cluster.masters();
    cluster.migrate_slot(slot, to).await.unwrap();
    for _ in 0..10 {
        assert_eq!(run("key-0").await, server_on(to).await);
    }
    let count = cluster.ask(to, &["GET", "key-0"]).await.unwrap();
    assert_eq!(count.text(), "11", "each script ran once");

    store.check().await.unwrap();
    cluster.ask(2, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    let unfit = Unfit::Evicting {
        node: format!("127.0.0.1:{}", cluster.node(2).port()),
        policy: "allkeys-lru".to_owned(),
    };
    assert_eq!(store.check().await, Err(CheckError::Unfit(unfit)));
}

/// A way to `port` on which the first `hanging` connections take whatever they are sent and bring
/// nothing back, once they are told to.
async fn hanging_way(port: u16, hanging: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for number in 0.. {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let hanging = Arc::clone(&hanging);
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let back = async {
                    let mut chunk = [0; 4_096];
                    loop {
                        let read = from_server.read(&mut chunk).await?;
                        let hangs = number < hanging.load(Ordering::SeqCst);
                        if read == 0
                            || (!hangs && to_client.write_all(&chunk[..read]).await.is_err())
                        {
                            return std::io::Result::Ok(());
                        }
                    }
                };
                tokio::select! {
                    _ = copy(&mut from_client, &mut to_server) => {}
                    _ = back => {}
                }
            });
        }
    });
    way
}

#[tokio::test]
async fn busy_hanging_connection_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let tools = Tools::locate().unwrap();
    let redis = RedisServer::start(&tools, dir.path(), RedisOptions::default()).await.unwrap();
    let hanging = Arc::new(AtomicUsize::new(0));
    let way = hanging_way(redis.port(), Arc::clone(&hanging)).await;
    let url = format!("redis://127.0.0.1:{way}");
    let config = RedisConfig {
        connections: 1,
        command_timeout_ms: 200,
        max_queue: 1_000,
        ..RedisConfig::at(url)
    };
    let store = Store::connect(&config).await.unwrap();
    let script = Script::new("test", "return 1");
    store.eval(&script, vec!["key".to_owned()], vec![]).await.unwrap();
    hanging.store(1, Ordering::SeqCst);
    // Far more often than any limit, so that something was always written a moment ago.
    let hangs = Instant::now();
    while store.eval(&script, vec!["key".to_owned()], vec![]).await.is_err() {
        assert!(hangs.elapsed() < Duration::from_secs(5), "it goes on asking in vain");
    }
    assert!(hangs.elapsed() > Duration::from_millis(200), "it did not hang");
}
