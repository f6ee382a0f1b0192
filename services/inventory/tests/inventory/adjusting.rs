//! Adding and withdrawing units during a sale, and recovery when an adjustment is cut off at any
//! point.

use std::{sync::Arc, time::Duration};

use flashsale_errors::Reason;
use flashsale_inventory::{
    domain::{Adjusted, AdjustmentRequest, Delta, Outcome, Refusal},
    store::{Adjustments, Stock, keys},
};
use flashsale_proto::inventory as proto;
use flashsale_testbed::{assert_failure, eventually};
use futures::future::join_all;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tonic::Status;
use uuid::Uuid;

use crate::{
    books::assert_books_balance,
    service::{id, served},
    world::{
        SaleSpec, World, inventory, inventory_on, place_lines, redis_config, release, reserve,
        world,
    },
};

fn ask(sale_id: Uuid, sku: &str, delta: i64) -> AdjustmentRequest {
    AdjustmentRequest {
        request_id: Uuid::new_v4(),
        sale_id,
        sku: sku.to_owned(),
        delta: Delta::new(delta).unwrap(),
        reason: "a pallet was found".to_owned(),
    }
}

async fn allotted(world: &World, sale: Uuid, sku: &str) -> i64 {
    sqlx::query_scalar("SELECT allotted FROM allotments WHERE sale_id = $1 AND sku = $2")
        .bind(sale)
        .bind(sku)
        .fetch_one(&world.pg.pool)
        .await
        .unwrap()
}

/// The journal: delta, state, allotted before and after, oldest first.
async fn journal(world: &World) -> Vec<(i64, String, Option<i64>, Option<i64>)> {
    sqlx::query_as(
        "SELECT delta, state, allotted_before, allotted_after FROM stock_adjustments ORDER BY created_at",
    )
    .fetch_all(&world.pg.pool)
    .await
    .unwrap()
}

fn done(delta: i64, before: i64) -> (i64, String, Option<i64>, Option<i64>) {
    (delta, "DONE".to_owned(), Some(before), Some(before + delta))
}

/// Free units in the current epoch: an instance learns of a new one a little later.
async fn available(world: &World, sale: Uuid, sku: &str) -> i64 {
    world.hash(sale, 1).await[&format!("a:{sku}")].parse().unwrap()
}

/// When nothing is under way, Redis and Postgres allot the same, and the books balance.
async fn assert_at_rest(world: &World, sale: Uuid, sku: &str) {
    assert_books_balance(world, sale).await;
    let in_redis: i64 = world.hash(sale, 1).await[&format!("t:{sku}")].parse().unwrap();
    assert_eq!(in_redis, allotted(world, sale, sku).await, "{sku}");
}

/// The single steps of an adjustment.
fn steps(world: &World) -> (Adjustments, Stock) {
    (
        Adjustments::new(world.pg.pool_of("inventory")),
        Stock::new(world.store.clone(), Arc::default(), Duration::from_secs(5)),
    )
}

/// What another instance does about everything that was cut off: how many adjustments have ended,
/// and how many have not.
async fn another_instance_finishes(world: &World) -> (usize, usize) {
    let other = inventory(&world.pg, &world.store, &world.queue);
    other.finish_adjustments(Duration::ZERO).await.unwrap()
}

/// The stock as a rebuild leaves it when nothing was sold: computed from Postgres alone, under the
/// next epoch.
async fn rebuild(world: &World, sale: Uuid) {
    begin_rebuild(world, sale).await;
    end_rebuild(world, sale).await;
}

async fn begin_rebuild(world: &World, sale: Uuid) {
    sqlx::query("UPDATE sale_stock SET epoch = epoch + 1, run_id = '' WHERE sale_id = $1")
        .bind(sale)
        .execute(&world.pg.pool)
        .await
        .unwrap();
}

async fn end_rebuild(world: &World, sale: Uuid) {
    let skus: Vec<(String, i64)> =
        sqlx::query_as("SELECT sku, allotted FROM allotments WHERE sale_id = $1")
            .bind(sale)
            .fetch_all(&world.pg.pool)
            .await
            .unwrap();
    let staged: String = skus
        .iter()
        .map(|(sku, units)| {
            format!(
                "redis.call('HSET', KEYS[2], 't:{sku}', {units}, 'a:{sku}', {units}, 'h:{sku}', 0,
                   'p:{sku}', 0, 's:{sku}', 0, 'l:{sku}', 0, 'm:{sku}', 1)\n"
            )
        })
        .collect();
    let script = format!(
        "for i = 2, 9 do redis.call('DEL', KEYS[i]) end
         {staged}
         redis.call('HINCRBY', KEYS[1], 'epoch', 1)
         redis.call('HSET', KEYS[1], 'keys', 2)"
    );
    world.lua(&script, keys(sale)).await;
    sqlx::query("UPDATE sale_stock SET run_id = server WHERE sale_id = $1")
        .bind(sale)
        .execute(&world.pg.pool)
        .await
        .unwrap();
}

async fn sale_of_ten(world: &World) -> Uuid {
    world.sale(SaleSpec::default(), &[("a", 10, 0, 1), ("b", 5, 0, 1)]).await
}

#[tokio::test]
async fn only_added_units_can_be_sold() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let added = world.inventory.adjust(&ask(sale, "a", 5)).await.unwrap();
    assert_eq!(added.adjustment.allotted, Some((10, 15)));
    let books = added.books.unwrap();
    assert_eq!((books.allotted, books.available), (15, 15));
    world.ask(&reserve(sale, "ada", &[("a", 12)])).await.unwrap();
    let withdrawn = world.inventory.adjust(&ask(sale, "a", -3)).await.unwrap();
    assert_eq!(withdrawn.adjustment.allotted, Some((15, 12)));
    let refusal = Refusal::SoldOut { sku: "a".to_owned(), available: 0, requested: 1 };
    assert_eq!(world.ask(&reserve(sale, "bob", &[("a", 1)])).await, Err(refusal));
    assert_eq!(journal(&world).await, [done(5, 10), done(-3, 15)]);
    assert_eq!(world.books(sale, "b").await, [5, 0, 0, 0]);
    assert_at_rest(&world, sale, "a").await;
}

#[tokio::test]
async fn committed_units_are_not_withdrawn() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let held = world.ask(&reserve(sale, "ada", &[("a", 4)])).await.unwrap();
    // Placed, and not on record yet.
    world.ask(&place_lines(sale, "bob", &[("a", 3)])).await.unwrap();
    let asked = ask(sale, "a", -4);
    let refusal = Refusal::UnitsCommitted { sku: "a".to_owned(), available: 3, requested: 4 };
    assert_eq!(world.inventory.adjust(&asked).await, Err(refusal.clone()));
    assert_eq!(world.books(sale, "a").await, [3, 4, 3, 0]);
    assert_eq!(allotted(&world, sale, "a").await, 10);
    world.ask(&release(sale, "ada", held.hold.hold_id)).await.unwrap();
    assert_eq!(world.inventory.adjust(&asked).await, Err(refusal));
    world.inventory.adjust(&ask(sale, "a", -7)).await.unwrap();
    assert_eq!(world.books(sale, "a").await, [0, 0, 3, 0]);
    assert_at_rest(&world, sale, "a").await;
    assert_eq!(journal(&world).await, [(-4, "REFUSED".to_owned(), None, None), done(-7, 10)]);
}

#[tokio::test]
async fn repeated_adjustment_takes_effect_once() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let other = inventory(&world.pg, &world.store, &world.queue);
    for asked in [ask(sale, "a", 7), ask(sale, "a", -7)] {
        let both = [&world.inventory, &other];
        let answers = join_all((0..8).map(|number| both[number % 2].adjust(&asked))).await;
        let first = answers[0].clone().unwrap().adjustment;
        for answer in answers {
            let adjustment = answer.unwrap().adjustment;
            assert_eq!(
                (&adjustment.request, adjustment.allotted),
                (&first.request, first.allotted)
            );
        }
        let reused = AdjustmentRequest { reason: "another".to_owned(), ..asked.clone() };
        assert_eq!(world.inventory.adjust(&reused).await, Err(Refusal::RequestReused));
        let reused = AdjustmentRequest { sku: "b".to_owned(), ..asked };
        assert_eq!(world.inventory.adjust(&reused).await, Err(Refusal::RequestReused));
    }
    assert_eq!(journal(&world).await, [done(7, 10), done(-7, 17)]);
    assert_at_rest(&world, sale, "a").await;
}

#[tokio::test]
async fn closed_stock_is_not_adjusted() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    world.lua("redis.call('FLUSHALL')", vec![]).await;
    for delta in [1, -1] {
        assert_eq!(world.inventory.adjust(&ask(sale, "a", delta)).await, Err(Refusal::Fenced));
    }
    assert_eq!(journal(&world).await, []);
    assert_eq!(allotted(&world, sale, "a").await, 10);
    assert!(world.dump().await.is_empty());
}

#[tokio::test]
async fn cut_off_addition_is_finished() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let (journal_of, stock) = steps(&world);
    // Cut off after Postgres has it.
    let one = journal_of.begin(&ask(sale, "a", 5)).await.unwrap().unwrap();
    assert_eq!((allotted(&world, sale, "a").await, world.books(sale, "a").await[0]), (15, 10));
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    assert_at_rest(&world, sale, "a").await;
    assert_eq!(world.books(sale, "a").await[0], 15);
    // Cut off after Redis has it, too.
    let two = journal_of.begin(&ask(sale, "a", 5)).await.unwrap().unwrap();
    assert_eq!(stock.adjust(&two.request, 1).await, Ok(Adjusted::Applied));
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    assert_at_rest(&world, sale, "a").await;
    assert_eq!(journal(&world).await, [done(5, 10), done(5, 15)]);
    // The caller, who got no answer, retries.
    for known in [one, two] {
        assert_eq!(
            world.inventory.adjust(&known.request).await.unwrap().books.unwrap().allotted,
            20
        );
    }
    assert_eq!(another_instance_finishes(&world).await, (0, 0));
}

#[tokio::test]
async fn cut_off_withdrawal_is_finished() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let (journal_of, stock) = steps(&world);
    // Cut off after the journal entry.
    journal_of.begin(&ask(sale, "a", -2)).await.unwrap().unwrap();
    assert_eq!((allotted(&world, sale, "a").await, world.books(sale, "a").await[0]), (10, 10));
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    // Cut off after the units are out of sale.
    let two = journal_of.begin(&ask(sale, "a", -2)).await.unwrap().unwrap();
    assert_eq!(stock.adjust(&two.request, 1).await, Ok(Adjusted::Applied));
    assert_eq!((allotted(&world, sale, "a").await, world.books(sale, "a").await[0]), (8, 6));
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    assert_at_rest(&world, sale, "a").await;
    // Cut off after the refusal; units that are free later do not change it.
    let held = world.ask(&reserve(sale, "ada", &[("a", 6)])).await.unwrap();
    let three = journal_of.begin(&ask(sale, "a", -2)).await.unwrap().unwrap();
    let refused = Adjusted::Committed { available: 0 };
    assert_eq!(stock.adjust(&three.request, 1).await, Ok(refused));
    world.ask(&release(sale, "ada", held.hold.hold_id)).await.unwrap();
    assert_eq!(stock.adjust(&three.request, 1).await, Ok(refused));
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    assert_eq!(
        journal(&world).await,
        [done(-2, 10), done(-2, 8), (-2, "REFUSED".to_owned(), None, None)]
    );
    assert_at_rest(&world, sale, "a").await;
}

#[tokio::test]
async fn rebuilt_addition_is_not_added_again() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let (journal_of, stock) = steps(&world);
    journal_of.begin(&ask(sale, "a", 5)).await.unwrap().unwrap();
    let told = journal_of.begin(&ask(sale, "b", 5)).await.unwrap().unwrap();
    stock.adjust(&told.request, 1).await.unwrap();
    begin_rebuild(&world, sale).await;
    // The stock of the old epoch still exists and takes it; it is discarded with that epoch.
    assert_eq!(stock.adjust(&told.request, 1).await, Ok(Adjusted::Applied));
    end_rebuild(&world, sale).await;
    assert_eq!(another_instance_finishes(&world).await, (2, 0));
    assert_eq!((available(&world, sale, "a").await, available(&world, sale, "b").await), (15, 10));
    assert_at_rest(&world, sale, "a").await;
    assert_at_rest(&world, sale, "b").await;
}

#[tokio::test]
async fn rebuild_blocks_adjustments() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let (journal_of, stock) = steps(&world);
    let withdrawn = journal_of.begin(&ask(sale, "a", -4)).await.unwrap().unwrap();
    assert_eq!(stock.adjust(&withdrawn.request, 1).await, Ok(Adjusted::Applied));
    begin_rebuild(&world, sale).await;
    assert_eq!(journal_of.begin(&ask(sale, "a", 5)).await, Err(Refusal::Fenced));
    let ended = journal_of.end_withdrawal(&withdrawn.request, 1, Adjusted::Applied).await;
    assert_eq!(ended, Ok(None));
    assert_eq!(another_instance_finishes(&world).await, (0, 1));
    assert_eq!(allotted(&world, sale, "a").await, 10);
    end_rebuild(&world, sale).await;
    // The answer in the old epoch is not enough.
    let ended = journal_of.end_withdrawal(&withdrawn.request, 1, Adjusted::Applied).await;
    assert_eq!(ended, Ok(None));
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    assert_eq!(available(&world, sale, "a").await, 6);
    assert_at_rest(&world, sale, "a").await;
}

#[tokio::test]
async fn withdrawal_is_decided_again_in_new_epoch() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let (journal_of, stock) = steps(&world);
    let asked = journal_of.begin(&ask(sale, "a", -4)).await.unwrap().unwrap().request;
    assert_eq!(stock.adjust(&asked, 1).await, Ok(Adjusted::Applied));
    rebuild(&world, sale).await;
    let buyer = inventory(&world.pg, &world.store, &world.queue);
    let none = crate::world::none();
    buyer.request(&reserve(sale, "ada", &[("a", 9)]), &none).await.unwrap();
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    let refusal = Refusal::UnitsCommitted { sku: "a".to_owned(), available: 1, requested: 4 };
    assert_eq!(buyer.adjust(&asked).await, Err(refusal));
    assert_eq!(journal(&world).await, [(-4, "REFUSED".to_owned(), None, None)]);
    assert_at_rest(&world, sale, "a").await;
}

#[tokio::test]
async fn adjustment_ends_once_store_is_back() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let (journal_of, _) = steps(&world);
    let nowhere =
        flashsale_redis::Store::connect(&redis_config("redis://127.0.0.1:1")).await.unwrap();
    let cut_off = inventory_on(nowhere, &world.pg, &world.queue, Duration::from_millis(50));
    let (added, withdrawn) = (ask(sale, "a", 5), ask(sale, "b", -5));
    for asked in [&added, &withdrawn] {
        // No journal entry is written before Redis has answered once.
        assert!(cut_off.adjust(asked).await.is_err());
        assert_eq!(journal_of.find(asked.request_id).await, Ok(None));
        journal_of.begin(asked).await.unwrap().unwrap();
        assert!(cut_off.adjust(asked).await.is_err());
    }
    assert_eq!(cut_off.finish_adjustments(Duration::ZERO).await, Ok((0, 2)));
    assert_eq!(allotted(&world, sale, "b").await, 5);
    world.inventory.adjust(&added).await.unwrap();
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    assert_eq!((world.books(sale, "a").await[0], world.books(sale, "b").await[0]), (15, 0));
    assert_at_rest(&world, sale, "a").await;
    assert_at_rest(&world, sale, "b").await;
}

#[tokio::test]
async fn withdrawal_of_claimed_units_stays_open() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let claim = |units: i64| {
        sqlx::query("UPDATE allotments SET claimed = $1 WHERE sku = 'a'")
            .bind(units)
            .execute(&world.pg.pool)
    };
    claim(8).await.unwrap();
    let asked = ask(sale, "a", -4);
    let refusal = world.inventory.adjust(&asked).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Fault { .. }), "{refusal:?}");
    assert_eq!((allotted(&world, sale, "a").await, world.books(sale, "a").await[0]), (10, 6));
    assert_eq!(another_instance_finishes(&world).await, (0, 1));
    claim(6).await.unwrap();
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    assert_at_rest(&world, sale, "a").await;
}

#[tokio::test]
async fn reload_keeps_early_additions() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1), ("b", 5, 0, 1)]).await;
    world.inventory.adjust(&ask(sale, "a", 5)).await.unwrap();
    world.inventory.adjust(&ask(sale, "b", -2)).await.unwrap();
    let (journal_of, _) = steps(&world);
    journal_of.begin(&ask(sale, "a", 1)).await.unwrap().unwrap();
    world.lua("redis.call('FLUSHALL')", vec![]).await;
    // As a load leaves it that was cut off before its stock could be used.
    sqlx::query("UPDATE sale_stock SET run_id = ''").execute(&world.pg.pool).await.unwrap();
    assert_eq!(world.inventory.load(sale, Uuid::new_v4()).await, Ok(2));
    assert_eq!(another_instance_finishes(&world).await, (1, 0));
    assert_eq!((world.books(sale, "a").await[0], world.books(sale, "b").await[0]), (16, 3));
    assert_at_rest(&world, sale, "a").await;
    assert_at_rest(&world, sale, "b").await;
}

#[tokio::test]
async fn stalled_adjustment_has_one_taker() {
    let world = world().await;
    let sale = sale_of_ten(&world).await;
    let (journal_of, _) = steps(&world);
    for _ in 0..30 {
        journal_of.begin(&ask(sale, "a", 1)).await.unwrap().unwrap();
    }
    // As if it were a minute old.
    sqlx::query("UPDATE stock_adjustments SET touched_at = now() - interval '1 minute'")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let takes = (0..6).map(|_| journal_of.take_stalled(5_000, 10));
    let taken: Vec<Uuid> = join_all(takes)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .map(|adjustment| adjustment.request.request_id)
        .collect();
    let different: std::collections::BTreeSet<&Uuid> = taken.iter().collect();
    assert_eq!(different.len(), taken.len());
    assert!(!taken.is_empty());
}

#[tokio::test]
async fn concurrent_adjustments_never_oversell() {
    let seed: u64 =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 30, 0, 1), ("b", 12, 0, 1)]).await;
    let instances: Vec<_> =
        (0..3).map(|_| inventory(&world.pg, &world.store, &world.queue)).collect();
    let (journal_of, stock) = steps(&world);
    let none = crate::world::none();
    let mut sent: Vec<AdjustmentRequest> = Vec::new();
    let mut holds: Vec<(String, Uuid)> = Vec::new();
    for round in 0..25 {
        let mut asks: Vec<AdjustmentRequest> = (0..rng.random_range(1..6))
            .map(|_| {
                let units = rng.random_range(1..=9);
                let sku = ["a", "b"][rng.random_range(0..2)];
                ask(sale, sku, if rng.random() { units } else { -units })
            })
            .collect();
        if !sent.is_empty() {
            asks.push(sent[rng.random_range(0..sent.len())].clone());
        }
        sent.extend(asks.clone());
        // Some begin and are cut off after one step or two.
        for asked in asks.iter().take(rng.random_range(0..2)) {
            if let Some(begun) = journal_of.begin(asked).await.unwrap()
                && rng.random()
            {
                stock.adjust(&begun.request, 1).await.unwrap();
            }
        }
        let buyers: Vec<_> = (0..rng.random_range(1..10))
            .map(|number| {
                let buyer = format!("buyer-{round}-{number}");
                let asked = [("a", rng.random_range(1..=3)), ("b", 1)];
                let asked = &asked[rng.random_range(0..2)..];
                if rng.random() {
                    reserve(sale, &buyer, asked)
                } else {
                    place_lines(sale, &buyer, asked)
                }
            })
            .collect();
        let adjusts = join_all(asks.iter().enumerate().flat_map(|(number, asked)| {
            [instances[number % 3].adjust(asked), instances[(number + 1) % 3].adjust(asked)]
        }));
        let buys = join_all(buyers.iter().map(|buy| instances[0].request(buy, &none)));
        let gives = async {
            let mut ended = Vec::new();
            for (buyer, hold_id) in holds.iter().take(3) {
                let _ = world.ask(&release(sale, buyer, *hold_id)).await;
                ended.push((
                    *hold_id,
                    if round % 2 == 0 { Outcome::Sold } else { Outcome::Released },
                ));
            }
            if !ended.is_empty() {
                world.inventory.settle(sale, &ended).await.unwrap();
            }
        };
        let finishes = instances[2].finish_adjustments(Duration::ZERO);
        let (adjusted, bought, (), finished) = tokio::join!(adjusts, buys, gives, finishes);
        finished.unwrap();
        for pair in adjusted.chunks(2) {
            match (&pair[0], &pair[1]) {
                (Ok(one), Ok(other)) => {
                    assert_eq!(one.adjustment.allotted, other.adjustment.allotted)
                }
                (Err(one @ Refusal::UnitsCommitted { .. }), Err(other)) => assert_eq!(one, other),
                other => panic!("{other:?}"),
            }
        }
        holds.drain(..holds.len().min(3));
        for answer in bought {
            match answer {
                Ok(answer) => holds.push((answer.hold.buyer_id.clone(), answer.hold.hold_id)),
                Err(Refusal::SoldOut { .. }) => {}
                Err(refusal) => panic!("{refusal:?}"),
            }
        }
        instances[1].finish_adjustments(Duration::ZERO).await.unwrap();
        for sku in ["a", "b"] {
            assert_at_rest(&world, sale, sku).await;
        }
    }
    let wrong: i64 =
        sqlx::query_scalar("SELECT count(*) FROM stock_adjustments WHERE state = 'STARTED'")
            .fetch_one(&world.pg.pool)
            .await
            .unwrap();
    assert_eq!(wrong, 0);
    for (sku, units) in [("a", 30), ("b", 12)] {
        let sum: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(delta), 0)::bigint FROM stock_adjustments WHERE sku = $1 AND state = 'DONE'",
        )
        .bind(sku)
        .fetch_one(&world.pg.pool)
        .await
        .unwrap();
        assert_eq!(allotted(&world, sale, sku).await, units + sum);
    }
}

#[tokio::test]
async fn adjustments_work_over_grpc() {
    let mut served = served().await;
    let sale = sale_of_ten(&served.world).await;
    let other = sale_of_ten(&served.world).await;
    let adjust = |delta: i64| proto::AdjustStockRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        sku: "a".to_owned(),
        delta,
        reason: "counted again".to_owned(),
    };
    let asked = adjust(3);
    let answer = served.admin.adjust_stock(asked.clone()).await.unwrap().into_inner();
    let adjustment = answer.adjustment.clone().unwrap();
    assert_eq!((adjustment.allotted_before, adjustment.allotted_after), (10, 13));
    assert_eq!(adjustment.state(), proto::AdjustmentState::Done);
    assert!(adjustment.create_time.is_some() && adjustment.end_time.is_some());
    assert_eq!(answer.stock.as_ref().unwrap().available, 13);
    assert_eq!(served.admin.adjust_stock(asked).await.unwrap().into_inner(), answer);
    let status = served.admin.adjust_stock(adjust(-14)).await.unwrap_err();
    let failure = assert_failure(&status, Reason::UnitsCommitted);
    let numbers = ["sku", "available", "requested"].map(|key| failure.metadata()[key].clone());
    assert_eq!(numbers, ["a", "13", "14"]);
    served.admin.adjust_stock(adjust(-13)).await.unwrap();

    let list = |sale: Uuid, token: &str| proto::ListAdjustmentsRequest {
        sale_id: sale.to_string(),
        page_size: 2,
        page_token: token.to_owned(),
    };
    let first = served.admin.list_adjustments(list(sale, "")).await.unwrap().into_inner();
    let deltas: Vec<i64> = first.adjustments.iter().map(|one| one.delta).collect();
    assert_eq!(deltas, [-13, -14]);
    assert_eq!(first.adjustments[1].state(), proto::AdjustmentState::Refused);
    assert_eq!(first.adjustments[1].allotted_after, 0);
    let token = first.next_page_token;
    let last = served.admin.list_adjustments(list(sale, &token)).await.unwrap().into_inner();
    assert_eq!((last.adjustments, last.next_page_token.as_str()), (vec![adjustment], ""));
    let status = served.admin.list_adjustments(list(other, &token)).await.unwrap_err();
    assert_failure(&status, Reason::PageTokenInvalid);
    let none = served.admin.list_adjustments(list(other, "")).await.unwrap().into_inner();
    assert_eq!((none.adjustments.len(), none.next_page_token.as_str()), (0, ""));
}

#[tokio::test]
async fn service_finishes_cut_off_adjustments() {
    let served = served().await;
    let sale = sale_of_ten(&served.world).await;
    let (journal_of, _) = steps(&served.world);
    journal_of.begin(&ask(sale, "a", 5)).await.unwrap().unwrap();
    sqlx::query("UPDATE stock_adjustments SET touched_at = now() - interval '1 minute'")
        .execute(&served.world.pg.pool)
        .await
        .unwrap();
    eventually("it has ended", async || {
        (journal(&served.world).await == [done(5, 10)]).then_some(())
    })
    .await;
    assert_at_rest(&served.world, sale, "a").await;
}

#[tokio::test]
async fn invalid_adjustment_is_refused_with_reason() {
    let mut served = served().await;
    let sale = sale_of_ten(&served.world).await;
    let spec = SaleSpec { state: "DRAFT", ..SaleSpec::default() };
    let draft = served.world.record_sale(spec, &[("a", 1, 0, 1)]).await;
    let good = proto::AdjustStockRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        sku: "a".to_owned(),
        delta: 1,
        reason: "found".to_owned(),
    };
    served.admin.adjust_stock(good.clone()).await.unwrap();
    type Change = fn(&mut proto::AdjustStockRequest);
    let (nowhere, draft) = (id(), draft.to_string());
    let fresh = proto::AdjustStockRequest { request_id: id(), ..good.clone() };
    use Reason::*;
    let changes: Vec<(&str, Change, Reason, &str)> = vec![
        ("an empty request id", |ask| ask.request_id.clear(), RequestIdInvalid, "request_id"),
        (
            "a request id that is none",
            |ask| ask.request_id = "1".into(),
            RequestIdInvalid,
            "request_id",
        ),
        ("a malformed sale", |ask| ask.sale_id = "sale".into(), ArgumentInvalid, "sale_id"),
        ("no sku", |ask| ask.sku.clear(), ArgumentInvalid, "sku"),
        ("an unprintable sku", |ask| ask.sku = "a\u{1f}".into(), ArgumentInvalid, "sku"),
        ("a long sku", |ask| ask.sku = "x".repeat(129), ArgumentInvalid, "sku"),
        ("an unknown sku", |ask| ask.sku = "zzz".into(), SkuNotFound, "sku"),
        ("nothing", |ask| ask.delta = 0, QuantityInvalid, "delta"),
        ("too much", |ask| ask.delta = 10_000_001, QuantityInvalid, "delta"),
        ("too much the other way", |ask| ask.delta = -10_000_001, QuantityInvalid, "delta"),
        ("the least number", |ask| ask.delta = i64::MIN, QuantityInvalid, "delta"),
        ("no reason", |ask| ask.reason.clear(), ArgumentInvalid, "reason"),
        ("an unprintable reason", |ask| ask.reason = "a\nb".into(), ArgumentInvalid, "reason"),
        ("a long reason", |ask| ask.reason = "x".repeat(257), ArgumentInvalid, "reason"),
    ];
    let mut cases: Vec<_> = changes
        .into_iter()
        .map(|(what, change, reason, field)| {
            let mut asked = fresh.clone();
            change(&mut asked);
            (what, asked, reason, field)
        })
        .collect();
    let change = |ask: &proto::AdjustStockRequest| ask.clone();
    let sale_id =
        |sale_id: &str| proto::AdjustStockRequest { sale_id: sale_id.to_owned(), ..change(&fresh) };
    cases.push(("an unknown sale", sale_id(&nowhere), SaleNotFound, "sale_id"));
    cases.push(("a sale never loaded", sale_id(&draft), SaleNotOpen, ""));
    let reused = proto::AdjustStockRequest { delta: 2, ..good };
    cases.push(("a request id with other content", reused, RequestIdReused, "request_id"));
    let unchanged = async |served: &crate::service::Served| {
        (
            served.world.dump().await,
            journal(&served.world).await,
            allotted(&served.world, sale, "a").await,
        )
    };
    let fields = |status: &Status, reason: Reason| -> Vec<String> {
        let failure = assert_failure(status, reason);
        failure.violations().iter().map(|violation| violation.field.clone()).collect()
    };
    let before = unchanged(&served).await;
    for (what, asked, reason, field) in cases {
        let status = served.admin.adjust_stock(asked).await.expect_err(what);
        println!("{what}: {}", status.message());
        let expected: Vec<&str> =
            Some(field).filter(|field| !field.is_empty()).into_iter().collect();
        assert_eq!(fields(&status, reason), expected, "{what}");
        assert_eq!(unchanged(&served).await, before, "{what} changed something");
    }
    let list = proto::ListAdjustmentsRequest { sale_id: sale.to_string(), ..Default::default() };
    for (asked, reason, field) in [
        (
            proto::ListAdjustmentsRequest { sale_id: "x".into(), ..list.clone() },
            ArgumentInvalid,
            "sale_id",
        ),
        (
            proto::ListAdjustmentsRequest { sale_id: nowhere, ..list.clone() },
            SaleNotFound,
            "sale_id",
        ),
        (
            proto::ListAdjustmentsRequest { page_size: -1, ..list.clone() },
            ArgumentInvalid,
            "page_size",
        ),
        (
            proto::ListAdjustmentsRequest { page_token: "x".into(), ..list },
            PageTokenInvalid,
            "page_token",
        ),
    ] {
        let status = served.admin.list_adjustments(asked).await.unwrap_err();
        assert_eq!(fields(&status, reason), [field]);
    }
}
