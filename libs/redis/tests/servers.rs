//! Scripts on the servers that have their keys.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use flashsale_redis::{CheckError, RedisConfig, Script, Store, Unfit};
use flashsale_sandbox::{RedisCluster, Tools};

fn config(url: String) -> RedisConfig {
    RedisConfig { url, connections: 2, command_timeout_ms: 5_000, max_queue: 1_000 }
}

#[tokio::test]
async fn a_script_runs_on_the_master_of_its_keys_before_and_after_their_slot_moved() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = RedisCluster::start(&Tools::locate().unwrap(), dir.path(), false).await.unwrap();
    let store = Store::connect(&config(cluster.url())).await.unwrap();
    let script = Script::new("test", "redis.call('INCR', KEYS[1]) return RUN_ID");
    let run = async |key: &str| -> String {
        store.eval(&script, vec![key.to_owned()], vec![]).await.unwrap().convert().unwrap()
    };
    let run_id_on = async |node: usize| {
        let info = cluster.ask(node, &["INFO", "server"]).await.unwrap();
        let line = info.text().lines().find_map(|line| line.strip_prefix("run_id:"));
        line.unwrap().trim().to_owned()
    };
    let mut seen = [false; 3];
    for key in 0..50 {
        let key = format!("key-{key}");
        let slot = cluster.slot_of(&key).await.unwrap();
        let owner = cluster.owner_of(slot, 0).await.unwrap();
        seen[owner] = true;
        assert_eq!(run(&key).await, run_id_on(owner).await);
        assert_eq!(*store.run_id_of(&[key]).await.unwrap(), run_id_on(owner).await);
    }
    assert_eq!(seen, [true; 3]);
    let slot = cluster.slot_of("key-0").await.unwrap();
    let to = (cluster.owner_of(slot, 0).await.unwrap() + 1) % cluster.masters();
    cluster.migrate_slot(slot, to).await.unwrap();
    for _ in 0..10 {
        assert_eq!(run("key-0").await, run_id_on(to).await);
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
