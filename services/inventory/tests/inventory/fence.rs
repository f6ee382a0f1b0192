//! Stock that has changed behind the service reads as closed.

use flashsale_inventory::{
    domain::{HoldId, HoldState, Outcome, Refusal},
    store::keys,
};
use flashsale_testbed::eventually;
use uuid::Uuid;

use crate::world::{SaleSpec, World, extend, good, place, place_lines, release, reserve, world};

/// Every call answers FENCED and writes nothing.
async fn assert_fenced(world: &World, sale: Uuid, hold_id: Uuid) {
    let before = world.dump().await;
    for request in [
        reserve(sale, "ada", &[("a", 1)]),
        place_lines(sale, "ada", &[("a", 1)]),
        place(sale, "ada", hold_id),
        extend(sale, "ada", hold_id),
        release(sale, "ada", hold_id),
    ] {
        assert_eq!(world.ask(&request).await, Err(Refusal::Fenced), "{request:?}");
    }
    assert_eq!(world.inventory.read(sale, &[]).await, Err(Refusal::Fenced));
    assert_eq!(world.inventory.hold(sale, HoldId::Hold(hold_id), None).await, Err(Refusal::Fenced));
    assert_eq!(
        world.inventory.settle(sale, &[(hold_id, Outcome::Sold)]).await,
        Err(Refusal::Fenced)
    );
    assert_eq!(world.inventory.list_placed(sale, 1, 1).await, Err(Refusal::Fenced));
    assert_eq!(world.inventory.sweep(sale, 1, 1).await, Err(Refusal::Fenced));
    assert_eq!(world.inventory.sync(sale).await, Err(Refusal::Fenced));
    assert_eq!(world.dump().await, before);
}

/// A sale of which every key exists, and a hold in it.
async fn busy_sale(world: &World) -> (Uuid, Uuid) {
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 99, 0, 1)]).await;
    let proof = good;
    world.ask_with(&place_lines(sale, "bob", &[("a", 1)]), &proof("1")).await.unwrap();
    let held = world.ask_with(&reserve(sale, "ada", &[("a", 1)]), &proof("2")).await.unwrap();
    world.ask(&extend(sale, "ada", held.hold.hold_id)).await.unwrap();
    (sale, held.hold.hold_id)
}

#[tokio::test]
async fn wiped_store_reads_as_closed() {
    let world = world().await;
    let (sale, hold_id) = busy_sale(&world).await;
    world.lua("redis.call('FLUSHALL')", vec![]).await;
    assert_fenced(&world, sale, hold_id).await;
}

#[tokio::test]
async fn loss_of_any_key_is_noticed() {
    let world = world().await;
    for index in 0..9 {
        let (sale, hold_id) = busy_sale(&world).await;
        let lost = keys(sale).swap_remove(index);
        let deleted = world.lua("return redis.call('DEL', KEYS[1])", vec![lost.clone()]).await;
        assert_eq!(deleted.as_i64(), Some(1), "{lost} did not exist");
        assert_fenced(&world, sale, hold_id).await;
    }
}

#[tokio::test]
async fn emptied_keys_are_not_missed() {
    let world = world().await;
    let (sale, hold_id) = busy_sale(&world).await;
    world.ask(&release(sale, "ada", hold_id)).await.unwrap();
    let placed = world.inventory.list_placed(sale, i64::MAX / 1_000_000, 9).await.unwrap().placed;
    world.inventory.settle(sale, &[(placed[0].hold_id, Outcome::Sold)]).await.unwrap();
    assert_eq!(world.books(sale, "a").await, [98, 0, 0, 1]);
}

#[tokio::test]
async fn restarted_server_is_another_server() {
    let mut world = world().await;
    let (sale, hold_id) = busy_sale(&world).await;
    world.redis.server.restart().await.unwrap();
    eventually("the restarted server answers", async || {
        match world.inventory.read(sale, &[]).await {
            Err(Refusal::Fenced) => Some(()),
            Err(Refusal::Unanswered | Refusal::StoreAway { .. }) => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert!(!world.hash(sale, 1).await.is_empty(), "the data should have survived");
    assert_fenced(&world, sale, hold_id).await;
    // Orders may have come of it: loading it again would sell their units twice.
    assert_eq!(world.inventory.load(sale, Uuid::new_v4()).await, Err(Refusal::Fenced));
}

#[tokio::test]
async fn unrecorded_epoch_is_closed() {
    let world = world().await;
    let (sale, hold_id) = busy_sale(&world).await;
    world.lua("redis.call('HSET', KEYS[1], 'epoch', 2)", keys(sale)).await;
    assert_fenced(&world, sale, hold_id).await;
    sqlx::query("UPDATE sale_stock SET epoch = 2").execute(&world.pg.pool).await.unwrap();
    let hold = eventually("the new epoch is known", async || {
        world.inventory.hold(sale, HoldId::Hold(hold_id), None).await.ok()
    })
    .await;
    assert_eq!(hold.state, HoldState::Held);
}
