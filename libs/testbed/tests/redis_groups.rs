//! Several Redis servers at once: they form, give way to each other, and end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use flashsale_testbed::{RedisCluster, RedisOptions, RedisSentinel, Reply, Tools};

#[tokio::test]
async fn a_cluster_moves_a_slot_with_its_keys_and_promotes_a_replica() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = RedisCluster::start(&Tools::locate().unwrap(), dir.path(), true).await.unwrap();
    let slot = cluster.slot_of("{a}1").await.unwrap();
    let from = cluster.owner_of(slot, 0).await.unwrap();
    for key in ["{a}1", "{a}2"] {
        cluster.ask(from, &["SET", key, key]).await.unwrap();
    }
    let to = (from + 1) % cluster.masters();
    cluster.migrate_slot(slot, to).await.unwrap();
    assert_eq!(cluster.ask(to, &["GET", "{a}2"]).await.unwrap(), Reply::Text("{a}2".to_owned()));
    let moved = cluster.ask(from, &["GET", "{a}2"]).await.unwrap_err();
    assert!(moved.to_string().starts_with("MOVED"), "{moved}");
    // The replica is told after the answer.
    let deadline = Instant::now() + Duration::from_secs(10);
    while cluster.ask(to + 3, &["DBSIZE"]).await.unwrap() != Reply::Int(2) {
        assert!(Instant::now() < deadline, "the replica has no copy");
        tokio::task::yield_now().await;
    }
    let promoted = cluster.fail_over(to).await.unwrap();
    assert_eq!(
        cluster.ask(promoted, &["GET", "{a}1"]).await.unwrap(),
        Reply::Text("{a}1".to_owned())
    );
    let pids: Vec<u32> = (0..6).map(|node| cluster.node(node).pid()).collect();
    drop(cluster);
    assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
}

#[tokio::test]
async fn sentinels_promote_the_replica_of_a_killed_master() {
    let dir = tempfile::tempdir().unwrap();
    let tools = Tools::locate().unwrap();
    let redis = RedisSentinel::start(&tools, dir.path(), RedisOptions::default()).await.unwrap();
    assert!(!redis.has_failed_over().await);
    redis.first_master().kill().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !redis.has_failed_over().await {
        assert!(Instant::now() < deadline, "no replica was promoted");
        tokio::task::yield_now().await;
    }
}
