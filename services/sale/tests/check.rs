//! What CheckSale finds of a sale, and that it answers without the other services.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    self, Check, CheckSaleRequest, CheckSaleResponse,
    CheckVerdict::{self, Fail, Pass, Unknown, Warn},
    SaleSettings,
};
use flashsale_testbed::{assert_failure, keys::OTHER_SALE};
use tonic::{Request, Status};
use world::{Client, World, creation, id, item, settings, with_room};

const DAY: i64 = 86_400;

fn of(sale: &str) -> CheckSaleRequest {
    CheckSaleRequest { sale_id: sale.to_owned() }
}

async fn checked_by(mut client: Client, sale: &str) -> CheckSaleResponse {
    client.check_sale(of(sale)).await.unwrap().into_inner()
}

/// One check of a sale, if it applies.
async fn look(world: &World, sale: &str, id: &str) -> Option<Check> {
    let answer = checked_by(world.client.clone(), sale).await;
    answer.checks.into_iter().find(|check| check.id == id)
}

async fn verdict(world: &World, sale: &str, id: &str) -> Option<CheckVerdict> {
    look(world, sale, id).await.map(|check| check.verdict())
}

async fn run(world: &World, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&world.pg.pool).await.unwrap();
}

/// Has a sale go from and to so many seconds from now.
async fn set_window(world: &World, sale: &str, from: i64, to: i64) {
    let statement = format!(
        "UPDATE sales SET starts_at = now() + {from} * interval '1 second',
                          ends_at = now() + {to} * interval '1 second'
         WHERE sale_id = '{sale}'"
    );
    run(world, &statement).await;
}

async fn set_state(world: &World, sale: &str, state: &str) {
    run(world, &format!("UPDATE sales SET state = '{state}' WHERE sale_id = '{sale}'")).await;
}

/// A draft of 20 units in a day, for an hour, with a room of 50 buyers a second.
async fn planned(world: &World) -> String {
    let asked = sale::CreateSaleRequest { settings: Some(with_room()), ..creation() };
    let sale = world.draft(asked).await.sale_id;
    set_window(world, &sale, DAY, DAY + 3_600).await;
    sale
}

#[tokio::test]
async fn a_good_plan_passes_and_changes_nothing() {
    let world = World::new().await;
    let sale = planned(&world).await;
    let before = world.tables().await;
    let answer = checked_by(world.client.clone(), &sale).await;
    assert_eq!(world.tables().await, before);
    assert!(answer.read_time.is_some());
    let ids: Vec<&str> = answer.checks.iter().map(|check| check.id.as_str()).collect();
    // No stock is loaded yet: its store is not asked.
    assert_eq!(ids, ["prepared", "conflicts", "room", "payments", "record_clock"]);
    for check in &answer.checks {
        assert_eq!((check.verdict(), check.remedy.as_str()), (Pass, ""), "{check:?}");
        assert!(!check.title.is_empty() && !check.value.is_empty() && !check.bound.is_empty());
    }

    world.end(&sale, &id()).await.unwrap();
    let answer = checked_by(world.client.clone(), &sale).await;
    let ids: Vec<&str> = answer.checks.iter().map(|check| check.id.as_str()).collect();
    assert_eq!(ids, ["record_clock"]);
}

#[tokio::test]
async fn an_unknown_sale_is_refused() {
    let world = World::new().await;
    let mut client = world.client.clone();
    let status = client.check_sale(of(&id())).await.unwrap_err();
    assert_failure(&status, Reason::SaleNotFound);
    let status = client.check_sale(of("first")).await.unwrap_err();
    assert_failure(&status, Reason::ArgumentInvalid);
}

#[tokio::test]
async fn a_sale_that_is_not_prepared_is_told() {
    let world = World::new().await;
    let draft = planned(&world).await;
    for (from, to, expected) in
        [(660, 3_600, Pass), (600, 3_600, Warn), (-60, 3_600, Warn), (-60, -1, Fail)]
    {
        set_window(&world, &draft, from, to).await;
        assert_eq!(verdict(&world, &draft, "prepared").await, Some(expected), "{from} {to}");
    }

    let sale = world.draft(creation()).await.sale_id;
    world.peers.fail("SyncSale", Failure::new(Reason::StockFenced, "not now"));
    world.start(&sale, &id()).await.unwrap_err();
    let check = look(&world, &sale, "prepared").await.unwrap();
    assert_eq!(check.verdict(), Fail);
    assert!(check.value.starts_with("OPEN"), "{check:?}");
    assert!(check.remedy.contains("inventory"), "{check:?}");
    world.peers.recover();
    world.eventually_propagated(&sale).await;
    assert_eq!(verdict(&world, &sale, "prepared").await, Some(Pass));
}

#[tokio::test]
async fn sales_of_the_same_skus_conflict() {
    let world = World::new().await;
    let sale = planned(&world).await;
    let other = planned(&world).await;
    assert_eq!(verdict(&world, &sale, "conflicts").await, Some(Pass), "both are drafts");

    set_state(&world, &other, "SCHEDULED").await;
    let check = look(&world, &sale, "conflicts").await.unwrap();
    assert_eq!(check.verdict(), Fail);
    assert_eq!(check.value, format!("TEE-L and 1 more in the sale {other}"));
    // A sale that was let through is let be.
    set_state(&world, &sale, "SCHEDULED").await;
    assert_eq!(verdict(&world, &sale, "conflicts").await, Some(Warn));
    set_state(&world, &sale, "DRAFT").await;

    // Holds of 600 s keep the units behind the end of either.
    for (from, to, expected) in [
        (DAY - 3_600, DAY - 660, Pass),
        (DAY - 3_600, DAY - 540, Fail),
        (DAY + 4_140, DAY + 9_000, Fail),
        (DAY + 4_260, DAY + 9_000, Pass),
    ] {
        set_window(&world, &other, from, to).await;
        assert_eq!(verdict(&world, &sale, "conflicts").await, Some(expected), "{from} {to}");
    }

    // A sale that has ended needs its units until the last of its holds has run out.
    set_window(&world, &sale, 0, 3_600).await;
    // Ended before its start is past: the clock would prepare it.
    set_state(&world, &other, "ENDED").await;
    set_window(&world, &other, -60, 3_600).await;
    // One that was never loaded has sold nothing.
    assert_eq!(verdict(&world, &sale, "conflicts").await, Some(Pass), "never loaded");
    let load =
        format!("INSERT INTO sale_stock (sale_id, epoch, run_id) VALUES ('{other}', 1, 'r')");
    run(&world, &load).await;
    for (ago, expected) in [(0, Fail), (601, Pass)] {
        let end = format!(
            "UPDATE sales SET state = 'ENDED', updated_at = now() - {ago} * interval '1 second'
             WHERE sale_id = '{other}'"
        );
        run(&world, &end).await;
        assert_eq!(verdict(&world, &sale, "conflicts").await, Some(expected), "{ago} s ago");
    }

    let elsewhere = sale::CreateSaleRequest { items: vec![item("CAP")], ..creation() };
    let elsewhere = world.draft(elsewhere).await.sale_id;
    set_window(&world, &elsewhere, DAY, DAY + 3_600).await;
    set_state(&world, &elsewhere, "SCHEDULED").await;
    set_window(&world, &sale, DAY, DAY + 3_600).await;
    assert_eq!(verdict(&world, &sale, "conflicts").await, Some(Pass), "other skus");
}

#[tokio::test]
async fn a_shop_does_not_learn_of_others_sales() {
    let world = World::new().await;
    let others = planned(&world).await;
    let theirs = OTHER_SALE.to_string();
    let copy = format!(
        "INSERT INTO sales (sale_id, name, currency, state, starts_at, ends_at, hold_ms, propagated_version)
         SELECT '{theirs}', name, currency, state, starts_at, ends_at, hold_ms, 1
         FROM sales WHERE sale_id = '{others}';
         INSERT INTO sale_items (sale_id, sku, title, price_minor, quantity)
         SELECT '{theirs}', sku, title, price_minor, quantity
         FROM sale_items WHERE sale_id = '{others}'"
    );
    run(&world, &copy).await;
    set_state(&world, &others, "SCHEDULED").await;
    let client = Client::new(world.server.other_shops_channel().await);
    let answer = checked_by(client, &theirs).await;
    let check = answer.checks.iter().find(|check| check.id == "conflicts").unwrap();
    assert_eq!(check.verdict(), Fail);
    assert_eq!(check.value, "TEE-L and 1 more in a sale of another shop");
}

#[tokio::test]
async fn a_line_that_admits_too_few_is_told() {
    let world = World::new().await;
    let sale = planned(&world).await;
    set_window(&world, &sale, DAY, DAY + 200).await;
    for (rate, expected) in [(0.1, Pass), (0.09, Warn)] {
        let set = format!("UPDATE sales SET room_rate = {rate} WHERE sale_id = '{sale}'");
        run(&world, &set).await;
        assert_eq!(verdict(&world, &sale, "room").await, Some(expected), "{rate}");
    }
    // What was allotted since counts, not what the sale began with.
    let allot = format!(
        "UPDATE sales SET room_rate = 0.1 WHERE sale_id = '{sale}';
         INSERT INTO allotments (sale_id, sku, allotted) VALUES ('{sale}', 'TEE-M', 11)"
    );
    run(&world, &allot).await;
    let check = look(&world, &sale, "room").await.unwrap();
    assert_eq!((check.verdict(), check.bound.as_str()), (Warn, "21 units"));
    let plain = world.draft(creation()).await.sale_id;
    assert_eq!(verdict(&world, &plain, "room").await, None);
}

#[tokio::test]
async fn payments_that_take_too_long_are_told() {
    let world = World::new().await;
    let sale = world.draft(creation()).await.sale_id;
    // 20 payments; a hold has 600 s.
    for (per_s, expected) in [(25.0, Pass), (0.034, Pass), (0.033, Warn)] {
        world.peers.budget(per_s);
        assert_eq!(verdict(&world, &sale, "payments").await, Some(expected), "{per_s}");
    }
    world.peers.budget(0.034);
    let patience = "UPDATE sales SET payment_patience_ms = 500000";
    run(&world, patience).await;
    let check = look(&world, &sale, "payments").await.unwrap();
    assert_eq!(check.verdict(), Warn);
    assert_eq!(check.bound, "500 s, the buyers' patience");
    assert!(check.value.starts_with("588 s for the last of 20"), "{check:?}");
}

#[tokio::test]
async fn a_peak_that_cannot_be_served_is_told() {
    let world = World::new().await;
    let plain = world.draft(creation()).await.sale_id;
    assert_eq!(verdict(&world, &plain, "peak").await, None);
    // By the defaults of the configuration.
    for (settings, peak, expected) in [
        (settings(), 2_600, Pass),
        (settings(), 2_601, Fail),
        (with_room(), 5_600, Pass),
        (with_room(), 5_601, Fail),
    ] {
        let settings = SaleSettings { expected_peak_per_second: Some(peak), ..settings };
        let asked = sale::CreateSaleRequest { settings: Some(settings), ..creation() };
        let sale = world.draft(asked).await;
        assert_eq!(sale.settings.unwrap().expected_peak_per_second, Some(peak));
        assert_eq!(verdict(&world, &sale.sale_id, "peak").await, Some(expected), "{peak}");
    }
}

#[tokio::test]
async fn what_a_peer_does_not_say_is_unknown() {
    let world = World::new().await;
    let sale = world.draft(creation()).await.sale_id;
    world.start(&sale, &id()).await.unwrap();
    for (call, check_id, peer) in
        [("GetBreaker", "payments", "payment"), ("GetStock", "stock_clock", "inventory")]
    {
        assert_eq!(verdict(&world, &sale, check_id).await, Some(Pass), "{check_id}");
        world.peers.fail(call, Failure::new(Reason::StoreUnavailable, "away"));
        let check = look(&world, &sale, check_id).await.unwrap();
        assert_eq!(check.verdict(), Unknown, "{check:?}");
        assert_eq!(check.value, format!("{peer} does not say: STORE_UNAVAILABLE"));
        assert_eq!(verdict(&world, &sale, "prepared").await, Some(Pass));

        // One that hangs does not take the caller's whole time.
        world.peers.fail(call, Status::cancelled("it hangs"));
        let mut asked = Request::new(of(&sale));
        asked.set_timeout(Duration::from_secs(2));
        let answer = world.client.clone().check_sale(asked).await.unwrap().into_inner();
        let check = answer.checks.iter().find(|check| check.id == check_id).unwrap();
        assert_eq!(check.verdict(), Unknown, "{check:?}");
        world.peers.recover();
    }
}

#[tokio::test]
async fn a_clock_that_differs_is_told() {
    let world = World::new().await;
    let sale = world.draft(creation()).await.sale_id;
    world.start(&sale, &id()).await.unwrap();
    for (ahead_ms, expected) in
        [(0, Pass), (3_000, Warn), (-3_000, Warn), (60_000, Fail), (-60_000, Fail)]
    {
        world.peers.shift_clock(ahead_ms);
        let check = look(&world, &sale, "stock_clock").await.unwrap();
        assert_eq!(check.verdict(), expected, "{check:?}");
        assert_eq!(verdict(&world, &sale, "record_clock").await, Some(Pass));
    }

    // Who connects from now on is shown another time by Postgres.
    world.peers.shift_clock(0);
    for (ahead, expected) in [("3 seconds", Warn), ("-1 minute", Fail)] {
        let shift = format!(
            "CREATE SCHEMA IF NOT EXISTS away;
             GRANT USAGE ON SCHEMA away TO PUBLIC;
             CREATE OR REPLACE FUNCTION away.clock_timestamp() RETURNS timestamptz LANGUAGE sql
                 AS $$ SELECT pg_catalog.clock_timestamp() + interval '{ahead}' $$;
             DO $$ BEGIN
                 EXECUTE format('ALTER DATABASE %I SET search_path = away, pg_catalog, public',
                                current_database());
             END $$"
        );
        run(&world, &shift).await;
        let (_server, client) = world.instance().await;
        let answer = checked_by(client, &sale).await;
        let check = answer.checks.iter().find(|check| check.id == "record_clock").unwrap();
        assert_eq!(check.verdict(), expected, "{check:?}");
    }
}
