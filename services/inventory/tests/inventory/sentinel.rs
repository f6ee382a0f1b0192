//! Stock in a Redis under Sentinels.

use std::time::{Duration, Instant};

use flashsale_inventory::domain::{Outcome, Refusal};
use flashsale_testbed::{eventually, redis_sentinel};

use uuid::Uuid;

use crate::{
    books::assert_books_balance,
    claims::Claims,
    rebuilding::record_order,
    service::serve_world,
    world::{SaleSpec, place, place_lines, reserve, world_on},
};

#[tokio::test]
async fn failover_closes_sale_until_rebuilt() {
    let redis = redis_sentinel().await;
    let url = redis.url.clone();
    let mut world = world_on(redis, &url).await;
    let claims = Claims::of(&mut world).await;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let held = world.ask(&reserve(sale, "ada", &[("a", 2)])).await.unwrap().hold.hold_id;
    let paid = place(sale, "ada", held);
    world.ask(&paid).await.unwrap();
    record_order(&world, &paid, held, "CONFIRMED", "a", 2, None).await;
    world.inventory.settle(sale, &[(held, Outcome::Sold)]).await.unwrap();
    let placed = place_lines(sale, "cem", &[("a", 3)]);
    world.ask(&placed).await.unwrap();
    record_order(&world, &placed, placed.key(), "CLAIMED", "a", 3, None).await;
    world.ask(&reserve(sale, "bob", &[("a", 1)])).await.unwrap();
    assert_eq!(world.books(sale, "a").await, [4, 1, 3, 2]);

    let before = world.store.server().await.unwrap();
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
    assert_ne!(world.store.server().await.unwrap(), before);
    // The new server has a copy, and nothing of it is sold.
    assert_eq!(world.inventory.read(sale, &[]).await, Err(Refusal::Fenced));
    // A new sale starts on the server that took over, once the old one is given up.
    let next = world.record_sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    eventually("the server that took over counts", async || {
        let _ = world.inventory.beat().await;
        world.inventory.load(next, Uuid::new_v4()).await.ok()
    })
    .await;
    world.ask(&reserve(next, "ada", &[("a", 1)])).await.unwrap();

    // A service opens the old sale again from the record: Bob's cart is gone.
    let began = Instant::now();
    let served = serve_world(&world, &claims.nats.url).await;
    let view = eventually("the sale is open again", async || {
        world.inventory.read(sale, &[]).await.ok().filter(|view| view.epoch == 2)
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    let books = &view.skus[0];
    assert_eq!((books.available, books.held, books.placed, books.sold), (5, 0, 3, 2));
    assert!(world.ask(&paid).await.unwrap().replayed && world.ask(&placed).await.unwrap().replayed);
    world.ask(&reserve(sale, "eve", &[("a", 5)])).await.unwrap();
    assert_books_balance(&world, sale).await;
    drop(served);
}
