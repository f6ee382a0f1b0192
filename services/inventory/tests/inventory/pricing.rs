//! Prices that change while a sale is on: the clock of its store switches them for all skus at
//! once, and nothing else has to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use flashsale_inventory::domain::{
    Amount, Content, Phase, Placing, Refusal, Request, Retaken, StockView, Switch, Synced,
};
use flashsale_proto::{
    Money,
    inventory::{self as proto, inventory_service_client::InventoryServiceClient},
};
use flashsale_testbed::eventually;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use crate::{
    claims::Claims,
    random::seed,
    rebuilding::{flush, record_order, straggler},
    service::serve_world,
    window::{prepared, set_meta},
    world::{SaleSpec, World, inventory, none, place, place_lines, placing, reserve, world},
};

/// Longer than anything these tests wait for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A sku's price, its regular price, and its limit.
type Row<'a> = (&'a str, i64, Option<i64>, i64);

/// Records a revision of a sale's prices, effective so many milliseconds from now, as the sale
/// service does.
async fn record_revision(world: &World, sale: Uuid, revision: i64, in_ms: i64, rows: &[Row<'_>]) {
    let mut tx = world.pg.pool.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO price_revisions (sale_id, revision, effective_at)
         VALUES ($1, $2, now() + $3 * interval '1 ms')",
    )
    .bind(sale)
    .bind(revision)
    .bind(in_ms as f64)
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO sale_prices (sale_id, sku, revision, price_minor, regular_minor, per_buyer_limit)
         SELECT $1, sku, $2, price, regular, most
         FROM unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) AS r (sku, price, regular, most)",
    )
    .bind(sale)
    .bind(revision)
    .bind(rows.iter().map(|row| row.0.to_owned()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.1).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.2).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.3).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn run(world: &World, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&world.pg.pool).await.unwrap();
}

async fn replace(world: &World, sale: Uuid, revision: i64, by: i64) {
    let statement = format!(
        "UPDATE price_revisions SET replaced_by = {by}, switches_at = NULL
         WHERE sale_id = '{sale}' AND revision = {revision}"
    );
    run(world, &statement).await;
}

async fn sync(world: &World, sale: Uuid) -> Vec<Switch> {
    world.inventory.sync(sale).await.unwrap().switches
}

/// Has the next revision's time come.
async fn switch(world: &World, sale: Uuid) {
    set_meta(world, sale, "next_ms", 1).await;
}

/// Price, revision and limit of each sku.
async fn prices(world: &World, sale: Uuid) -> BTreeMap<String, (i64, i64, i64)> {
    let view = world.inventory.read(sale, &[]).await.unwrap();
    let of = view.skus.into_iter();
    of.map(|sku| (sku.sku, (sku.price_minor, sku.price_revision, sku.per_buyer_limit))).collect()
}

/// What a buyer of one unit of each sku pays, with the revision of each price.
async fn bought(world: &World, sale: Uuid, skus: &[&str]) -> Vec<(i64, i64)> {
    let asked: Vec<(&str, i64)> = skus.iter().map(|sku| (*sku, 1)).collect();
    let answer = world.ask(&reserve(sale, &Uuid::new_v4().to_string(), &asked)).await.unwrap();
    answer.hold.lines.iter().map(|line| (line.price_minor, line.price_revision)).collect()
}

/// A sale of the skus a, b and c at 7.00, 8.00 and 9.00.
async fn sale_of_three(world: &World) -> Uuid {
    let items = [("a", 1_000_000, 2, 700), ("b", 1_000_000, 0, 800), ("c", 1_000_000, 0, 900)];
    world.sale(SaleSpec::default(), &items).await
}

#[tokio::test]
async fn clock_of_the_store_switches_prices() {
    let world = world().await;
    let sale = sale_of_three(&world).await;
    record_revision(&world, sale, 2, 1_500, &[("a", 500, Some(700), 5), ("b", 600, None, 0)]).await;
    let switches = sync(&world, sale).await;
    let [Switch { revision: 2, at_ms }] = switches[..] else { panic!("{switches:?}") };
    // As the version before has them, as long as nothing else is taken.
    assert_eq!(bought(&world, sale, &["a", "b", "c"]).await, [(700, 1), (800, 1), (900, 1)]);
    let holds = world.hash(sale, 2).await;
    assert!(holds.values().all(|hold| hold.contains(r#"[["a",1,700],["b",1,800],["c",1,900]]"#)));
    let (mut before, mut after) = (0, 0);
    let buying = async {
        while after < 3 {
            let buyer = Uuid::new_v4().to_string();
            let asked = [("a", 1), ("b", 1), ("c", 1)];
            let hold = world.ask(&place_lines(sale, &buyer, &asked)).await.unwrap().hold;
            let switched = hold.placed_ms.unwrap() >= at_ms;
            let paid: Vec<_> =
                hold.lines.iter().map(|line| (line.price_minor, line.price_revision)).collect();
            let due = if switched {
                after += 1;
                [(500, 2), (600, 2), (900, 1)]
            } else {
                before += 1;
                [(700, 1), (800, 1), (900, 1)]
            };
            assert_eq!(paid, due, "{} of {at_ms}", hold.placed_ms.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, buying).await.expect("the prices change");
    assert!(before > 0, "it switched before anyone asked");
    let expected = [("a", (500, 2, 5)), ("b", (600, 2, 0)), ("c", (900, 1, 0))];
    let expected = expected.map(|(sku, price)| (sku.to_owned(), price));
    assert_eq!(prices(&world, sale).await, BTreeMap::from(expected));
    // The new limit holds as well.
    let refusal = Refusal::BuyerLimit { sku: "a".to_owned(), limit: 5, has: 0, requested: 6 };
    assert_eq!(world.ask(&reserve(sale, "eve", &[("a", 6)])).await, Err(refusal));
}

/// The clock of the store is set back, as by a server that takes over.
#[tokio::test]
async fn what_has_switched_stays() {
    let world = world().await;
    let sale = sale_of_three(&world).await;
    record_revision(&world, sale, 2, 3_600_000, &[("a", 500, None, 0)]).await;
    sync(&world, sale).await;
    let due = world.hash(sale, 0).await["next_ms"].parse().unwrap();
    switch(&world, sale).await;
    assert_eq!(bought(&world, sale, &["a"]).await, [(500, 2)]);
    set_meta(&world, sale, "next_ms", due).await;
    assert_eq!(bought(&world, sale, &["a"]).await, [(500, 2)]);
    assert_eq!(world.inventory.read(sale, &[]).await.unwrap().terms.price_revision, 2);
}

#[tokio::test]
async fn a_third_revision_waits_for_the_second() {
    let world = world().await;
    let sale = sale_of_three(&world).await;
    record_revision(&world, sale, 2, 3_600_000, &[("a", 500, Some(650), 0)]).await;
    record_revision(&world, sale, 3, 7_200_000, &[("b", 300, None, 1)]).await;
    let next = |switches: &[Switch]| switches.iter().map(|at| at.revision).collect::<Vec<_>>();
    assert_eq!(next(&sync(&world, sale).await), [2]);
    assert_eq!(next(&sync(&world, sale).await), [2]);
    assert_eq!(world.hash(sale, 0).await["next_rev"], "2");
    switch(&world, sale).await;
    assert_eq!(next(&sync(&world, sale).await), [2, 3]);
    let meta = world.hash(sale, 0).await;
    assert_eq!((meta["rev"].as_str(), meta["next_rev"].as_str()), ("2", "3"));
    assert_eq!(bought(&world, sale, &["a", "b"]).await, [(500, 2), (800, 1)]);
    let stock = world.hash(sale, 1).await;
    assert_eq!((stock["m:a"].as_str(), stock["g:a"].as_str()), ("500,2", "650"));
    assert!(!stock.keys().any(|field| field.starts_with("n:2:")), "{stock:?}");
    switch(&world, sale).await;
    assert_eq!(bought(&world, sale, &["a", "b"]).await, [(500, 2), (300, 3)]);
}

/// What is late takes effect when it gets there.
#[tokio::test]
async fn a_revision_that_comes_late_switches_at_once() {
    let world = world().await;
    let sale = sale_of_three(&world).await;
    record_revision(&world, sale, 2, -60_000, &[("a", 500, None, 0)]).await;
    let taken = world.ask(&place_lines(sale, "ada", &[("a", 1)])).await.unwrap().hold;
    assert_eq!(taken.lines[0].price_revision, 1);
    let [Switch { revision: 2, at_ms }] = sync(&world, sale).await[..] else { panic!("no switch") };
    assert!(at_ms >= taken.placed_ms.unwrap(), "units were taken at the old price until then");
    assert_eq!(bought(&world, sale, &["a"]).await, [(500, 2)]);
}

#[tokio::test]
async fn a_revision_that_is_replaced_never_takes_effect() {
    let world = world().await;
    let sale = sale_of_three(&world).await;
    record_revision(&world, sale, 2, 7_200_000, &[("a", 1, None, 0), ("b", 1, None, 0)]).await;
    sync(&world, sale).await;
    replace(&world, sale, 2, 3).await;
    record_revision(&world, sale, 3, 3_600_000, &[("a", 500, None, 0)]).await;
    let [Switch { revision: 3, .. }] = sync(&world, sale).await[..] else { panic!("no switch") };
    let stock = world.hash(sale, 1).await;
    assert!(!stock.keys().any(|field| field.starts_with("n:2:")), "{stock:?}");
    assert!(!world.hash(sale, 0).await.contains_key("staged:2"));
    switch(&world, sale).await;
    assert_eq!(bought(&world, sale, &["a", "b"]).await, [(500, 3), (800, 1)]);

    // One that has taken effect is not taken back.
    record_revision(&world, sale, 4, 3_600_000, &[("b", 600, None, 0)]).await;
    sync(&world, sale).await;
    switch(&world, sale).await;
    replace(&world, sale, 4, 5).await;
    record_revision(&world, sale, 5, 3_600_000, &[("c", 1, None, 0)]).await;
    let switches = sync(&world, sale).await;
    assert_eq!(switches.iter().map(|at| at.revision).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(bought(&world, sale, &["a", "b"]).await, [(500, 3), (600, 4)]);
}

/// What a process that died has left is taken up where it stopped.
#[tokio::test]
async fn a_step_that_was_cut_off_is_taken_up() {
    let world = world().await;
    let sale = sale_of_three(&world).await;
    let meta = || flashsale_inventory::store::keys(sale)[..2].to_vec();
    record_revision(&world, sale, 2, 3_600_000, &[("a", 500, None, 0), ("b", 600, None, 0)]).await;
    // Staged in part.
    let part = "redis.call('HSET', KEYS[2], 'n:2:a', '500|0||2')
                redis.call('HSET', KEYS[1], 'staged:2', '1')";
    world.lua(part, meta()).await;
    assert_eq!(bought(&world, sale, &["a", "b"]).await, [(700, 1), (800, 1)]);
    sync(&world, sale).await;
    assert_eq!(world.hash(sale, 0).await["staged:2"], "2");
    switch(&world, sale).await;
    // Moved in part: no reader sees that.
    let part = "redis.call('HDEL', KEYS[2], 'n:2:a')
                redis.call('HSET', KEYS[2], 'm:a', '500,2', 'l:a', '0')
                redis.call('HSET', KEYS[1], 'staged:2', '1')";
    world.lua(part, meta()).await;
    let both = [(500, 2), (600, 2)];
    assert_eq!(bought(&world, sale, &["a", "b"]).await, both);
    let view = world.inventory.read(sale, &[]).await.unwrap();
    assert_eq!((view.skus[0].price_minor, view.skus[1].price_minor), (500, 600));
    record_revision(&world, sale, 3, 3_600_000, &[("c", 1, None, 0)]).await;
    let switches = sync(&world, sale).await;
    assert_eq!(switches.iter().map(|at| at.revision).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(bought(&world, sale, &["a", "b"]).await, both);
    assert!(!world.hash(sale, 0).await.contains_key("staged:2"));
}

/// A limit was changed in the moment of a switch: what is taken back there, and comes again at
/// once, is never seen.
#[tokio::test]
async fn revisions_that_are_late_switch_together() {
    let world = world().await;
    let sale = sale_of_three(&world).await;
    record_revision(&world, sale, 2, 3_600_000, &[("a", 500, None, 2)]).await;
    sync(&world, sale).await;
    replace(&world, sale, 2, 3).await;
    record_revision(&world, sale, 3, -2_000, &[("a", 700, None, 5), ("b", 600, None, 0)]).await;
    record_revision(&world, sale, 4, -1_000, &[("a", 500, None, 5)]).await;
    switch(&world, sale).await;
    let done = AtomicBool::new(false);
    let buying = async {
        while !done.load(Ordering::SeqCst) {
            assert_eq!(bought(&world, sale, &["a"]).await[0].0, 500);
        }
    };
    let telling = async {
        let switches = sync(&world, sale).await;
        done.store(true, Ordering::SeqCst);
        switches.iter().map(|at| at.revision).collect::<Vec<_>>()
    };
    let (told, ()) = tokio::join!(telling, buying);
    // The second had switched, the others do so together.
    assert_eq!(told, [2, 4]);
    let expected = [("a", (500, 4, 5)), ("b", (600, 3, 0)), ("c", (900, 1, 0))];
    let expected = expected.map(|(sku, price)| (sku.to_owned(), price));
    assert_eq!(prices(&world, sale).await, BTreeMap::from(expected.clone()));
    // Also where all of it has become the present one.
    record_revision(&world, sale, 5, 3_600_000, &[("c", 1, None, 0)]).await;
    let told = sync(&world, sale).await;
    assert_eq!(told.iter().map(|at| at.revision).collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!(prices(&world, sale).await, BTreeMap::from(expected));
    assert_eq!(bought(&world, sale, &["a", "b"]).await, [(500, 4), (600, 3)]);
}

/// The prices of a reading, if all are of one level: a revision changes all of them.
fn level(view: &StockView) -> i64 {
    let levels: BTreeSet<i64> = view.skus.iter().map(|sku| sku.price_minor).collect();
    assert_eq!(levels.len(), 1, "mixed: {levels:?}");
    let level = *levels.first().unwrap();
    let revision = level - 99;
    assert!(view.skus.iter().all(|sku| sku.price_revision == revision));
    assert_eq!(view.terms.price_revision, revision);
    level
}

#[tokio::test]
async fn no_reader_and_no_buyer_sees_two_revisions() {
    const REPRICES: i64 = 6;
    let world = world().await;
    let skus: Vec<String> = (0..2_500).map(|number| format!("sku-{number:04}")).collect();
    let items: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 1_000, 0, 100)).collect();
    let sale = world.sale(SaleSpec::default(), &items).await;
    let done = AtomicBool::new(false);
    let mut seen = BTreeSet::new();
    let reading = async {
        while !done.load(Ordering::SeqCst) {
            match world.inventory.read(sale, &[]).await {
                Ok(view) => _ = seen.insert(level(&view)),
                // The prices changed in each of a few readings.
                Err(refusal) => assert_eq!(refusal, Refusal::TooLate),
            }
        }
    };
    let buying = async {
        while !done.load(Ordering::SeqCst) {
            let some = [skus[0].as_str(), skus[1_250].as_str(), skus[2_499].as_str()];
            let paid = bought(&world, sale, &some).await;
            assert!(paid.iter().all(|line| *line == paid[0]), "mixed: {paid:?}");
        }
    };
    let repricing = async {
        for revision in 2..2 + REPRICES {
            let price = 99 + revision;
            let rows: Vec<Row<'_>> =
                skus.iter().map(|sku| (sku.as_str(), price, None, 0)).collect();
            record_revision(&world, sale, revision, 50, &rows).await;
            sync(&world, sale).await;
            eventually("the prices change", async || {
                let view = world.inventory.read(sale, &[skus[0].clone()]).await.unwrap();
                (view.skus[0].price_minor == price).then_some(())
            })
            .await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let ((), (), ()) = tokio::join!(reading, buying, repricing);
    assert!(seen.len() > 2, "{seen:?}");
    assert_eq!(level(&world.inventory.read(sale, &[]).await.unwrap()), 99 + 1 + REPRICES);
}

#[tokio::test]
async fn a_rebuilt_stock_has_the_prices_of_now() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let sale = sale_of_three(&world).await;
    let hour = 3_600_000;
    record_revision(&world, sale, 2, 120_000, &[("a", 500, Some(700), 4)]).await;
    sync(&world, sale).await;
    switch(&world, sale).await;
    let ada = place_lines(sale, "ada", &[("a", 1)]);
    assert_eq!(world.ask(&ada).await.unwrap().hold.lines[0].price_revision, 2);
    record_order(&world, &ada, ada.key(), "CLAIMED", "a", 1, None).await;
    // By the record's clock the second revision is still to come: an order says otherwise.
    run(&world, "UPDATE order_lines SET price_revision = 2, unit_price_minor = 500").await;
    record_revision(&world, sale, 3, 2 * hour, &[("b", 300, None, 0), ("c", 200, None, 0)]).await;
    record_revision(&world, sale, 4, 3 * hour, &[("c", 100, None, 0)]).await;
    flush(&world).await;
    world.inventory.rebuild(sale, false).await.unwrap();
    assert_eq!(bought(&world, sale, &["a", "b"]).await, [(500, 2), (800, 1)]);
    assert_eq!(prices(&world, sale).await["a"], (500, 2, 4));
    let hold = &world.hold(sale, ada.key()).await.lines[0];
    assert_eq!((hold.price_minor, hold.price_revision), (500, 2));
    // The next one is armed with the stock, and the one after it follows.
    switch(&world, sale).await;
    assert_eq!(bought(&world, sale, &["b", "c"]).await, [(300, 3), (200, 3)]);
    let switches = sync(&world, sale).await;
    assert_eq!(switches.iter().map(|at| at.revision).collect::<Vec<_>>(), [2, 3, 4]);
    switch(&world, sale).await;
    assert_eq!(bought(&world, sale, &["b", "c"]).await, [(300, 3), (100, 4)]);

    // One whose time is past by the record's clock is loaded as the present one.
    run(&world, "UPDATE price_revisions SET effective_at = now() WHERE revision = 4").await;
    flush(&world).await;
    world.inventory.rebuild(sale, false).await.unwrap();
    assert_eq!(bought(&world, sale, &["b", "c"]).await, [(300, 3), (100, 4)]);
    let [Switch { revision: 4, .. }] = sync(&world, sale).await[..] else { panic!("no switch") };
}

#[tokio::test]
async fn an_old_order_is_retaken_at_its_own_price() {
    let mut world = world().await;
    let _claims = Claims::of(&mut world).await;
    let sale = sale_of_three(&world).await;
    let late = place_lines(sale, "ada", &[("a", 2)]);
    world.ask(&late).await.unwrap();
    flush(&world).await;
    record_revision(&world, sale, 2, -1_000, &[("a", 500, None, 0)]).await;
    world.inventory.rebuild(sale, false).await.unwrap();
    assert_eq!(bought(&world, sale, &["a"]).await, [(500, 2)]);
    // A revision without a price of the sku has none that could be taken.
    let mut unknown = straggler(&late, Uuid::new_v4(), "a", 2);
    unknown.lines[0].1 = 3;
    let retaken = world.inventory.retake(sale, 2, &[unknown]).await.unwrap();
    assert_eq!(retaken, (2, vec![Retaken::Refused]));
    let order = straggler(&late, late.key(), "a", 2);
    let retaken = world.inventory.retake(sale, 2, &[order]).await.unwrap();
    assert_eq!(retaken, (2, vec![Retaken::Taken]));
    let line = world.hold(sale, late.key()).await.lines.remove(0);
    assert_eq!((line.quantity, line.price_minor, line.price_revision), (2, 700, 1));
}

#[tokio::test]
async fn another_total_than_expected_takes_nothing() {
    let world = world().await;
    let sale = sale_of_three(&world).await;
    let by_lines = |buyer: &str, expected| Request {
        content: Content::PlaceLines(
            crate::world::lines(&[("a", 2), ("b", 1)]),
            placing(Some(expected)),
        ),
        ..place_lines(sale, buyer, &[("a", 1)])
    };
    let changed = |expected_minor| Refusal::PriceChanged {
        expected_minor,
        total_minor: 2_200,
        currency: "EUR".to_owned(),
    };
    for expected in [0, 2_199, 2_201] {
        world.refused(&by_lines("ada", expected), &none(), changed(expected)).await;
    }
    let good = by_lines("ada", 2_200);
    let placed = world.ask(&good).await.unwrap();
    assert!(!placed.replayed && placed.hold.total_minor() == 2_200);
    assert!(world.ask(&good).await.unwrap().replayed);
    let other = Request { request_id: good.request_id, ..by_lines("ada", 2_199) };
    world.refused(&other, &none(), Refusal::RequestReused).await;

    let held = world.ask(&reserve(sale, "bob", &[("a", 2), ("b", 1)])).await.unwrap().hold;
    let of_hold = |placing: Placing| Request {
        content: Content::PlaceHold(held.hold_id, placing),
        ..place(sale, "bob", held.hold_id)
    };
    world.refused(&of_hold(placing(Some(2_100))), &none(), changed(2_100)).await;
    let dollars = Amount { minor: 2_200, currency: "USD" };
    let in_dollars = Placing { expected: Some(dollars), ..placing(None) };
    world.refused(&of_hold(in_dollars), &none(), changed(2_200)).await;
    // A hold keeps its prices.
    record_revision(&world, sale, 2, -1_000, &[("a", 1, None, 0)]).await;
    sync(&world, sale).await;
    assert_eq!(bought(&world, sale, &["a"]).await, [(1, 2)]);
    let placed = world.ask(&of_hold(placing(Some(2_200)))).await.unwrap().hold;
    assert_eq!(placed.total_minor(), 2_200);
}

#[tokio::test]
async fn outside_the_window_a_unit_costs_the_regular_price() {
    let world = world().await;
    let sale = world.record_sale(prepared(60_000), &[("a", 5, 0, 700), ("b", 5, 0, 800)]).await;
    run(&world, "UPDATE sale_items SET regular_minor = 1050 WHERE sku = 'a'").await;
    world.inventory.load(sale, Uuid::new_v4()).await.unwrap();
    let server = serve_world(&world, "nats://127.0.0.1:1").await;
    let mut client = InventoryServiceClient::new(server.channel().await);
    let mut shown = async || {
        let ask = proto::GetStockRequest { sale_id: sale.to_string(), skus: vec![], fresh: true };
        let stock = client.get_stock(ask).await.unwrap().into_inner().stock;
        let cents = |money: &Option<Money>| {
            money.as_ref().map(|money| money.units * 100 + i64::from(money.nanos / 10_000_000))
        };
        let of = stock.iter().map(|sku| (cents(&sku.unit_price), cents(&sku.regular_price)));
        of.collect::<Vec<_>>()
    };
    let outside = [(Some(1_050), Some(1_050)), (Some(800), None)];
    let inside = [(Some(700), Some(1_050)), (Some(800), None)];
    assert_eq!(shown().await, outside);
    set_meta(&world, sale, "starts_ms", 1).await;
    assert_eq!(shown().await, inside);
    assert_eq!(world.inventory.read(sale, &[]).await.unwrap().phase(), Phase::OnSale);
    world.change_sale(sale, "state = 'PAUSED', starts_at = now() - interval '1 s'").await;
    assert_eq!(shown().await, inside);
    set_meta(&world, sale, "ends_ms", 2).await;
    assert_eq!(shown().await, outside);
}

/// Any order of new revisions, replaced ones, calls that come together, and times that come.
#[tokio::test]
async fn prices_follow_the_record_in_any_order() {
    const STEPS: usize = 300;
    let mut rng = StdRng::seed_from_u64(seed());
    let world = world().await;
    let sale = sale_of_three(&world).await;
    let other = inventory(&world.pg, &world.store, &world.queue);
    // What each revision changes, those that have taken effect, and those that wait, by number.
    let mut rows: BTreeMap<i64, BTreeMap<&str, i64>> = BTreeMap::new();
    let (mut effective, mut waiting) = (BTreeSet::new(), BTreeSet::new());
    let mut latest = 1;
    for step in 0..STEPS {
        match rng.random_range(0..5) {
            0 if waiting.len() < 4 => {
                latest += 1;
                let mut some = BTreeMap::from([("a", rng.random_range(1..1_000))]);
                for sku in ["b", "c"] {
                    if rng.random_bool(0.5) {
                        some.insert(sku, rng.random_range(1..1_000));
                    }
                }
                let of: Vec<Row<'_>> =
                    some.iter().map(|(sku, price)| (*sku, *price, None, 0)).collect();
                record_revision(&world, sale, latest, 3_600_000 + latest * 1_000, &of).await;
                rows.insert(latest, some);
                waiting.insert(latest);
            }
            // All that wait, as of a newer price at an earlier time.
            1 if !waiting.is_empty() && rng.random_bool(0.4) => {
                latest += 1;
                let price = rng.random_range(1..1_000);
                for old in std::mem::take(&mut waiting) {
                    replace(&world, sale, old, latest).await;
                }
                let row = [("a", price, None, 0)];
                record_revision(&world, sale, latest, 3_600_000 + latest * 1_000, &row).await;
                rows.insert(latest, BTreeMap::from([("a", price)]));
                waiting.insert(latest);
            }
            2 => {
                let (one, two) = tokio::join!(world.inventory.sync(sale), other.sync(sale));
                // One may have seen more of what is past.
                let last = |synced: Result<Synced, Refusal>| synced.unwrap().switches.pop();
                assert_eq!(last(one), last(two), "step {step}");
            }
            3 => _ = sync(&world, sale).await,
            _ => {
                if let Some(next) = world.hash(sale, 0).await.get("next_rev") {
                    let next: i64 = next.parse().unwrap();
                    switch(&world, sale).await;
                    // Also one that was replaced, if the store had not heard of that.
                    effective.insert(next);
                    waiting.remove(&next);
                }
            }
        }
        let now = prices(&world, sale).await;
        let paid = bought(&world, sale, &["a", "b", "c"]).await;
        for ((sku, first), paid) in [("a", 700), ("b", 800), ("c", 900)].into_iter().zip(paid) {
            let last = effective.iter().rev().find_map(|revision: &i64| {
                rows[revision].get(sku).map(|price| (*price, *revision))
            });
            let due = last.unwrap_or((first, 1));
            assert_eq!((now[sku].0, now[sku].1), due, "{sku} in step {step}");
            assert_eq!(paid, due, "{sku} in step {step}");
        }
    }
    assert!(effective.len() > 5, "{effective:?}");
    println!("{} of {latest} revisions took effect", effective.len());
}
