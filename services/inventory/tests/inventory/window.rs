//! The window of a sale: the clock of its store opens and closes it, and nothing else has to.

use std::time::Duration;

use flashsale_inventory::{
    domain::{Answer, Refusal, Synced},
    store::keys,
};
use flashsale_record::SaleState;
use uuid::Uuid;

use crate::{
    claims::Claims,
    rebuilding::{flush, record_order},
    world::{SaleSpec, World, place_lines, reserve, world},
};

/// Longer than any window of these tests.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn prepared(starts_in_ms: i64) -> SaleSpec {
    SaleSpec { state: "PREPARED", starts_in_ms, ..SaleSpec::default() }
}

async fn ask(world: &World, sale: Uuid) -> Result<Answer, Refusal> {
    world.ask(&place_lines(sale, &Uuid::new_v4().to_string(), &[("a", 1)])).await
}

/// The state in which a sale takes no units.
async fn not_open(world: &World, sale: Uuid) -> SaleState {
    match ask(world, sale).await {
        Err(Refusal::NotOpen { state, .. }) => state,
        other => panic!("{other:?}"),
    }
}

/// Changes a field of the sale's rules where its stock is, as if the clock there were another.
pub(crate) async fn set_meta(world: &World, sale: Uuid, field: &str, value: i64) {
    let script = format!("redis.call('HSET', KEYS[1], '{field}', '{value}')");
    world.lua(&script, vec![keys(sale).swap_remove(0)]).await;
}

async fn set_record(world: &World, sale: Uuid, set: &'static str) {
    let statement = format!("UPDATE sales SET {set} WHERE sale_id = $1");
    let statement = sqlx::query(sqlx::AssertSqlSafe(statement));
    statement.bind(sale).execute(&world.pg.pool).await.unwrap();
}

#[tokio::test]
async fn a_prepared_sale_opens_and_closes_by_itself() {
    let world = world().await;
    let spec = SaleSpec { ends_in_ms: 1_800, ..prepared(1_000) };
    let sale = world.sale(spec, &[("a", 1_000_000, 0, 700)]).await;
    let meta = world.hash(sale, 0).await;
    let ms = |field: &str| meta[field].parse::<i64>().unwrap();
    let (mut early, mut taken, mut late) = (0, Vec::new(), 0);
    let buying = async {
        // Without any call that tells inventory of the start or the end.
        while late == 0 {
            match ask(&world, sale).await {
                Ok(answer) => taken.push(answer.hold.placed_ms.unwrap()),
                Err(Refusal::NotOpen { state, .. }) => {
                    assert_eq!(state, SaleState::Open);
                    if taken.is_empty() { early += 1 } else { late += 1 }
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, buying).await.expect("it opens and closes");
    assert!(early > 0, "it was open before anyone asked");
    assert!(taken[0] >= ms("starts_ms") && taken[taken.len() - 1] < ms("ends_ms"));
}

#[tokio::test]
async fn the_stock_decides_whether_a_sale_is_called_off() {
    let world = world().await;
    let sale = world.sale(prepared(60_000), &[("a", 5, 0, 700)]).await;
    assert_eq!(not_open(&world, sale).await, SaleState::Open);
    world.change_sale(sale, "cancel_requested = true").await;
    let synced = world.inventory.sync(sale).await.unwrap();
    assert_eq!(synced, Synced { version: 2, cancelled: true, over: false, switches: vec![] });
    assert_eq!(not_open(&world, sale).await, SaleState::Cancelled);
    // What is decided stays, though its start comes.
    set_meta(&world, sale, "starts_ms", 1).await;
    assert!(world.inventory.sync(sale).await.unwrap().cancelled);
    assert_eq!(not_open(&world, sale).await, SaleState::Cancelled);

    let begun = world.sale(prepared(60_000), &[("a", 5, 0, 700)]).await;
    set_meta(&world, begun, "starts_ms", 1).await;
    world.change_sale(begun, "cancel_requested = true").await;
    let synced = world.inventory.sync(begun).await.unwrap();
    assert_eq!(synced, Synced { version: 2, cancelled: false, over: false, switches: vec![] });
    ask(&world, begun).await.unwrap();
}

/// A later end that is told when the window has passed comes too late: the sale is over.
#[tokio::test]
async fn a_sale_that_is_over_does_not_open_again() {
    let world = world().await;
    let spec = SaleSpec { starts_in_ms: -60_000, ..prepared(0) };
    let sale = world.sale(spec, &[("a", 5, 0, 700)]).await;
    ask(&world, sale).await.unwrap();
    set_meta(&world, sale, "ends_ms", 2).await;
    world.change_sale(sale, "state = 'OPEN', ends_at = now() + interval '1 hour'").await;
    assert!(world.inventory.sync(sale).await.unwrap().over);
    assert_eq!(not_open(&world, sale).await, SaleState::Open);
    // One that is told in time does not.
    let open = world.sale(spec, &[("a", 5, 0, 700)]).await;
    world.change_sale(open, "state = 'OPEN', ends_at = now() + interval '2 hours'").await;
    assert!(!world.inventory.sync(open).await.unwrap().over);
    ask(&world, open).await.unwrap();
}

/// It was asked for while the stock could not be loaded, and its start has come meanwhile.
#[tokio::test]
async fn a_stock_that_never_stood_is_loaded_as_called_off() {
    let world = world().await;
    let sale = world.record_sale(prepared(-1_000), &[("a", 5, 0, 700)]).await;
    set_record(&world, sale, "cancel_requested = true").await;
    world.inventory.load(sale, Uuid::new_v4()).await.unwrap();
    assert!(world.inventory.sync(sale).await.unwrap().cancelled);
    assert_eq!(not_open(&world, sale).await, SaleState::Cancelled);
}

/// A stock that is loaded while its sale is to be called off never opens, unless it has begun.
#[tokio::test]
async fn a_lost_stock_is_rebuilt_as_what_was_asked_for() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let (off, begun) = (
        world.sale(prepared(60_000), &[("a", 5, 0, 700)]).await,
        world.sale(prepared(-1), &[("a", 5, 0, 700)]).await,
    );
    let placing = place_lines(begun, "ada", &[("a", 1)]);
    let hold = world.ask(&placing).await.unwrap().hold.hold_id;
    record_order(&world, &placing, hold, "PAYING", "a", 1, None).await;
    for sale in [off, begun] {
        set_record(&world, sale, "cancel_requested = true, version = version + 1").await;
    }
    // Its start comes while its stock is lost: that sells nothing that was not ordered.
    set_record(&world, off, "starts_at = now() - interval '1 s'").await;
    flush(&world).await;
    for sale in [off, begun] {
        assert!(world.inventory.rebuild(sale, false).await.unwrap().rebuilt);
    }
    assert_eq!(not_open(&world, off).await, SaleState::Cancelled);
    assert!(world.inventory.sync(off).await.unwrap().cancelled);
    ask(&world, begun).await.unwrap();
    assert!(!world.inventory.sync(begun).await.unwrap().cancelled);
}

/// A store that has been replaced may have a clock behind the one that opened and closed the sale.
#[tokio::test]
async fn a_clock_behind_undoes_neither_start_nor_end() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let spec = SaleSpec { starts_in_ms: -60_000, ..prepared(0) };
    let (open, over) =
        (world.sale(spec, &[("a", 5, 0, 700)]).await, world.sale(spec, &[("a", 5, 0, 700)]).await);
    set_record(&world, over, "ends_at = now() - interval '1 ms'").await;
    flush(&world).await;
    for sale in [open, over] {
        world.inventory.rebuild(sale, false).await.unwrap();
        // Its clock says that the window is still to come.
        set_meta(&world, sale, "starts_ms", 9_000_000_000_000).await;
        set_meta(&world, sale, "ends_ms", 9_000_000_000_001).await;
    }
    ask(&world, open).await.unwrap();
    assert_eq!(not_open(&world, over).await, SaleState::Open);
}

#[tokio::test]
async fn an_order_in_the_record_has_begun_its_sale() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let sale = world.sale(prepared(60_000), &[("a", 5, 0, 700)]).await;
    set_meta(&world, sale, "starts_ms", 1).await;
    let placing = place_lines(sale, "ada", &[("a", 1)]);
    let hold = world.ask(&placing).await.unwrap().hold.hold_id;
    record_order(&world, &placing, hold, "PAYING", "a", 1, None).await;
    flush(&world).await;
    world.inventory.rebuild(sale, false).await.unwrap();
    world.ask(&reserve(sale, "bob", &[("a", 1)])).await.unwrap();
}

#[tokio::test]
async fn a_prepared_stock_that_is_lost_is_rebuilt_and_not_loaded_again() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let sale = world.sale(prepared(60_000), &[("a", 5, 0, 700)]).await;
    flush(&world).await;
    let loaded = world.inventory.load(sale, Uuid::new_v4()).await;
    assert_eq!(loaded, Err(Refusal::Fenced));
    world.inventory.rebuild(sale, false).await.unwrap();
    assert_eq!(not_open(&world, sale).await, SaleState::Open);
}
