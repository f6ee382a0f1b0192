//! Sales that open by themselves, are held up, called off and changed; and their history.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{self, SaleSettings, SaleState};
use flashsale_testbed::{assert_failure, eventually, keys::OTHER_SALE};
use futures::future::join_all;
use prost_types::{FieldMask, Timestamp};
use tonic::Status;
use world::{Client, World, creation, eur, id, item, settings, with_room};

fn in_ms(ms: i64) -> Option<Timestamp> {
    let at = time::OffsetDateTime::now_utc() + time::Duration::milliseconds(ms);
    let nanos = i32::try_from(at.nanosecond()).unwrap();
    Some(Timestamp { seconds: at.unix_timestamp(), nanos })
}

fn window(sale: &str, starts_in: i64, ends_in: i64) -> sale::ScheduleSaleRequest {
    sale::ScheduleSaleRequest {
        request_id: id(),
        sale_id: sale.to_owned(),
        starts_at: in_ms(starts_in),
        ends_at: in_ms(ends_in),
        allow_shared_skus: false,
    }
}

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

async fn schedule(
    client: &Client,
    request: sale::ScheduleSaleRequest,
) -> Result<sale::Sale, Status> {
    Ok(client.clone().schedule_sale(request).await?.into_inner().sale.unwrap())
}

async fn cancel(world: &World, sale: &str, request_id: &str) -> Result<sale::Sale, Status> {
    let request =
        sale::CancelSaleRequest { request_id: request_id.to_owned(), sale_id: sale.to_owned() };
    Ok(world.client.clone().cancel_sale(request).await?.into_inner().sale.unwrap())
}

async fn pause(world: &World, sale: &str) -> Result<sale::Sale, Status> {
    let request = sale::PauseSaleRequest { request_id: id(), sale_id: sale.to_owned() };
    Ok(world.client.clone().pause_sale(request).await?.into_inner().sale.unwrap())
}

async fn update(world: &World, request: sale::UpdateSaleRequest) -> Result<sale::Sale, Status> {
    Ok(world.client.clone().update_sale(request).await?.into_inner().sale.unwrap())
}

async fn changes(world: &World, sale: &str) -> Vec<sale::SaleChange> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            sale::ListSaleChangesRequest { sale_id: sale.to_owned(), page_size: 2, page_token };
        let page = world.client.clone().list_sale_changes(request).await.unwrap().into_inner();
        all.extend(page.changes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

/// One of another sku than every other.
async fn draft(world: &World, sku: &str, settings: SaleSettings) -> String {
    let request =
        sale::CreateSaleRequest { settings: Some(settings), items: vec![item(sku)], ..creation() };
    world.draft(request).await.sale_id
}

#[tokio::test]
async fn a_planned_sale_is_prepared_opens_and_ends_by_the_clock() {
    let world = World::new().await;
    let sale = draft(&world, "TEE", with_room()).await;
    let planned = schedule(&world.client, window(&sale, HOUR, DAY)).await.unwrap();
    assert_eq!((planned.state(), planned.version), (SaleState::Scheduled, 2));
    assert_eq!(world.peers.told(&sale), Vec::<String>::new());
    // Within the lead it is prepared: loaded and configured, and not open yet by the record.
    schedule(&world.client, window(&sale, 3_000, 5_000)).await.unwrap();
    world.eventually_in(&sale, SaleState::Prepared).await;
    world.eventually_propagated(&sale).await;
    let prepared = ["load", "sync PREPARED", "configure 50/s 300 s", "open"];
    assert_eq!(world.peers.told(&sale), prepared);
    let open = world.eventually_in(&sale, SaleState::Open).await;
    // The stock has opened by itself: there is nothing to tell.
    assert!(open.propagated);
    assert_eq!(world.peers.told(&sale), prepared);
    world.eventually_in(&sale, SaleState::Ended).await;
    world.eventually_propagated(&sale).await;
    assert_eq!(world.peers.told(&sale)[4..], ["close", "sync ENDED"]);

    let past = changes(&world, &sale).await;
    let kinds: Vec<&str> = past.iter().rev().map(|change| change.kind.as_str()).collect();
    assert_eq!(kinds, ["CREATE", "SCHEDULE", "SCHEDULE", "PREPARE", "OPEN", "END"]);
    for change in &past {
        let by_clock = ["PREPARE", "OPEN", "END"].contains(&change.kind.as_str());
        assert_eq!(change.actor.is_empty(), by_clock, "{change:?}");
        assert_eq!(change.request_id.is_empty(), by_clock, "{change:?}");
        assert_eq!(change.after.as_ref().unwrap().version, change.version);
        let before = change.before.as_ref().map(|sale| sale.version);
        assert_eq!(before, (change.version > 1).then(|| change.version - 1));
    }
    // What the first schedule made of it is still told, though it was changed since.
    let first = past[4].after.as_ref().unwrap();
    assert_eq!(first.state(), SaleState::Scheduled);
    assert_eq!(first.settings, planned.settings);
}

#[tokio::test]
async fn two_instances_prepare_and_open_a_sale_once() {
    let world = World::new().await;
    let _second = world.instance().await;
    let sale = draft(&world, "TEE", settings()).await;
    schedule(&world.client, window(&sale, 700, DAY)).await.unwrap();
    world.eventually_in(&sale, SaleState::Open).await;
    let kinds: Vec<String> =
        changes(&world, &sale).await.into_iter().rev().map(|change| change.kind).collect();
    assert_eq!(kinds, ["CREATE", "SCHEDULE", "PREPARE", "OPEN"]);
}

#[tokio::test]
async fn a_plan_that_could_not_be_prepared_opens_when_it_can() {
    let world = World::new().await;
    world.peers.fail("LoadStock", Status::unavailable("away"));
    let sale = draft(&world, "TEE", settings()).await;
    schedule(&world.client, window(&sale, 300, DAY)).await.unwrap();
    let late = world.eventually_in(&sale, SaleState::Open).await;
    assert!(!late.propagated);
    world.peers.recover();
    world.eventually_propagated(&sale).await;
    assert_eq!(world.peers.told(&sale), ["load", "sync OPEN"]);
}

#[tokio::test]
async fn a_paused_sale_ends_with_its_window() {
    let world = World::new().await;
    let sale = draft(&world, "TEE", with_room()).await;
    schedule(&world.client, window(&sale, 300, 2_500)).await.unwrap();
    world.eventually_in(&sale, SaleState::Open).await;
    let paused = pause(&world, &sale).await.unwrap();
    assert_eq!((paused.state(), paused.propagated), (SaleState::Paused, true));
    let told = world.peers.told(&sale);
    assert_eq!(told[4..], ["configure 50/s 300 s", "pause", "sync PAUSED"]);
    assert_eq!(pause(&world, &sale).await.unwrap(), paused);
    let resumed = world.start(&sale, &id()).await.unwrap();
    assert_eq!(resumed.state(), SaleState::Open);
    pause(&world, &sale).await.unwrap();
    world.eventually_in(&sale, SaleState::Ended).await;
}

#[tokio::test]
async fn starting_a_planned_sale_replaces_its_start() {
    let world = World::new().await;
    let sale = draft(&world, "TEE", settings()).await;
    let planned = schedule(&world.client, window(&sale, HOUR, DAY)).await.unwrap();
    let before = time::OffsetDateTime::now_utc().unix_timestamp();
    let open = world.start(&sale, &id()).await.unwrap();
    let (old, new) = (planned.settings.unwrap(), open.settings.unwrap());
    assert_eq!(open.state, i32::from(SaleState::Open));
    assert!((before..=before + 60).contains(&new.starts_at.unwrap().seconds));
    assert_eq!(new.ends_at, old.ends_at);
    let last = changes(&world, &sale).await.remove(0);
    assert_eq!(last.before.unwrap().settings.unwrap().starts_at, old.starts_at);
    assert_eq!(last.after.unwrap().settings.unwrap().starts_at, new.starts_at);
}

#[tokio::test]
async fn a_sale_is_called_off_before_it_is_prepared() {
    let world = World::new().await;
    for plan in [false, true] {
        let sale = draft(&world, "TEE", settings()).await;
        if plan {
            schedule(&world.client, window(&sale, HOUR, DAY)).await.unwrap();
        }
        let off = cancel(&world, &sale, &id()).await.unwrap();
        assert_eq!((off.state(), off.propagated), (SaleState::Cancelled, true));
        assert_eq!(cancel(&world, &sale, &id()).await.unwrap(), off);
        assert_eq!(world.peers.told(&sale), Vec::<String>::new());
        let refused = world.start(&sale, &id()).await.unwrap_err();
        let failure = assert_failure(&refused, Reason::SaleStateConflict);
        assert_eq!(failure.metadata()["state"], "CANCELLED");
    }
}

#[tokio::test]
async fn the_stock_decides_whether_a_prepared_sale_is_called_off() {
    let world = World::new().await;
    let (calm, hurried, away) = (
        draft(&world, "A", with_room()).await,
        draft(&world, "B", settings()).await,
        draft(&world, "C", settings()).await,
    );
    for sale in [&calm, &hurried, &away] {
        schedule(&world.client, window(sale, 500_000, DAY)).await.unwrap();
    }
    for sale in [&calm, &hurried, &away] {
        world.eventually_in(sale, SaleState::Prepared).await;
        world.eventually_propagated(sale).await;
    }
    let off = cancel(&world, &calm, &id()).await.unwrap();
    assert_eq!((off.state(), off.cancel_requested), (SaleState::Cancelled, false));
    let told = world.peers.told(&calm);
    assert_eq!(told[4..], ["sync PREPARED to be called off", "close", "sync CANCELLED"]);

    // While inventory is away it is neither called off nor open, whoever asks.
    world.peers.fail("SyncSale", Status::unavailable("away"));
    let request = id();
    let pending = cancel(&world, &away, &request).await.unwrap_err();
    assert_failure(&pending, Reason::PeerUnavailable);
    let waits = world.get(&away).await;
    assert_eq!((waits.state(), waits.cancel_requested), (SaleState::Prepared, true));
    let refused = world.start(&away, &id()).await.unwrap_err();
    assert_failure(&refused, Reason::SaleStateConflict);
    world.peers.recover();
    let off = cancel(&world, &away, &request).await.unwrap();
    assert_eq!(off.state(), SaleState::Cancelled);

    // It had begun by then.
    world.peers.have_begun();
    let request = id();
    for _ in 0..2 {
        let late = cancel(&world, &hurried, &request).await.unwrap_err();
        let failure = assert_failure(&late, Reason::SaleStateConflict);
        assert_eq!(failure.metadata()["state"], "OPEN");
    }
    let open = world.get(&hurried).await;
    assert_eq!((open.state(), open.cancel_requested), (SaleState::Open, false));
}

/// The store has closed the sale before it learns of a later end: the record follows it.
#[tokio::test]
async fn a_later_end_that_comes_too_late_ends_the_sale() {
    let world = World::new().await;
    let sale = draft(&world, "TEE", settings()).await;
    world.start(&sale, &id()).await.unwrap();
    world.peers.be_over();
    let asked = sale::UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.clone(),
        settings: Some(SaleSettings { ends_at: in_ms(2 * DAY), ..settings() }),
        update_mask: mask(&["ends_at"]),
        ..sale::UpdateSaleRequest::default()
    };
    let ended = update(&world, asked).await.unwrap();
    assert_eq!((ended.state(), ended.propagated), (SaleState::Ended, true));
}

/// A room that drops the window is not told: it would admit before the start.
#[tokio::test]
async fn a_room_that_knows_no_window_is_told_again() {
    let world = World::new().await;
    world.peers.have_old_room(true);
    let sale = draft(&world, "TEE", with_room()).await;
    let refused = world.start(&sale, &id()).await.unwrap_err();
    let failure = assert_failure(&refused, Reason::PeerUnavailable);
    assert_eq!(failure.metadata()["peer_reason"], "BEHIND");
    world.peers.have_old_room(false);
    world.eventually_propagated(&sale).await;
}

fn conflict(refused: &Status) -> Failure {
    assert_failure(refused, Reason::ScheduleConflict)
}

#[tokio::test]
async fn a_sku_is_on_sale_once_at_a_time() {
    let world = World::new().await;
    let first = draft(&world, "TEE", settings()).await;
    schedule(&world.client, window(&first, HOUR, 2 * HOUR)).await.unwrap();
    let second = draft(&world, "TEE", settings()).await;
    let other = draft(&world, "CAP", settings()).await;
    schedule(&world.client, window(&other, HOUR, 2 * HOUR)).await.unwrap();
    let before = world.tables().await;
    // Its holds live ten minutes longer than the other's window.
    for (starts, ends) in [
        (HOUR + 1, 2 * HOUR - 1),
        (HOUR / 2, HOUR + 1),
        (2 * HOUR + 500_000, 3 * HOUR),
        (HOUR / 2, HOUR - 500_000),
    ] {
        let refused = schedule(&world.client, window(&second, starts, ends)).await.unwrap_err();
        let failure = conflict(&refused);
        assert_eq!(failure.metadata()["sku"], "TEE");
        assert_eq!(failure.metadata()["other_sale_id"], first);
        assert!(failure.metadata()["other_ends_at_ms"] > failure.metadata()["other_starts_at_ms"]);
    }
    assert_eq!(world.tables().await, before);
    let start = sale::StartSaleRequest {
        request_id: id(),
        sale_id: second.clone(),
        allow_shared_skus: false,
    };
    let refused = world.client.clone().start_sale(start.clone()).await.unwrap_err();
    conflict(&refused);
    assert_eq!(world.tables().await, before);
    // Behind the last hold of the first, and before it with its own.
    schedule(&world.client, window(&second, 2 * HOUR + 700_000, 3 * HOUR)).await.unwrap();
    schedule(&world.client, window(&second, 1_000_000, HOUR - 700_000)).await.unwrap();
    // A change of the window is held against the others too, as is one of the items.
    let longer = sale::UpdateSaleRequest {
        request_id: id(),
        sale_id: second.clone(),
        settings: Some(SaleSettings { ends_at: in_ms(HOUR + 1_000), ..settings() }),
        update_mask: mask(&["ends_at"]),
        ..sale::UpdateSaleRequest::default()
    };
    conflict(&update(&world, longer.clone()).await.unwrap_err());
    let caps = sale::UpdateSaleRequest {
        request_id: id(),
        sale_id: other.clone(),
        items: vec![item("TEE")],
        update_mask: mask(&["items"]),
        ..sale::UpdateSaleRequest::default()
    };
    conflict(&update(&world, caps).await.unwrap_err());
    // Unless that is wanted, and then it is on record.
    let shared =
        sale::UpdateSaleRequest { request_id: id(), allow_shared_skus: Some(true), ..longer };
    assert!(update(&world, shared).await.unwrap().allow_shared_skus);
    // A sale that is called off frees its skus at once.
    let third = draft(&world, "TEE", settings()).await;
    let wanted = window(&third, HOUR + 200_000, 2 * HOUR);
    conflict(&schedule(&world.client, wanted.clone()).await.unwrap_err());
    cancel(&world, &first, &id()).await.unwrap();
    cancel(&world, &second, &id()).await.unwrap();
    schedule(&world.client, wanted).await.unwrap();
}

#[tokio::test]
async fn a_shop_does_not_learn_of_others_sales() {
    let world = World::new().await;
    let others = draft(&world, "TEE", settings()).await;
    schedule(&world.client, window(&others, HOUR, DAY)).await.unwrap();
    let theirs = OTHER_SALE.to_string();
    let copy = format!(
        "INSERT INTO sales (sale_id, name, currency, state, starts_at, ends_at, hold_ms, propagated_version)
         SELECT '{theirs}', name, currency, 'DRAFT', starts_at, ends_at, hold_ms, 1
         FROM sales WHERE sale_id = '{others}';
         INSERT INTO sale_items (sale_id, sku, title, price_minor, quantity)
         SELECT '{theirs}', sku, title, price_minor, quantity
         FROM sale_items WHERE sale_id = '{others}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(copy)).execute(&world.pg.pool).await.unwrap();
    let shop = Client::new(world.server.other_shops_channel().await);
    let refused = schedule(&shop, window(&theirs, HOUR, DAY)).await.unwrap_err();
    let failure = conflict(&refused);
    assert_eq!(failure.metadata().get("other_sale_id"), None);
    assert!(!format!("{refused:?}").contains(&others), "{refused:?}");
}

/// An ended sale frees its skus when its last hold has run out, counted from its actual end.
#[tokio::test]
async fn an_ended_sale_keeps_its_skus_for_a_hold_length() {
    let world = World::new().await;
    let first = draft(&world, "TEE", settings()).await;
    world.start(&first, &id()).await.unwrap();
    world.end(&first, &id()).await.unwrap();
    let next = draft(&world, "TEE", settings()).await;
    let soon = schedule(&world.client, window(&next, 300_000, DAY)).await.unwrap_err();
    assert_eq!(conflict(&soon).metadata()["other_sale_id"], first);
    schedule(&world.client, window(&next, 700_000, DAY)).await.unwrap();
    // What is over does not matter to a draft whose window began before that.
    sqlx::query("UPDATE sales SET updated_at = now() - interval '1 hour' WHERE sale_id = $1")
        .bind(uuid::Uuid::parse_str(&first).unwrap())
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let old = draft(&world, "TEE", settings()).await;
    sqlx::query("UPDATE sales SET starts_at = now() - interval '1 day' WHERE sale_id = $1")
        .bind(uuid::Uuid::parse_str(&old).unwrap())
        .execute(&world.pg.pool)
        .await
        .unwrap();
    cancel(&world, &next, &id()).await.unwrap();
    let start = sale::StartSaleRequest { request_id: id(), sale_id: old, allow_shared_skus: false };
    world.client.clone().start_sale(start).await.unwrap();
    // One that was never loaded has sold nothing.
    let never = draft(&world, "CAP", settings()).await;
    world.end(&never, &id()).await.unwrap();
    let cap = draft(&world, "CAP", settings()).await;
    schedule(&world.client, window(&cap, 300_000, DAY)).await.unwrap();
}

#[tokio::test]
async fn of_plans_made_at_the_same_instant_one_is_recorded() {
    let world = World::new().await;
    let (_server, second) = world.instance().await;
    for _ in 0..5 {
        let sku = id();
        let mut plans = Vec::new();
        for n in 0..6 {
            let sale = draft(&world, &sku, settings()).await;
            let client = if n % 2 == 0 { world.client.clone() } else { second.clone() };
            plans.push(async move { schedule(&client, window(&sale, HOUR, DAY)).await });
        }
        let answers = join_all(plans).await;
        let (made, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|answer| answer.is_ok());
        assert_eq!((made.len(), refused.len()), (1, 5));
        for refused in refused {
            conflict(&refused.unwrap_err());
        }
    }
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

#[tokio::test]
async fn a_draft_is_changed_and_its_history_tells() {
    let world = World::new().await;
    let created = world.draft(creation()).await;
    let asked = sale::UpdateSaleRequest {
        request_id: id(),
        sale_id: created.sale_id.clone(),
        settings: Some(SaleSettings { name: "Autumn drop".to_owned(), ..with_room() }),
        update_mask: mask(&["name", "room", "items"]),
        items: vec![item("TEE-M"), sale::Item { unit_price: eur(9, 90), ..item("CAP") }],
        version: created.version,
        reason: "The tees in L did not come".to_owned(),
        allow_shared_skus: None,
        effective_at: None,
    };
    let changed = update(&world, asked.clone()).await.unwrap();
    assert_eq!(update(&world, asked.clone()).await.unwrap(), changed);
    let new = changed.settings.clone().unwrap();
    assert_eq!((new.name.as_str(), new.currency.as_str()), ("Autumn drop", "EUR"));
    assert_eq!(new.ends_at, created.settings.unwrap().ends_at);
    assert_eq!(new.room.unwrap().admissions_per_second, 50.0);
    let skus: Vec<&str> = changed.items.iter().map(|item| item.sku.as_str()).collect();
    assert_eq!(skus, ["CAP", "TEE-M"]);
    assert_eq!(world.get(&created.sale_id).await, changed);

    let stale = sale::UpdateSaleRequest { request_id: id(), ..asked };
    let refused = update(&world, stale).await.unwrap_err();
    let failure = assert_failure(&refused, Reason::SaleVersionConflict);
    assert_eq!(failure.metadata()["current_version"], "2");

    let past = changes(&world, &created.sale_id).await;
    let last = &past[0];
    assert_eq!((last.kind.as_str(), last.version), ("UPDATE", 2));
    assert_eq!(last.reason, "The tees in L did not come");
    assert_eq!((last.skus.clone(), last.skus_changed), (vec!["CAP".into(), "TEE-L".into()], 2));
    assert!(!last.actor.is_empty() && !last.request_id.is_empty());
    let none = sale::ListSaleChangesRequest { sale_id: id(), ..Default::default() };
    let refused = world.client.clone().list_sale_changes(none).await.unwrap_err();
    assert_failure(&refused, Reason::SaleNotFound);
}

#[tokio::test]
async fn a_running_sale_changes_what_it_may_and_tells() {
    let world = World::new().await;
    let sale = draft(&world, "TEE", with_room()).await;
    let open = world.start(&sale, &id()).await.unwrap();
    let told = world.peers.told(&sale).len();
    let room = sale::RoomSettings { admissions_per_second: 5.0, ..Default::default() };
    let ends_at = in_ms(2 * DAY);
    let hold_ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let asked = sale::UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.clone(),
        settings: Some(SaleSettings { ends_at, hold_ttl, room: Some(room), ..settings() }),
        update_mask: mask(&["ends_at", "hold_ttl", "room.admissions_per_second"]),
        ..sale::UpdateSaleRequest::default()
    };
    let changed = update(&world, asked).await.unwrap();
    assert_eq!((changed.version, changed.propagated), (open.version + 1, true));
    let new = changed.settings.unwrap();
    assert_eq!((new.name, new.hold_ttl), ("Spring drop".to_owned(), hold_ttl));
    assert_eq!(new.ends_at.unwrap().seconds, ends_at.unwrap().seconds);
    assert_eq!(new.room.unwrap().admission_ttl.unwrap().seconds, 300);
    assert_eq!(world.peers.told(&sale)[told..], ["sync OPEN", "configure 5/s 300 s", "open"]);
}

#[tokio::test]
async fn each_forbidden_change_names_its_field_and_a_remedy() {
    let world = World::new().await;
    let sale = draft(&world, "TEE", with_room()).await;
    world.start(&sale, &id()).await.unwrap();
    let plan = draft(&world, "CAP", settings()).await;
    let before = world.tables().await;
    let of = |sale: &str, paths: &[&str], settings: SaleSettings| sale::UpdateSaleRequest {
        request_id: id(),
        sale_id: sale.to_owned(),
        settings: Some(settings),
        update_mask: mask(paths),
        items: vec![item("OTHER")],
        ..sale::UpdateSaleRequest::default()
    };
    let soon = SaleSettings { ends_at: in_ms(59_000), ..with_room() };
    let running = with_room();
    for (asked, field, remedy) in [
        (of(&sale, &["currency"], running.clone()), "settings.currency", "another sale"),
        (of(&sale, &["starts_at"], running.clone()), "settings.starts_at", "EndSale"),
        (of(&sale, &["items"], running.clone()), "items[0].sku", "another sale"),
        (of(&sale, &["room"], running.clone()), "settings.room", "admissions_per_second"),
        (
            of(&sale, &["room.admission_ttl"], running.clone()),
            "settings.room.admission_ttl",
            "admissions_per_second",
        ),
        (
            of(&sale, &["room.pre_queue"], running.clone()),
            "settings.room.pre_queue",
            "admissions_per_second",
        ),
        (
            of(&sale, &["payment_patience"], running.clone()),
            "settings.payment_patience",
            "another sale",
        ),
        (of(&sale, &["ends_at"], soon), "settings.ends_at", "EndSale"),
        (of(&sale, &["colour"], running.clone()), "update_mask", "hold_ttl"),
        (of(&sale, &[], running), "update_mask", "items"),
    ] {
        let refused = update(&world, asked).await.unwrap_err();
        let failure = assert_failure(&refused, Reason::ArgumentInvalid);
        let violation = &failure.violations()[0];
        assert_eq!(violation.field, field);
        assert!(violation.description.contains(remedy), "{}", violation.description);
    }
    for (starts, ends, field) in
        [(-1_000, DAY, "starts_at"), (HOUR, HOUR - 1, "ends_at"), (HOUR, -HOUR, "ends_at")]
    {
        let refused = schedule(&world.client, window(&plan, starts, ends)).await.unwrap_err();
        let failure = assert_failure(&refused, Reason::ArgumentInvalid);
        assert_eq!(failure.violations()[0].field, field);
    }
    // Neither a plan nor a pause for what has begun, or has not.
    let refused = schedule(&world.client, window(&sale, HOUR, DAY)).await.unwrap_err();
    assert_failure(&refused, Reason::SaleStateConflict);
    assert_failure(&pause(&world, &plan).await.unwrap_err(), Reason::SaleStateConflict);
    assert_failure(&cancel(&world, &sale, &id()).await.unwrap_err(), Reason::SaleStateConflict);
    assert_eq!(world.tables().await, before);
}

/// A follower learns of every state, and its stream ends with a sale that is called off.
#[tokio::test]
async fn watching_a_plan_ends_when_it_is_called_off() {
    let world = World::new().await;
    let sale = draft(&world, "TEE", settings()).await;
    let request = sale::WatchSaleRequest { sale_id: sale.clone() };
    let mut watched = world.client.clone().watch_sale(request).await.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap().sale.unwrap();
    assert_eq!(first.state(), SaleState::Draft);
    schedule(&world.client, window(&sale, HOUR, DAY)).await.unwrap();
    let planned = watched.message().await.unwrap().unwrap().sale.unwrap();
    assert_eq!(planned.state(), SaleState::Scheduled);
    cancel(&world, &sale, &id()).await.unwrap();
    let off = watched.message().await.unwrap().unwrap().sale.unwrap();
    assert_eq!(off.state(), SaleState::Cancelled);
    assert!(watched.message().await.unwrap().is_none());
    // It counts as settled, and is not looked at for ever.
    let report = eventually("its report is final", || async {
        Some(world.report(&sale).await).filter(|report| report.r#final)
    })
    .await;
    assert_eq!(report.state(), SaleState::Cancelled);
}
