//! The life of a sale over the wire: created, imported, started, watched, ended; and the others
//! told of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    self, ExportFormat, ImportDecision, ImportOptions, LeftOutReason, SaleSettings, SaleState,
    import_options::Price,
};
use flashsale_testbed::{
    assert_failure, eventually,
    fixtures::{SaleItem, SaleSpec, record_sale, record_stock},
};
use futures::future::join_all;
use tonic::Status;
use world::{World, creation, id, import, item, settings, timestamp, with_room};

const SAMPLE: &[u8] = include_bytes!("../../../cli/samples/spring-drop.csv");
const WOOCOMMERCE: &[u8] = include_bytes!("../../../libs/catalogue/tests/fixtures/woocommerce.csv");
const BIGCOMMERCE: &[u8] =
    include_bytes!("../../../libs/catalogue/tests/fixtures/bigcommerce-present.csv");

fn in_ms(ms: i64) -> Option<prost_types::Timestamp> {
    Some(timestamp(time::OffsetDateTime::now_utc() + time::Duration::milliseconds(ms)))
}

#[tokio::test]
async fn the_others_are_told_in_order() {
    let world = World::new().await;
    let payment_patience = Some(prost_types::Duration { seconds: 90, nanos: 0 });
    let settings = SaleSettings { ends_at: in_ms(3_600_000), payment_patience, ..with_room() };
    let asked = sale::CreateSaleRequest { settings: Some(settings.clone()), ..creation() };
    let draft = world.draft(asked.clone()).await;
    assert_eq!(draft.state(), SaleState::Draft);
    assert_eq!((draft.version, draft.propagated), (1, true));
    let told = draft.settings.clone().unwrap();
    assert_eq!((told.name, told.currency), (settings.name, settings.currency));
    assert_eq!(told.hold_ttl.unwrap().seconds, 600);
    assert_eq!(told.payment_patience.unwrap().seconds, 90);
    assert_eq!(told.room.unwrap().admission_ttl.unwrap().seconds, 300);
    let mut items = asked.items;
    items.sort_by(|a, b| a.sku.cmp(&b.sku));
    assert_eq!(draft.items, items);

    let open = world.start(&draft.sale_id, &id()).await.unwrap();
    assert_eq!((open.state(), open.version, open.propagated), (SaleState::Open, 2, true));
    let again = world.start(&draft.sale_id, &id()).await.unwrap();
    assert_eq!(again, open);
    assert_eq!(
        world.peers.told(&draft.sale_id),
        ["load", "sync OPEN", "configure 50/s 300 s", "open"]
    );

    let ended = world.end(&draft.sale_id, &id()).await.unwrap();
    assert_eq!((ended.state(), ended.version, ended.propagated), (SaleState::Ended, 3, true));
    assert_eq!(world.end(&draft.sale_id, &id()).await.unwrap(), ended);
    assert_eq!(world.get(&draft.sale_id).await, ended);
    assert_eq!(world.peers.told(&draft.sale_id)[4..], ["close", "sync ENDED"]);
}

#[tokio::test]
async fn no_room_means_no_calls_to_the_waiting_room() {
    let world = World::new().await;
    let sale = world.draft(creation()).await.sale_id;
    world.start(&sale, &id()).await.unwrap();
    world.end(&sale, &id()).await.unwrap();
    assert_eq!(world.peers.told(&sale), ["load", "sync OPEN", "sync ENDED"]);

    let never = world.draft(creation()).await.sale_id;
    let ended = world.end(&never, &id()).await.unwrap();
    assert_eq!((ended.state(), ended.propagated), (SaleState::Ended, true));
    assert_eq!(world.peers.told(&never), Vec::<String>::new());
}

#[tokio::test]
async fn an_export_becomes_a_sale() {
    let world = World::new().await;
    let mut client = world.client.clone();
    let sample = client.import_sale(import(SAMPLE)).await.unwrap().into_inner().sale.unwrap();
    assert_eq!(sample.items.len(), 12);
    assert_eq!(sample.items.iter().map(|item| item.quantity).sum::<i64>(), 300);
    assert!(sample.items.iter().all(|item| item.per_buyer_limit == 2));
    let anorak = sample.items.iter().find(|item| item.sku == "breakwater-anorak/L").unwrap();
    assert_eq!(anorak.title, "Breakwater Anorak - L");
    let price = anorak.unit_price.clone().unwrap();
    assert_eq!((price.units, price.nanos), (189, 500_000_000));

    let asked = sale::ImportSaleRequest { quantity: Some(5), ..import(SAMPLE) };
    let five = client.import_sale(asked).await.unwrap().into_inner().sale.unwrap();
    assert!(five.items.iter().all(|item| item.quantity == 5));
}

/// An import whose format is to be recognised, without what cannot be sold.
fn recognised(content: &[u8]) -> sale::ImportSaleRequest {
    let options = ImportOptions { leave_out_faulty: true, ..ImportOptions::default() };
    let format = ExportFormat::Unspecified.into();
    sale::ImportSaleRequest { format, options: Some(options), ..import(content) }
}

#[tokio::test]
async fn exports_of_other_shops_become_sales() {
    let world = World::new().await;
    let mut client = world.client.clone();
    for (content, format, expected) in [
        (
            WOOCOMMERCE,
            ExportFormat::WoocommerceCsv,
            // The limit of one is the shop's own; CHART has a sale price for days that are not known.
            &[
                ("BUOY-B", 60, 4, 2),
                ("BUOY/Red", 60, 3, 2),
                ("CHART", 10, 100, 2),
                ("OARS", 45, 9, 1),
                ("id:32", 2, 6, 2),
            ][..],
        ),
        (
            BIGCOMMERCE,
            ExportFormat::BigcommerceCsv,
            &[("BALL", 9, 8, 2), ("MAST-LB", 57, 3, 2), ("MAST-MB", 55, 5, 2)],
        ),
    ] {
        let answer = client.import_sale(recognised(content)).await.unwrap().into_inner();
        let (draft, preview) = (answer.sale.unwrap(), answer.preview.unwrap());
        let mut items: Vec<(&str, i64, i64, i64)> = draft
            .items
            .iter()
            .map(|item| {
                let units = item.unit_price.as_ref().unwrap().units;
                (item.sku.as_str(), units, item.quantity, item.per_buyer_limit)
            })
            .collect();
        items.sort_unstable();
        assert_eq!(items, expected, "{format:?}");
        assert_eq!(preview.format(), format);
        let totals = preview.totals.unwrap();
        assert_eq!(totals.items, i64::try_from(expected.len()).unwrap());
        assert_eq!(totals.left_out, i64::try_from(preview.rows.len()).unwrap());
        assert!(preview.rows.iter().all(|row| row.decision() == ImportDecision::LeftOut));
        assert!(preview.rows.iter().any(|row| row.reason() == LeftOutReason::Unpublished));

        let open = world.start(&draft.sale_id, &id()).await.unwrap();
        assert_eq!(open.state(), SaleState::Open);
    }
}

#[tokio::test]
async fn a_preview_lists_every_row_and_stores_nothing() {
    let world = World::new().await;
    let mut client = world.client.clone();
    let before = world.tables().await;
    let asked = sale::ImportSaleRequest {
        request_id: String::new(),
        settings: None,
        validate_only: true,
        ..recognised(WOOCOMMERCE)
    };
    let answer = client.import_sale(asked.clone()).await.unwrap().into_inner();
    assert_eq!(answer.sale, None);
    let preview = answer.preview.unwrap();
    assert_eq!((preview.rows.len(), preview.more_rows), (14, 0));
    assert!(preview.currency_missing);
    let chart = preview.rows.iter().find(|row| row.sku == "CHART").unwrap();
    assert_eq!((chart.line, chart.decision()), (5, ImportDecision::Sell));
    assert_eq!((&chart.sale_price, chart.quantity), (&None, Some(100)));
    assert!(chart.warnings[0].contains("has dates"), "{chart:?}");
    let draft = preview.rows.iter().find(|row| row.sku == "ANCHOR").unwrap();
    assert_eq!(
        (draft.decision(), draft.reason(), draft.why.as_str()),
        (ImportDecision::LeftOut, LeftOutReason::Draft, "its product is a draft")
    );

    // With a currency, a rule for prices and a choice of rows.
    let options = ImportOptions {
        skus: vec!["OARS".to_owned(), "BUOY-B".to_owned()],
        price: Some(Price::PercentOff("12.5".to_owned())),
        round_to: world::eur(0, 5),
        stock_share: "50".to_owned(),
        stock_cap: Some(3),
        ..ImportOptions::default()
    };
    let asked =
        sale::ImportSaleRequest { settings: Some(settings()), options: Some(options), ..asked };
    let preview = client.import_sale(asked).await.unwrap().into_inner().preview.unwrap();
    let oars = preview.rows.iter().find(|row| row.sku == "OARS").unwrap();
    assert_eq!((&oars.regular_price, &oars.sale_price), (&world::eur(50, 0), &world::eur(43, 75)));
    assert_eq!((oars.quantity, oars.per_buyer_limit), (Some(3), 1));
    let totals = preview.totals.unwrap();
    // Four buoy jackets, of which half, at 52.50; nine pairs of oars, of which three.
    assert_eq!((totals.items, totals.units, totals.value), (2, Some(5), world::eur(236, 25)));
    assert!(!preview.currency_missing);
    assert_eq!(world.tables().await, before);
}

#[tokio::test]
async fn a_repeated_import_is_not_read_again() {
    let world = World::new().await;
    let mut client = world.client.clone();
    let asked = import(SAMPLE);
    let first = client.import_sale(asked.clone()).await.unwrap().into_inner();
    assert_eq!(first.preview.unwrap().totals.unwrap().units, Some(300));
    let again = client.import_sale(asked).await.unwrap().into_inner();
    assert_eq!((again.sale, again.preview), (first.sale, None));
    assert_eq!(world.count().await, 1);
}

#[tokio::test]
async fn a_repeated_request_has_one_effect() {
    let world = World::new().await;
    let (_second, other) = world.instance().await;
    let asked = creation();
    let created = join_all((0..16).map(|n| {
        let (mut client, asked) =
            (if n % 2 == 0 { world.client.clone() } else { other.clone() }, asked.clone());
        async move { client.create_sale(asked).await.unwrap().into_inner().sale.unwrap() }
    }))
    .await;
    assert!(created.iter().all(|sale| *sale == created[0]));
    assert_eq!(world.count().await, 1);

    let sale = &created[0].sale_id;
    let request = id();
    let started = join_all((0..16).map(|_| world.start(sale, &request))).await;
    assert!(started.iter().all(|sale| sale.as_ref().unwrap().version == 2), "{started:?}");
    assert_eq!(world.peers.told(sale), ["load", "sync OPEN"]);

    // A replay answers with the sale as it is now, whatever became of it.
    world.end(sale, &id()).await.unwrap();
    assert_eq!(world.start(sale, &request).await.unwrap().state(), SaleState::Ended);
    let mut client = world.client.clone();
    let replayed = client.create_sale(asked).await.unwrap().into_inner().sale.unwrap();
    assert_eq!((&replayed.sale_id, replayed.state()), (sale, SaleState::Ended));
}

#[tokio::test]
async fn a_replay_outlives_its_rules() {
    let world = World::new().await;
    let settings = SaleSettings { ends_at: in_ms(400), ..settings() };
    let asked = sale::CreateSaleRequest { settings: Some(settings), ..creation() };
    let created = world.draft(asked.clone()).await;
    let fresh = || sale::CreateSaleRequest { request_id: id(), ..asked.clone() };
    let status = eventually("the window has passed", || async {
        world.client.clone().create_sale(fresh()).await.err()
    })
    .await;
    assert_failure(&status, Reason::ArgumentInvalid);
    assert_eq!(world.draft(asked.clone()).await, created);
    let status = world.start(&created.sale_id, &id()).await.unwrap_err();
    assert_failure(&status, Reason::SaleStateConflict);
}

#[tokio::test]
async fn an_untold_start_is_finished_in_the_background() {
    for (call, failing) in [
        ("LoadStock", Status::unavailable("connection refused")),
        ("LoadStock", Failure::new(Reason::StockFenced, "fenced").into()),
        ("SyncSale", Failure::store("redis", "gone").into()),
        ("ConfigureRoom", Status::deadline_exceeded("too late")),
        ("OpenRoom", Failure::new(Reason::StoreUnavailable, "gone").into()),
    ] {
        let world = World::new().await;
        let asked = sale::CreateSaleRequest { settings: Some(with_room()), ..creation() };
        let sale = world.draft(asked).await.sale_id;
        world.peers.fail(call, failing);
        let request = id();
        for _ in 0..2 {
            let status = world.start(&sale, &request).await.unwrap_err();
            let failure = assert_failure(&status, Reason::PeerUnavailable);
            assert!(failure.delay().is_some(), "{call}");
            assert_eq!(failure.metadata()["sale_id"], sale);
            let open = world.get(&sale).await;
            assert_eq!((open.state(), open.version), (SaleState::Open, 2), "{call}");
            assert!(!open.propagated, "{call}");
        }
        world.peers.recover();
        let open = world.eventually_propagated(&sale).await;
        assert_eq!((open.state(), open.version), (SaleState::Open, 2));
        assert_eq!(world.start(&sale, &request).await.unwrap(), open);
        let told = world.peers.told(&sale);
        for note in ["load", "sync OPEN", "configure 50/s 300 s", "open"] {
            assert!(told.iter().any(|told| told == note), "{call}: {told:?}");
        }
    }
}

#[tokio::test]
async fn an_end_closes_the_room_without_inventory() {
    let world = World::new().await;
    let asked = sale::CreateSaleRequest { settings: Some(with_room()), ..creation() };
    let sale = world.draft(asked).await.sale_id;
    world.start(&sale, &id()).await.unwrap();
    world.peers.fail("SyncSale", Status::unavailable("away"));
    let status = world.end(&sale, &id()).await.unwrap_err();
    assert_failure(&status, Reason::PeerUnavailable);
    assert!(world.peers.told(&sale).contains(&"close".to_owned()));
    world.peers.recover();
    assert_eq!(world.eventually_propagated(&sale).await.state(), SaleState::Ended);
    assert_eq!(world.peers.told(&sale).last().unwrap(), "sync ENDED");
}

#[tokio::test]
async fn the_next_instance_tells_what_was_left() {
    let world = World::new().await;
    let sale = world.draft(creation()).await.sale_id;
    // As it stands when a process dies between its transaction and its calls.
    sqlx::query("UPDATE sales SET state = 'OPEN', version = 2 WHERE sale_id = $1::uuid")
        .bind(&sale)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    world.eventually_propagated(&sale).await;
    assert_eq!(world.peers.told(&sale), ["load", "sync OPEN"]);
}

#[tokio::test]
async fn an_untold_sale_delays_no_other() {
    let world = World::new().await;
    // More than one round takes, all of them hopeless: inventory has no stock for them.
    sqlx::query(
        "INSERT INTO sales (sale_id, name, currency, state, starts_at, ends_at, hold_ms, room_rate, room_admission_ms)
         SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'x', 'EUR', 'OPEN', now(), now() + '1 hour', 5000, 1, 5000
         FROM generate_series(1, 120) n",
    )
    .execute(&world.pg.pool)
    .await
    .unwrap();
    world.peers.fail("OpenRoom", Status::unavailable("away"));
    let sale = world.draft(creation()).await.sale_id;
    sqlx::query("UPDATE sales SET state = 'OPEN', version = 2 WHERE sale_id = $1::uuid")
        .bind(&sale)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    world.eventually_propagated(&sale).await;
}

#[tokio::test]
async fn an_old_state_never_follows_a_newer_one() {
    let world = World::new().await;
    let (_second, mut other) = world.instance().await;
    for _ in 0..10 {
        let asked = sale::CreateSaleRequest { settings: Some(with_room()), ..creation() };
        let sale = world.draft(asked).await.sale_id;
        let ending = sale::EndSaleRequest { request_id: id(), sale_id: sale.clone() };
        let request = id();
        let (started, ended) = tokio::join!(world.start(&sale, &request), other.end_sale(ending));
        ended.unwrap();
        if let Err(status) = started {
            assert_failure(&status, Reason::SaleStateConflict);
        }
        let last = world.eventually_propagated(&sale).await;
        assert_eq!(last.state(), SaleState::Ended);
        let told = world.peers.told(&sale);
        let open = told.iter().rposition(|note| note == "open");
        let close = told.iter().rposition(|note| note == "close");
        assert!(open <= close, "{told:?}");
    }
}

#[tokio::test]
async fn a_sale_ends_when_its_window_has_passed() {
    let world = World::new().await;
    let settings = SaleSettings { ends_at: in_ms(1_000), ..with_room() };
    let asked = sale::CreateSaleRequest { settings: Some(settings), ..creation() };
    let sale = world.draft(asked).await.sale_id;
    world.start(&sale, &id()).await.unwrap();
    let ended = eventually("the sale has ended and all know", || async {
        let sale = world.get(&sale).await;
        Some(sale).filter(|sale| sale.state() == SaleState::Ended && sale.propagated)
    })
    .await;
    assert_eq!(ended.version, 3);
    assert_eq!(world.peers.told(&sale)[4..], ["close", "sync ENDED"]);
}

#[tokio::test]
async fn sales_are_listed_newest_first() {
    let world = World::new().await;
    let mut client = world.client.clone();
    let mut created = Vec::new();
    for n in 0..7 {
        let asked = sale::CreateSaleRequest { items: vec![item(&format!("S{n}"))], ..creation() };
        created.push(world.draft(asked).await.sale_id);
    }
    created.reverse();
    let (mut listed, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let asked = sale::ListSalesRequest { page_size: 3, page_token };
        let page = client.list_sales(asked).await.unwrap().into_inner();
        assert!(page.sales.iter().all(|sale| sale.items.is_empty()));
        listed.extend(page.sales.into_iter().map(|sale| sale.sale_id));
        pages += 1;
        // What is created meanwhile shifts nothing.
        world.draft(creation()).await;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((listed, pages), (created, 3));
    let all = sale::ListSalesRequest { page_size: 100_000, page_token: String::new() };
    let all = client.list_sales(all).await.unwrap().into_inner();
    assert_eq!((all.sales.len(), all.next_page_token.as_str()), (10, ""));
}

#[tokio::test]
async fn watchers_see_each_change() {
    let world = World::new().await;
    let sale = world.draft(creation()).await.sale_id;
    let watch = || async {
        let asked = sale::WatchSaleRequest { sale_id: sale.clone() };
        world.client.clone().watch_sale(asked).await.map(tonic::Response::into_inner)
    };
    let mut watchers = Vec::new();
    for _ in 0..4 {
        let mut watcher = watch().await.unwrap();
        let first = watcher.message().await.unwrap().unwrap().sale.unwrap();
        assert_eq!(first.state(), SaleState::Draft);
        assert_eq!(first.items.len(), 2);
        watchers.push(watcher);
    }
    // No more than are configured.
    assert_failure(&watch().await.unwrap_err(), Reason::Overloaded);

    let open = world.start(&sale, &id()).await.unwrap();
    for watcher in &mut watchers {
        let mut seen = watcher.message().await.unwrap().unwrap().sale.unwrap();
        if !seen.propagated {
            seen = watcher.message().await.unwrap().unwrap().sale.unwrap();
        }
        assert_eq!(seen, open);
    }
    world.end(&sale, &id()).await.unwrap();
    for mut watcher in watchers {
        let seen = watcher.message().await.unwrap().unwrap().sale.unwrap();
        assert_eq!(seen.state(), SaleState::Ended);
        assert!(watcher.message().await.unwrap().is_none(), "the stream ends with the sale");
    }
    // Their places are free again, and an ended sale is told once.
    let mut late = eventually("a place is free", || async { watch().await.ok() }).await;
    assert_eq!(late.message().await.unwrap().unwrap().sale.unwrap().state(), SaleState::Ended);
    assert!(late.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_drain_ends_streams_and_service() {
    let world = World::new().await;
    let sale_id = world.draft(creation()).await.sale_id;
    let asked = sale::WatchSaleRequest { sale_id };
    let mut watcher = world.client.clone().watch_sale(asked).await.unwrap().into_inner();
    watcher.message().await.unwrap().unwrap();
    world.server.drain.begin();
    assert!(watcher.message().await.unwrap().is_none());
    world.server.ended().await.unwrap();
}

/// As a rolling upgrade finds it: its row has what the migrations give it, and nothing else of it
/// is there.
#[tokio::test]
async fn open_sale_of_the_version_before_goes_on() {
    let world = World::new().await;
    let spec = SaleSpec { propagated: true, ..SaleSpec::default() };
    let items = [("mug", 5, 0, 700), ("tee", 10, 0, 1_999)];
    let pool = &world.pg.pool;
    let sale_id = record_sale(pool, spec, items.iter().map(SaleItem::from)).await.unwrap();
    record_stock(pool, sale_id, 1).await.unwrap();
    let sale = sale_id.to_string();
    let found = world.get(&sale).await;
    assert_eq!((found.state(), found.version, found.propagated), (SaleState::Open, 1, true));
    assert!(found.price_revisions.is_empty(), "{found:?}");

    let offered = |sku: &str, quantity, unit_price| sale::Item {
        sku: sku.to_owned(),
        title: sku.to_owned(),
        unit_price,
        quantity,
        ..sale::Item::default()
    };
    let update = sale::UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.clone(),
        update_mask: Some(prost_types::FieldMask { paths: vec!["items".to_owned()] }),
        items: vec![offered("mug", 5, world::eur(7, 0)), offered("tee", 10, world::eur(15, 99))],
        version: 1,
        effective_at: in_ms(600_000),
        ..sale::UpdateSaleRequest::default()
    };
    let changed = world.client.clone().update_sale(update).await.unwrap().into_inner();
    let changed = changed.sale.unwrap();
    assert_eq!((changed.state(), changed.version), (SaleState::Open, 2));
    let revisions: Vec<_> =
        changed.price_revisions.iter().map(|change| (change.revision, change.skus)).collect();
    assert_eq!(revisions, [(2, 1)]);
    assert_eq!(changed.items[1].unit_price, world::eur(19, 99), "that is later");

    let ended = world.end(&sale, &id()).await.unwrap();
    assert_eq!((ended.state(), ended.version, ended.propagated), (SaleState::Ended, 3, true));
    // Its revision waits, which is told again and again.
    let mut told = world.peers.told(&sale);
    told.retain(|told| told.starts_with("sync"));
    told.dedup();
    assert_eq!(told, ["sync OPEN", "sync ENDED"]);
}
