//! Stock in a Redis under Sentinels.

use flashsale_inventory::domain::{Outcome, Refusal};
use flashsale_testing::{eventually, redis_sentinel};

use crate::world::{SaleSpec, place, reserve, world_on};

#[tokio::test]
async fn a_sale_under_sentinels_is_sold_and_reads_as_closed_once_the_replica_took_over() {
    let redis = redis_sentinel().await;
    let url = redis.url.clone();
    let world = world_on(redis, &url).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let held = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold.hold_id;
    world.ask(&place(sale, "ada", held)).await.unwrap();
    world.inventory.settle(sale, &[(held, Outcome::Sold)]).await.unwrap();
    world.ask(&reserve(sale, "bob", &[("a", 1)])).await.unwrap();
    assert_eq!(world.books(sale, "a").await, [7, 1, 0, 2]);

    let before = world.store.run_id().await.unwrap();
    world.redis.servers.first_master().kill().await;
    eventually("the sale reads as closed", async || {
        match world.ask(&reserve(sale, "eve", &[("a", 1)])).await {
            Err(Refusal::Fenced) => Some(()),
            Err(Refusal::Unanswered | Refusal::StoreAway { .. } | Refusal::TooLate) => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert!(world.redis.servers.has_failed_over().await);
    assert_ne!(world.store.run_id().await.unwrap(), before);
    // What is there is the copy, and nothing of it is sold.
    assert_eq!(world.inventory.read(sale, &[]).await, Err(Refusal::Fenced));
    // A new sale starts on the server that took over.
    let next = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    world.ask(&reserve(next, "ada", &[("a", 1)])).await.unwrap();
}
