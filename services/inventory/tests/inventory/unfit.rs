//! A Redis that must not be used for stock.

use flashsale_inventory::{Config, DEFAULTS};
use flashsale_service::Drain;
use flashsale_testbed::{ask_redis, eventually, identity, redis, serve};

fn config(redis_url: &str) -> Config {
    let env = [("FLASHSALE_REDIS__URL".to_owned(), redis_url.to_owned())];
    flashsale_service::config::load_from(
        "inventory",
        DEFAULTS,
        None,
        env.into_iter().chain(identity()),
    )
    .unwrap()
}

#[tokio::test]
async fn evicting_redis_prevents_start() {
    let redis = redis().await;
    let port = redis.server.port();
    ask_redis(port, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    let refused =
        flashsale_inventory::build(config(&redis.own_url()), Drain::new()).await.unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("allkeys-lru"), "{refused}");
    assert!(refused.contains("set maxmemory-policy noeviction"), "{refused}");
}

#[tokio::test]
async fn redis_found_evicting_ends_service() {
    let redis = redis().await;
    let port = redis.server.port();
    ask_redis(port, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await.unwrap();
    redis.server.pause();
    let drain = Drain::new();
    let hosted = flashsale_inventory::build(config(&redis.own_url()), drain.clone()).await.unwrap();
    let server = serve(hosted, drain.clone()).await;
    assert!(!drain.is_draining(), "it should have started");
    redis.server.resume();
    eventually("the service ends", async || drain.is_draining().then_some(())).await;
    let ended = server.ended().await.unwrap_err();
    assert!(format!("{ended:#}").contains("allkeys-lru"), "{ended:#}");
}
