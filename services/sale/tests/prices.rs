//! Prices and limits that change while a sale is prepared or on, and a start that moves: what is
//! recorded, what inventory and the waiting room are told of it, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use flashsale_errors::Reason;
use flashsale_proto::sale::{
    self, CheckVerdict, Item, PriceRevision, SaleSettings, SaleState, UpdateSaleRequest,
};
use flashsale_testbed::{assert_failure, eventually};
use prost_types::{FieldMask, Timestamp};
use tonic::Status;
use world::{World, creation, eur, id, import, item, settings, timestamp, with_room};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn in_ms(ms: i64) -> Option<Timestamp> {
    Some(timestamp(time::OffsetDateTime::now_utc() + time::Duration::milliseconds(ms)))
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

/// The items of the sales here: at 29.90 in the sale, and 39.00 outside of it.
fn items() -> Vec<Item> {
    ["TEE-L", "TEE-M"].map(|sku| Item { regular_price: eur(39, 0), ..item(sku) }).to_vec()
}

fn priced(sku: &str, unit_price: Option<flashsale_proto::Money>) -> Vec<Item> {
    let mut items = items();
    items.iter_mut().find(|item| item.sku == sku).unwrap().unit_price = unit_price;
    items
}

async fn draft(world: &World, settings: SaleSettings) -> sale::Sale {
    let settings = SaleSettings { ends_at: in_ms(DAY), ..settings };
    let asked = sale::CreateSaleRequest { settings: Some(settings), items: items(), ..creation() };
    world.draft(asked).await
}

/// A sale that is on.
async fn open(world: &World, settings: SaleSettings) -> String {
    let sale = draft(world, settings).await.sale_id;
    world.start(&sale, &id()).await.unwrap();
    sale
}

/// A sale whose stock is loaded, and that begins in so long.
async fn prepared(world: &World, starts_in_ms: i64) -> String {
    let sale = draft(world, with_room()).await.sale_id;
    let request = sale::ScheduleSaleRequest {
        request_id: id(),
        sale_id: sale.clone(),
        starts_at: in_ms(starts_in_ms),
        ends_at: in_ms(DAY),
        allow_shared_skus: true,
    };
    world.client.clone().schedule_sale(request).await.unwrap();
    world.eventually_in(&sale, SaleState::Prepared).await;
    world.eventually_propagated(&sale).await;
    sale
}

fn of_items(sale: &str, items: Vec<Item>, effective_at: Option<Timestamp>) -> UpdateSaleRequest {
    UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.to_owned(),
        update_mask: mask(&["items"]),
        items,
        effective_at,
        ..UpdateSaleRequest::default()
    }
}

async fn update(world: &World, request: UpdateSaleRequest) -> Result<sale::Sale, Status> {
    Ok(world.client.clone().update_sale(request).await?.into_inner().sale.unwrap())
}

/// The rows of the sale's revisions: number, sku, price in minor units and limit.
async fn rows(world: &World, sale: &str) -> Vec<(i64, String, i64, i64)> {
    sqlx::query_as(
        "SELECT revision, sku, price_minor, per_buyer_limit FROM sale_prices
         WHERE sale_id = $1 ORDER BY revision, sku",
    )
    .bind(sale.parse::<uuid::Uuid>().unwrap())
    .fetch_all(&world.pg.pool)
    .await
    .unwrap()
}

async fn run(world: &World, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&world.pg.pool).await.unwrap();
}

async fn eventually_switched(world: &World, sale: &str, revision: i64) -> PriceRevision {
    eventually("the record has the switch", || async {
        let found = world.get(sale).await.price_revisions.into_iter();
        found.filter(|known| known.switch_time.is_some()).find(|known| known.revision == revision)
    })
    .await
}

fn price_of(sale: &sale::Sale, sku: &str) -> Option<flashsale_proto::Money> {
    sale.items.iter().find(|item| item.sku == sku).unwrap().unit_price.clone()
}

#[tokio::test]
async fn a_change_has_rows_of_its_skus_and_is_told_to_the_stock_alone() {
    let world = World::new().await;
    let sale = open(&world, with_room()).await;
    let before = world.get(&sale).await;
    assert_eq!(before.items, items());
    let told = world.peers.told(&sale).len();
    world.peers.switch_prices(&[(2, HOUR)]);
    let asked = of_items(&sale, priced("TEE-M", eur(25, 0)), in_ms(HOUR));
    let changed = update(&world, asked.clone()).await.unwrap();
    assert_eq!((changed.version, changed.propagated), (before.version + 1, true));
    // The room keeps the rate that an operator may have set.
    assert_eq!(world.peers.told(&sale)[told..], ["sync OPEN"]);
    assert_eq!(rows(&world, &sale).await, [(2, "TEE-M".to_owned(), 2_500, 2)]);
    let revision = eventually_switched(&world, &sale, 2).await;
    assert_eq!((revision.replaced_by, revision.skus), (0, 1));
    assert_eq!(revision.effective_at.unwrap().seconds, asked.effective_at.unwrap().seconds);
    // Now it costs what it did.
    assert_eq!(changed.items, items());
    assert_eq!(update(&world, asked).await.unwrap().version, changed.version, "a replay");

    let history = sale::ListSaleChangesRequest { sale_id: sale.clone(), ..Default::default() };
    let past = world.client.clone().list_sale_changes(history).await.unwrap().into_inner().changes;
    assert_eq!((past[0].kind.as_str(), past[0].skus_changed), ("UPDATE", 1));
    assert_eq!(past[0].skus, ["TEE-M"]);

    // From its moment on, by the clock of the record.
    run(&world, "UPDATE price_revisions SET switches_at = now() - interval '1 ms'").await;
    assert_eq!(price_of(&world.get(&sale).await, "TEE-M"), eur(25, 0));
    assert_eq!(price_of(&world.get(&sale).await, "TEE-L"), eur(29, 90));

    // A change of something else is told to the room again.
    let told = world.peers.told(&sale).len();
    let longer = UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.clone(),
        settings: Some(SaleSettings { ends_at: in_ms(2 * DAY), ..settings() }),
        update_mask: mask(&["ends_at"]),
        ..UpdateSaleRequest::default()
    };
    update(&world, longer).await.unwrap();
    assert_eq!(world.peers.told(&sale)[told..], ["sync OPEN", "configure 50/s 300 s", "open"]);
}

/// A room that has not been told of an earlier version is told of it with the prices.
#[tokio::test]
async fn prices_do_not_hide_what_the_room_was_not_told() {
    let world = World::new().await;
    let sale = open(&world, with_room()).await;
    world.peers.fail("ConfigureRoom", Status::unavailable("away"));
    let longer = UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.clone(),
        settings: Some(SaleSettings { ends_at: in_ms(2 * DAY), ..settings() }),
        update_mask: mask(&["ends_at"]),
        ..UpdateSaleRequest::default()
    };
    assert_failure(&update(&world, longer).await.unwrap_err(), Reason::PeerUnavailable);
    let asked = of_items(&sale, priced("TEE-M", eur(25, 0)), in_ms(HOUR));
    assert_failure(&update(&world, asked).await.unwrap_err(), Reason::PeerUnavailable);
    // Nor does a change that nothing is told of.
    let named = UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.clone(),
        settings: Some(SaleSettings { name: "Autumn drop".to_owned(), ..settings() }),
        update_mask: mask(&["name"]),
        ..UpdateSaleRequest::default()
    };
    assert_failure(&update(&world, named).await.unwrap_err(), Reason::PeerUnavailable);
    let told = world.peers.told(&sale).len();
    world.peers.recover();
    world.eventually_propagated(&sale).await;
    let told = world.peers.told(&sale)[told..].to_vec();
    assert!(told.iter().any(|note| note.starts_with("configure")), "{told:?}");
}

#[tokio::test]
async fn a_limit_changes_at_once() {
    let world = World::new().await;
    for sale in [open(&world, settings()).await, prepared(&world, 9 * MINUTE).await] {
        let mut limited = items();
        limited[0].per_buyer_limit = 1;
        world.peers.switch_prices(&[(2, 0)]);
        let changed = update(&world, of_items(&sale, limited.clone(), None)).await.unwrap();
        assert_eq!(changed.items, limited);
        assert_eq!(rows(&world, &sale).await, [(2, "TEE-L".to_owned(), 2_990, 1)]);
        eventually_switched(&world, &sale, 2).await;
        // Another one is one more revision, and the same again is none.
        limited[1].per_buyer_limit = 0;
        for _ in 0..2 {
            let changed = update(&world, of_items(&sale, limited.clone(), None)).await.unwrap();
            assert_eq!(changed.items, limited);
            assert_eq!(changed.price_revisions.len(), 2);
        }
    }
}

#[tokio::test]
async fn a_newer_price_replaces_one_that_waits() {
    let world = World::new().await;
    let sale = open(&world, settings()).await;
    world.peers.switch_prices(&[(2, HOUR)]);
    let mut both = priced("TEE-M", eur(25, 0));
    both[0].unit_price = eur(24, 0);
    update(&world, of_items(&sale, both, in_ms(HOUR))).await.unwrap();
    eventually_switched(&world, &sale, 2).await;

    world.peers.switch_prices(&[(3, MINUTE)]);
    let newer = of_items(&sale, priced("TEE-M", eur(27, 0)), in_ms(MINUTE));
    let changed = update(&world, newer).await.unwrap();
    let numbers: Vec<(i64, i64, i64)> = changed
        .price_revisions
        .iter()
        .map(|known| (known.revision, known.replaced_by, known.skus))
        .collect();
    assert_eq!(numbers, [(2, 3, 2), (3, 0, 1), (4, 0, 1)]);
    // It is withdrawn there: when it would have taken effect does not matter any more.
    assert_eq!(changed.price_revisions[0].switch_time, None);
    assert_eq!(
        rows(&world, &sale).await[2..],
        [(3, "TEE-M".to_owned(), 2_700, 2), (4, "TEE-L".to_owned(), 2_400, 2)]
    );
    let (old, rest) = (&changed.price_revisions[0], &changed.price_revisions[2]);
    assert_eq!(old.effective_at, rest.effective_at);

    // Where the store had switched by then, its word counts.
    world.peers.switch_prices(&[(2, -5), (3, MINUTE)]);
    let mut limited = items();
    limited[0].per_buyer_limit = 1;
    update(&world, of_items(&sale, limited, None)).await.unwrap();
    let switched = eventually_switched(&world, &sale, 2).await;
    assert_eq!(switched.replaced_by, 3);
    assert_eq!(price_of(&world.get(&sale).await, "TEE-M"), eur(25, 0));
}

/// It would be taken back in the store, and come again later than its time.
#[tokio::test]
async fn limits_wait_for_a_switch_that_is_near() {
    let world = World::new().await;
    let sale = open(&world, settings()).await;
    world.peers.switch_prices(&[(2, HOUR)]);
    update(&world, of_items(&sale, priced("TEE-M", eur(25, 0)), in_ms(HOUR))).await.unwrap();
    eventually_switched(&world, &sale, 2).await;
    let near = "UPDATE price_revisions SET switches_at = now() + interval '1900 ms',
                effective_at = now() + interval '1900 ms'";
    run(&world, near).await;
    let mut limited = items();
    limited[0].per_buyer_limit = 1;
    let before = world.tables().await;
    let refused = update(&world, of_items(&sale, limited.clone(), None)).await.unwrap_err();
    let failure = assert_failure(&refused, Reason::ArgumentInvalid);
    assert_eq!(failure.violations()[0].field, "effective_at");
    assert_eq!(world.tables().await, before);
    run(&world, "UPDATE price_revisions SET effective_at = now() + interval '1 hour'").await;
    update(&world, of_items(&sale, limited, None)).await.unwrap();
}

/// The store has room for one revision beside the present one.
#[tokio::test]
async fn a_third_revision_is_told_when_the_second_has_switched() {
    let world = World::new().await;
    let sale = open(&world, with_room()).await;
    world.peers.switch_prices(&[(2, HOUR)]);
    update(&world, of_items(&sale, priced("TEE-M", eur(25, 0)), in_ms(HOUR))).await.unwrap();
    let second = of_items(&sale, priced("TEE-M", eur(24, 0)), in_ms(2 * HOUR));
    update(&world, second).await.unwrap();
    eventually_switched(&world, &sale, 2).await;
    let told = world.peers.told(&sale).len();
    // Rounds of the task go by.
    let other = open(&world, settings()).await;
    world.eventually_propagated(&other).await;
    assert_eq!(world.peers.told(&sale).len(), told, "it is not asked before");

    run(&world, "UPDATE price_revisions SET switches_at = now() WHERE revision = 2").await;
    eventually("inventory is told again", || async {
        (world.peers.told(&sale).len() > told).then_some(())
    })
    .await;
    // It has not switched by its own clock, and is asked again, but not all the time.
    assert_eq!(world.get(&sale).await.price_revisions[1].switch_time, None);
    world.peers.switch_prices(&[(2, -1), (3, HOUR)]);
    eventually_switched(&world, &sale, 3).await;
    let told = world.peers.told(&sale)[told..].to_vec();
    assert!(told.iter().all(|note| note == "sync OPEN"), "{told:?}");
}

/// The store went by it in one go, and its answer was lost: only what came behind is known.
#[tokio::test]
async fn a_revision_that_nothing_was_heard_of_switched_with_the_next() {
    let world = World::new().await;
    let sale = open(&world, settings()).await;
    update(&world, of_items(&sale, priced("TEE-M", eur(25, 0)), in_ms(HOUR))).await.unwrap();
    update(&world, of_items(&sale, priced("TEE-M", eur(24, 0)), in_ms(2 * HOUR))).await.unwrap();
    world.peers.switch_prices(&[(3, -5), (4, HOUR)]);
    let behind = eventually_switched(&world, &sale, 3).await;
    let passed = eventually_switched(&world, &sale, 2).await;
    assert_eq!(passed.switch_time, behind.switch_time);
    // Nothing waits any more.
    let told = world.peers.told(&sale).len();
    let other = open(&world, settings()).await;
    world.eventually_propagated(&other).await;
    assert_eq!(world.peers.told(&sale).len(), told);
}

/// Pauses between attempts double, as for a peer that is away.
#[tokio::test]
async fn a_revision_that_is_not_taken_is_told_with_pauses() {
    let world = World::new().await;
    let sale = open(&world, settings()).await;
    update(&world, of_items(&sale, priced("TEE-M", eur(25, 0)), in_ms(HOUR))).await.unwrap();
    let (before, began) = (world.peers.told(&sale).len(), std::time::Instant::now());
    eventually("it is told ten times more", || async {
        (world.peers.told(&sale).len() >= before + 10).then_some(())
    })
    .await;
    // Of 30 ms and then of 60 ms each, and not in each round, of which there is one in 30 ms.
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_sale_that_ended_waits_for_no_prices() {
    let world = World::new().await;
    let sale = open(&world, settings()).await;
    update(&world, of_items(&sale, priced("TEE-M", eur(25, 0)), in_ms(HOUR))).await.unwrap();
    world.end(&sale, &id()).await.unwrap();
    world.eventually_propagated(&sale).await;
    let told = world.peers.told(&sale).len();
    let other = open(&world, settings()).await;
    world.eventually_propagated(&other).await;
    assert_eq!(world.peers.told(&sale).len(), told);
}

#[tokio::test]
async fn each_bad_change_of_prices_has_its_field_and_a_remedy() {
    use Reason::{ArgumentInvalid as Argument, QuantityInvalid as Quantity, SaleVersionConflict};

    let world = World::new().await;
    let sale = open(&world, settings()).await;
    let plan = draft(&world, settings()).await.sale_id;
    let full = open(&world, settings()).await;
    for minute in 1..=10 {
        let price = eur(20, i32::try_from(minute).unwrap());
        let asked = of_items(&full, priced("TEE-M", price), in_ms(minute * MINUTE));
        update(&world, asked).await.unwrap();
    }
    let cheap = || priced("TEE-M", eur(25, 0));
    let one = |change: &dyn Fn(&mut Item)| {
        let mut items = cheap();
        change(&mut items[0]);
        items
    };
    let hour = || in_ms(HOUR);
    let start = |in_ms_of: i64| UpdateSaleRequest {
        settings: Some(SaleSettings { starts_at: in_ms(in_ms_of), ..settings() }),
        update_mask: mask(&["starts_at"]),
        ..of_items(&sale, Vec::new(), None)
    };
    let usd = Some(flashsale_proto::Money { currency_code: "USD".to_owned(), units: 1, nanos: 0 });
    let mut dearer = items();
    dearer[0].regular_price = eur(40, 0);
    let alone = UpdateSaleRequest {
        update_mask: mask(&["name"]),
        settings: Some(settings()),
        ..of_items(&sale, Vec::new(), hour())
    };
    let before = world.tables().await;
    #[rustfmt::skip]
    let cases = [
        ("a second ahead", of_items(&sale, cheap(), in_ms(1_000)), Argument, "effective_at", "2 seconds ahead"),
        ("in the past", of_items(&sale, cheap(), in_ms(-HOUR)), Argument, "effective_at", "2 seconds ahead"),
        ("behind the end", of_items(&sale, cheap(), in_ms(2 * DAY)), Argument, "effective_at", "before the end"),
        ("of a draft", of_items(&plan, cheap(), hour()), Argument, "effective_at", "leave it out"),
        ("without a time", of_items(&sale, cheap(), None), Argument, "effective_at", "say from when on"),
        ("a regular price without a time", of_items(&sale, dearer, None), Argument, "effective_at", "TEE-L"),
        ("a time alone", alone, Argument, "effective_at", "update_mask"),
        ("no timestamp", of_items(&sale, cheap(), Some(Timestamp { seconds: i64::MAX, nanos: 0 })), Argument, "effective_at", "timestamp"),
        ("an item less", of_items(&sale, cheap()[1..].to_vec(), hour()), Argument, "items", "AdjustStock"),
        ("an item more", of_items(&sale, [cheap(), vec![item("CAP")]].concat(), hour()), Argument, "items[2].sku", "another sale"),
        ("another quantity", of_items(&sale, one(&|item| item.quantity = 11), hour()), Argument, "items[0].quantity", "AdjustStock"),
        ("another title", of_items(&sale, one(&|item| item.title = "Tee".to_owned()), hour()), Argument, "items[0].title", "buyers have seen"),
        ("a regular price in dollars", of_items(&sale, one(&|item| item.regular_price = usd.clone()), hour()), Argument, "items[0].regular_price.currency_code", "EUR"),
        ("a negative regular price", of_items(&sale, one(&|item| item.regular_price = eur(-1, 0)), hour()), Argument, "items[0].regular_price", "leave it out"),
        ("a regular price of odd cents", of_items(&sale, one(&|item| item.regular_price.as_mut().unwrap().nanos = 1), hour()), Argument, "items[0].regular_price", "decimals"),
        ("a negative limit", of_items(&sale, one(&|item| item.per_buyer_limit = -1), hour()), Quantity, "items[0].per_buyer_limit", "no limit"),
        ("a price that cards are not charged", of_items(&sale, priced("TEE-L", eur(0, 10)), hour()), Argument, "items[0].unit_price", "raise the price"),
        ("the start of a sale that has begun", start(HOUR), Argument, "settings.starts_at", "EndSale"),
        ("a version not seen", UpdateSaleRequest { version: 1, ..of_items(&sale, cheap(), hour()) }, SaleVersionConflict, "version", ""),
        ("an eleventh that waits", of_items(&full, cheap(), hour()), Argument, "effective_at", "10 may"),
    ];
    for (name, asked, reason, field, remedy) in cases {
        let refused = update(&world, asked).await.expect_err(name);
        let failure = assert_failure(&refused, reason);
        let violation = &failure.violations()[0];
        assert_eq!(violation.field, field, "{name}: {failure:?}");
        assert!(violation.description.contains(remedy), "{name}: {}", violation.description);
        assert_eq!(world.tables().await, before, "{name}");
    }
    // Behind the last that waits there is room in its place.
    let last = world.get(&full).await.price_revisions.pop().unwrap();
    let instead = of_items(&full, cheap(), last.effective_at);
    update(&world, instead).await.unwrap();
}

#[tokio::test]
async fn the_start_of_a_prepared_sale_moves_with_its_line() {
    let world = World::new().await;
    let sale = prepared(&world, 5 * MINUTE).await;
    let start = |sale: &str, ms: i64| UpdateSaleRequest {
        settings: Some(SaleSettings { starts_at: in_ms(ms), ..settings() }),
        update_mask: mask(&["starts_at"]),
        ..of_items(sale, Vec::new(), None)
    };
    let told = world.peers.told(&sale).len();
    for ms in [8 * MINUTE, 2 * MINUTE] {
        let asked = start(&sale, ms);
        let wanted = asked.settings.clone().unwrap().starts_at;
        let moved = update(&world, asked).await.unwrap();
        assert_eq!((moved.state(), moved.propagated), (SaleState::Prepared, true));
        let starts_at = moved.settings.unwrap().starts_at.unwrap();
        assert_eq!(starts_at.seconds, wanted.unwrap().seconds);
    }
    let once = ["sync PREPARED", "configure 50/s 300 s", "open"];
    assert_eq!(world.peers.told(&sale)[told..], [once, once].concat());

    let before = world.tables().await;
    let refused = update(&world, start(&sale, 59_000)).await.unwrap_err();
    let failure = assert_failure(&refused, Reason::ArgumentInvalid);
    assert_eq!(failure.violations()[0].field, "settings.starts_at");
    assert!(failure.violations()[0].description.contains("StartSale"), "{failure:?}");
    assert_eq!(world.tables().await, before);
    // In its last minute only the store may know whether it has begun.
    run(&world, "UPDATE sales SET starts_at = now() + interval '59 s'").await;
    let before = world.tables().await;
    let refused = update(&world, start(&sale, HOUR)).await.unwrap_err();
    let failure = assert_failure(&refused, Reason::ArgumentInvalid);
    assert!(failure.violations()[0].description.contains("CancelSale"), "{failure:?}");
    assert_eq!(world.tables().await, before);
}

async fn check(world: &World, sale: &sale::Sale, id: &str) -> sale::Check {
    let asked = sale::CheckSaleRequest { sale_id: sale.sale_id.clone() };
    let checks = world.client.clone().check_sale(asked).await.unwrap().into_inner().checks;
    checks.into_iter().find(|check| check.id == id).unwrap()
}

#[tokio::test]
async fn an_import_keeps_regular_prices_and_drift_is_told() {
    let world = World::new().await;
    let woo = "ID,Type,SKU,Name,Stock,Regular price,Sale price\n1,simple,CAP,Cap,5,20.00,15.00\n";
    let mut asked = import(woo);
    asked.format = sale::ExportFormat::WoocommerceCsv.into();
    let made = world.client.clone().import_sale(asked).await.unwrap().into_inner().sale.unwrap();
    assert_eq!(
        (price_of(&made, "CAP"), made.items[0].regular_price.clone()),
        (eur(15, 0), eur(20, 0))
    );
    let figures: (Option<i64>, Option<i64>, Option<i64>) =
        sqlx::query_as("SELECT stock, price_minor, regular_minor FROM sale_sources")
            .fetch_one(&world.pg.pool)
            .await
            .unwrap();
    assert_eq!(figures, (Some(5), Some(1_500), Some(2_000)));

    for id in ["regular_prices", "source_drift"] {
        assert_eq!(check(&world, &made, id).await.verdict(), CheckVerdict::Pass, "{id}");
    }
    // Units that the shop did not have.
    let allot = format!(
        "INSERT INTO allotments (sale_id, sku, allotted) VALUES ('{}', 'CAP', 6)",
        made.sale_id
    );
    run(&world, &allot).await;
    let drift = check(&world, &made, "source_drift").await;
    assert_eq!(drift.verdict(), CheckVerdict::Warn);
    assert!(
        drift.value.contains("than the file had: 1;") && drift.value.contains("CAP"),
        "{drift:?}"
    );
    run(&world, "UPDATE allotments SET allotted = 5").await;

    // A later price above the regular one, and another regular price from then on.
    world.start(&made.sale_id, &id()).await.unwrap();
    let items =
        vec![Item { unit_price: eur(19, 0), regular_price: eur(18, 0), ..made.items[0].clone() }];
    update(&world, of_items(&made.sale_id, items, in_ms(HOUR))).await.unwrap();
    let above = check(&world, &made, "regular_prices").await;
    assert_eq!(above.verdict(), CheckVerdict::Warn);
    assert_eq!(above.value, "1 sku is above its regular price: CAP");
    assert!(!above.remedy.is_empty());
    assert_eq!(check(&world, &made, "source_drift").await.verdict(), CheckVerdict::Pass, "not yet");
    run(&world, "UPDATE price_revisions SET effective_at = now()").await;
    assert_eq!(check(&world, &made, "source_drift").await.verdict(), CheckVerdict::Warn);
}
