//! Comparing the stores: planted differences are found, and what is only on its way is not
//! reported.

use std::{collections::HashSet, time::Duration};

use flashsale_errors::Reason;
use flashsale_inventory::{
    app::reconcile::{Entry, Report},
    domain::{Hold, HoldState, Outcome, Refusal, reconcile::Kind},
    store::keys,
};
use flashsale_proto::inventory as proto;
use flashsale_queue::{NatsConfig, OrderDetails, OrderMessage, QueueMessage};
use flashsale_testbed::{
    assert_failure, eventually,
    fixtures::{self, OrderSpec},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use crate::{
    random::seed,
    service::{id, served},
    world::{self, SaleSpec, World, place_lines, release, reserve, world},
};

/// Writes without the scripts, and updates the count of keys as they do.
async fn plant(world: &World, sale: Uuid, lua: &str) {
    let count = "redis.call('HSET', KEYS[1], 'keys', redis.call('EXISTS', unpack(KEYS)))";
    let text = format!("local call = redis.call\n{lua}\n{count}");
    world.lua(&text, keys(sale)).await;
}

/// Changes a hold's record by `set`.
fn of_hold(hold_id: Uuid, set: &str) -> String {
    format!(
        "local id = '{hold_id}'
         local hold = cjson.decode(call('HGET', KEYS[3], id))
         {set}
         call('HSET', KEYS[3], id, cjson.encode(hold))"
    )
}

/// Records the order of a placed hold as the claims do, `age_ms` ago.
async fn record_order(world: &World, sale: Uuid, hold: &Hold, state: &str, age_ms: f64) -> Uuid {
    let order_id = hold.order_id.unwrap_or_else(Uuid::new_v4);
    let order = OrderSpec {
        order_id,
        hold_id: hold.hold_id,
        epoch: hold.epoch,
        request_id: order_id,
        state,
        updated_ms_ago: age_ms,
        lines: hold.lines.iter().map(|line| (&*line.sku, line.quantity, 0)).collect(),
        takes_units: !matches!(state, "DECLINED" | "CANCELLED"),
        ..OrderSpec::new(sale, &hold.buyer_id)
    };
    fixtures::record_order(&world.pg.pool, &order).await.unwrap();
    order_id
}

/// Ends an order as the settlements do.
async fn end_order(world: &World, sale: Uuid, hold: &Hold, order_id: Uuid, paid: bool) {
    let mut transaction = world.pg.pool.begin().await.unwrap();
    sqlx::query("UPDATE orders SET state = $2, updated_at = now() WHERE order_id = $1")
        .bind(order_id)
        .bind(if paid { "CONFIRMED" } else { "CANCELLED" })
        .execute(&mut *transaction)
        .await
        .unwrap();
    for line in hold.lines.iter().filter(|_| !paid) {
        sqlx::query("UPDATE allotments SET claimed = claimed - $3 WHERE sale_id = $1 AND sku = $2")
            .bind(sale)
            .bind(&line.sku)
            .bind(line.quantity)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}

async fn sale(world: &World) -> Uuid {
    world.sale(SaleSpec::default(), &[("a", 10, 0, 1), ("b", 10, 0, 1)]).await
}

async fn look(world: &World, sale: Uuid) -> Report {
    world.inventory.reconcile(sale, false).await.unwrap()
}

async fn repair(world: &World, sale: Uuid) -> Report {
    world.inventory.reconcile(sale, true).await.unwrap()
}

async fn held(world: &World, sale: Uuid, buyer: &str, asked: &[(&str, i64)]) -> Hold {
    world.ask(&reserve(sale, buyer, asked)).await.unwrap().hold
}

async fn placed(world: &World, sale: Uuid, buyer: &str, asked: &[(&str, i64)]) -> Hold {
    world.ask(&place_lines(sale, buyer, asked)).await.unwrap().hold
}

async fn settle(world: &World, sale: Uuid, hold: &Hold, outcome: Outcome) {
    world.inventory.settle(sale, &[(hold.hold_id, outcome)]).await.unwrap();
}

/// A placed hold whose order is on record.
async fn ordered(world: &World, sale: Uuid, buyer: &str, state: &str, age_ms: f64) -> (Hold, Uuid) {
    let hold = placed(world, sale, buyer, &[("a", 2)]).await;
    let order_id = record_order(world, sale, &hold, state, age_ms).await;
    settle(world, sale, &hold, Outcome::Claimed).await;
    (hold, order_id)
}

#[track_caller]
fn assert_found(report: &Report, kind: Kind, sku: &str, units: i64, holds: &[Uuid]) {
    let mut holds = holds.to_vec();
    holds.sort_unstable();
    let same = |entry: &&Entry| {
        (entry.kind, entry.sku.as_str(), entry.units) == (kind, sku, units)
            && entry.hold_ids == holds
    };
    assert!(report.differences.iter().any(|entry| same(&entry)), "{report:?}");
}

#[track_caller]
fn assert_clean(report: &Report) {
    assert_eq!(report.differences, [], "{report:?}");
    assert_eq!((report.oversold, report.stranded), (0, 0));
}

#[tokio::test]
async fn agreeing_stores_have_no_difference() {
    let world = world().await;
    let sale = sale(&world).await;
    assert_clean(&look(&world, sale).await);
    held(&world, sale, "ada", &[("a", 2), ("b", 1)]).await;
    placed(&world, sale, "bob", &[("a", 1)]).await;
    ordered(&world, sale, "cem", "PAYING", 60_000.0).await;
    let (hold, _) = ordered(&world, sale, "dee", "CONFIRMED", 60_000.0).await;
    settle(&world, sale, &hold, Outcome::Sold).await;
    let (hold, _) = ordered(&world, sale, "eve", "DECLINED", 60_000.0).await;
    settle(&world, sale, &hold, Outcome::Released).await;
    // The order has just ended, and its hold is about to.
    ordered(&world, sale, "fay", "CONFIRMED", 0.0).await;
    let given_back = held(&world, sale, "gus", &[("b", 1)]).await;
    world.ask(&release(sale, "gus", given_back.hold_id)).await.unwrap();
    let report = look(&world, sale).await;
    assert_clean(&report);
    assert_eq!((report.epoch, report.oldest_expired_ms), (1, 0));
}

#[tokio::test]
async fn wrong_books_are_found_by_sku() {
    let world = world().await;
    let sale = sale(&world).await;
    let hold = held(&world, sale, "ada", &[("a", 2)]).await;
    plant(&world, sale, "call('HINCRBY', KEYS[2], 'a:a', -3)").await;
    let report = look(&world, sale).await;
    assert_found(&report, Kind::BooksDoNotAddUp, "a", 3, &[]);
    assert_eq!((report.differences.len(), report.stranded), (1, 3));

    plant(&world, sale, "call('HINCRBY', KEYS[2], 'h:a', 3)").await;
    let report = look(&world, sale).await;
    assert_found(&report, Kind::BooksDoNotAddUp, "a", 3, &[]);
    assert!(report.differences[0].what.contains("more held"), "{report:?}");
    assert_eq!((report.differences.len(), report.stranded), (1, 3));

    plant(&world, sale, "call('HINCRBY', KEYS[2], 'h:a', -3) call('HINCRBY', KEYS[2], 'a:a', 3)")
        .await;
    assert_clean(&look(&world, sale).await);
    plant(&world, sale, "call('HINCRBY', KEYS[8], 'a\\31ada', 4)").await;
    let report = look(&world, sale).await;
    assert_found(&report, Kind::BooksDoNotAddUp, "a", 4, &[hold.hold_id]);
    assert_eq!((report.differences.len(), report.stranded), (1, 0));
    // A contradiction within Redis is not repaired by guessing.
    assert!(repair(&world, sale).await.differences.iter().all(|entry| !entry.repaired));
}

#[tokio::test]
async fn differing_allotments_are_found() {
    let world = world().await;
    let sale = sale(&world).await;
    sqlx::query("UPDATE allotments SET allotted = 12 WHERE sku = 'b'")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let report = look(&world, sale).await;
    assert_found(&report, Kind::AllotmentDiffers, "b", 2, &[]);
    assert_eq!((report.differences.len(), report.oversold), (1, 0));
}

#[tokio::test]
async fn worst_oversell_of_both_stores_counts() {
    let world = world().await;
    let sale = sale(&world).await;
    held(&world, sale, "ada", &[("a", 6)]).await;
    plant(&world, sale, "call('HSET', KEYS[2], 't:a', 4, 'a:a', -2)").await;
    let report = look(&world, sale).await;
    assert_found(&report, Kind::Oversold, "a", 2, &[]);
    assert_found(&report, Kind::AllotmentDiffers, "a", 6, &[]);
    assert_eq!(report.oversold, 2);

    sqlx::query("ALTER TABLE allotments DROP CONSTRAINT never_oversold")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let hold = Hold { order_id: None, ..placed(&world, sale, "bob", &[("b", 9)]).await };
    record_order(&world, sale, &hold, "PAYING", 0.0).await;
    sqlx::query("UPDATE order_lines SET quantity = 13 WHERE sku = 'b'")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let report = look(&world, sale).await;
    assert_found(&report, Kind::Oversold, "b", 3, &[]);
    assert_eq!(report.oversold, 2 + 3);
    sqlx::query("UPDATE allotments SET claimed = 14 WHERE sku = 'b'")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let report = look(&world, sale).await;
    assert_found(&report, Kind::Oversold, "b", 4, &[]);
    assert_found(&report, Kind::BooksDoNotAddUp, "b", 1, &[]);
    assert_eq!(report.oversold, 2 + 4);
}

#[tokio::test]
async fn hold_behind_order_is_settled() {
    let world = world().await;
    let sale = sale(&world).await;
    let (sold, _) = ordered(&world, sale, "ada", "CONFIRMED", 60_000.0).await;
    let (refunded, _) = ordered(&world, sale, "bob", "REFUNDED", 60_000.0).await;
    let (declined, _) = ordered(&world, sale, "cem", "DECLINED", 60_000.0).await;
    let report = look(&world, sale).await;
    assert_found(&report, Kind::HoldBehindOrder, "a", 4, &[sold.hold_id, refunded.hold_id]);
    assert_found(&report, Kind::HoldBehindOrder, "a", 2, &[declined.hold_id]);
    assert!(report.differences.iter().all(|entry| !entry.repaired));
    assert_eq!(report.stranded, 2, "the declined order's");
    let report = repair(&world, sale).await;
    assert_eq!(report.differences.len(), 2);
    assert!(report.differences.iter().all(|entry| entry.repaired), "{report:?}");
    assert_eq!(report.stranded, 0);
    assert_clean(&look(&world, sale).await);
    assert_eq!(world.books(sale, "a").await, [6, 0, 0, 4]);
    assert_eq!(world.hold(sale, declined.hold_id).await.state, HoldState::Released);
}

#[tokio::test]
async fn contradicting_hold_is_only_reported() {
    let world = world().await;
    let sale = sale(&world).await;
    let (released, _) = ordered(&world, sale, "ada", "PAYING", 0.0).await;
    settle(&world, sale, &released, Outcome::Released).await;
    let (sold, order_id) = ordered(&world, sale, "bob", "PAYING", 0.0).await;
    settle(&world, sale, &sold, Outcome::Sold).await;
    end_order(&world, sale, &sold, order_id, false).await;
    let gone = Hold { hold_id: Uuid::new_v4(), order_id: None, ..sold.clone() };
    record_order(&world, sale, &gone, "CONFIRMED", 0.0).await;
    for report in [look(&world, sale).await, repair(&world, sale).await] {
        for hold in [&released, &sold, &gone] {
            assert_found(&report, Kind::HoldContradictsOrder, "a", 2, &[hold.hold_id]);
        }
        assert_eq!(report.differences.len(), 3);
        assert!(report.differences.iter().all(|entry| !entry.repaired));
    }
}

#[tokio::test]
async fn order_without_hold_is_found() {
    let world = world().await;
    let sale = sale(&world).await;
    let hold = placed(&world, sale, "ada", &[("b", 3)]).await;
    settle(&world, sale, &hold, Outcome::Released).await;
    let lost = Hold { hold_id: Uuid::new_v4(), order_id: None, ..hold };
    record_order(&world, sale, &lost, "CLAIMED", 0.0).await;
    let older = Hold { hold_id: Uuid::new_v4(), epoch: 0, ..lost.clone() };
    record_order(&world, sale, &older, "CLAIMED", 0.0).await;
    let report = repair(&world, sale).await;
    assert_found(&report, Kind::OrderWithoutHold, "b", 3, &[lost.hold_id]);
    assert_eq!(report.differences.len(), 1, "{report:?}");
}

#[tokio::test]
async fn orphaned_placed_hold_is_mended_or_stranded() {
    let world = world().await;
    let sale = sale(&world).await;
    let whole = placed(&world, sale, "ada", &[("a", 2)]).await;
    let bare = placed(&world, sale, "bob", &[("a", 3)]).await;
    for hold in [&whole, &bare] {
        plant(&world, sale, &format!("call('ZREM', KEYS[5], '{}')", hold.hold_id)).await;
    }
    plant(&world, sale, &format!("call('HDEL', KEYS[6], '{}')", bare.hold_id)).await;
    let report = look(&world, sale).await;
    let both = [whole.hold_id, bare.hold_id];
    assert_found(&report, Kind::PlacedWithoutOrder, "a", 5, &both);
    assert_eq!(report.stranded, 5);
    let report = repair(&world, sale).await;
    assert_found(&report, Kind::PlacedWithoutOrder, "a", 2, &[whole.hold_id]);
    assert_found(&report, Kind::PlacedWithoutOrder, "a", 3, &[bare.hold_id]);
    assert_eq!(report.stranded, 3);
    for entry in &report.differences {
        assert_eq!(entry.repaired, entry.hold_ids == [whole.hold_id]);
    }
    let listed = world.inventory.list_placed(sale, i64::MAX / 1_000_000, 10).await.unwrap();
    assert_eq!(listed.placed.iter().map(|hold| hold.hold_id).collect::<Vec<_>>(), [whole.hold_id]);
    let report = look(&world, sale).await;
    assert_found(&report, Kind::PlacedWithoutOrder, "a", 3, &[bare.hold_id]);
    assert_eq!(report.differences.len(), 1);
}

fn message(sale_id: Uuid, hold: &Hold) -> QueueMessage {
    let order = OrderMessage {
        order_id: hold.order_id.unwrap(),
        sale_id,
        buyer_id: hold.buyer_id.clone(),
        hold_id: hold.hold_id,
        epoch: hold.epoch,
        admission_id: None,
        request_id: Uuid::new_v4(),
        request_hash: String::new(),
        lines: vec![],
        currency: "EUR".to_owned(),
        total_minor: 0,
        placed_at_ms: 0,
        details: OrderDetails::default(),
    };
    QueueMessage::Place { order }
}

#[tokio::test]
async fn vanished_message_is_reported() {
    let mut world = world().await;
    let nats = flashsale_testbed::nats().await;
    world.use_queue(&nats.url).await;
    let config = NatsConfig {
        publish_timeout_ms: 2_000,
        orders_max_bytes: 64 * 1024 * 1024,
        events_max_bytes: 64 * 1024 * 1024,
        ..NatsConfig::at(&nats.url)
    };
    eventually("the stream is made", async || {
        flashsale_queue::ensure_orders_stream(world.jetstream(), &config).await.ok()
    })
    .await;
    let sale = sale(&world).await;
    let waits = placed(&world, sale, "ada", &[("a", 1)]).await;
    let vanished = placed(&world, sale, "bob", &[("a", 2)]).await;
    let fresh = placed(&world, sale, "cem", &[("a", 3)]).await;
    for hold in [&waits, &vanished] {
        let older = "hold.p = hold.p - 120000 call('ZADD', KEYS[5], hold.p, id)";
        plant(&world, sale, &of_hold(hold.hold_id, older)).await;
    }
    let publish = async |hold: &Hold| {
        let timeout = Duration::from_secs(2);
        let jetstream = world.jetstream();
        flashsale_queue::publish_order(jetstream, &message(sale, hold), timeout).await.unwrap()
    };
    let behind = publish(&vanished).await;
    publish(&waits).await;
    assert_clean(&look(&world, sale).await);

    // The claims have passed it and the record does not have it.
    let stream = world.jetstream().get_stream(flashsale_queue::ORDERS).await.unwrap();
    sqlx::query("INSERT INTO queue_positions (stream, stream_created, seq) VALUES ($1, $2, $3)")
        .bind(flashsale_queue::ORDERS)
        .bind(stream.cached_info().created)
        .bind(behind as i64)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let report = look(&world, sale).await;
    assert_found(&report, Kind::MessageVanished, "a", 2, &[vanished.hold_id]);
    assert_eq!((report.differences.len(), report.stranded), (1, 0), "{report:?}");
    assert_eq!(world.hold(sale, fresh.hold_id).await.state, HoldState::Placed);

    // Without the queue nothing is concluded about it.
    world.queue = world::queue("nats://127.0.0.1:1").await;
    world.inventory = world::inventory(&world.pg, &world.store, &world.queue);
    let report = look(&world, sale).await;
    let both = [waits.hold_id, vanished.hold_id];
    assert_found(&report, Kind::MessageUnknown, "a", 3, &both);
    assert_eq!(report.differences.len(), 1);
}

#[tokio::test]
async fn expired_units_are_swept() {
    let world = world().await;
    let sale = sale(&world).await;
    let overdue = held(&world, sale, "ada", &[("a", 2)]).await;
    let late = held(&world, sale, "bob", &[("a", 1)]).await;
    for (hold, ms) in [(&overdue, 60_000), (&late, 1_000)] {
        let past = format!(
            "hold.d = tonumber(call('TIME')[1]) * 1000 - {ms} call('ZADD', KEYS[4], hold.d, id)"
        );
        plant(&world, sale, &of_hold(hold.hold_id, &past)).await;
    }
    let report = look(&world, sale).await;
    assert_found(&report, Kind::ExpiredNotReturned, "a", 2, &[overdue.hold_id]);
    assert_eq!(report.differences.len(), 1, "the other's sweep is due: {report:?}");
    assert!((60_000..90_000).contains(&report.oldest_expired_ms), "{report:?}");
    let report = repair(&world, sale).await;
    assert!(report.differences[0].repaired);
    assert_eq!(report.oldest_expired_ms, 0);
    assert_clean(&look(&world, sale).await);
    assert_eq!(world.books(sale, "a").await, [10, 0, 0, 0]);
}

#[tokio::test]
async fn deadlines_follow_holds() {
    let world = world().await;
    let sale = sale(&world).await;
    let missing = held(&world, sale, "ada", &[("a", 2)]).await;
    let stray = placed(&world, sale, "bob", &[("b", 1)]).await;
    let unknown = Uuid::new_v4();
    let lua = format!(
        "call('ZREM', KEYS[4], '{}') call('ZADD', KEYS[4], 9999999999999, '{}', 9999999999999, '{unknown}')",
        missing.hold_id, stray.hold_id
    );
    plant(&world, sale, &lua).await;
    for report in [look(&world, sale).await, repair(&world, sale).await] {
        assert_found(&report, Kind::DeadlineMissing, "a", 2, &[missing.hold_id]);
        assert_found(&report, Kind::DeadlineStray, "b", 1, &[stray.hold_id]);
        assert_found(&report, Kind::DeadlineStray, "", 0, &[unknown]);
        assert_eq!((report.differences.len(), report.stranded), (3, 0));
    }
    assert_clean(&look(&world, sale).await);
    assert_eq!(world.books(sale, "a").await, [8, 2, 0, 0]);
    assert_eq!(world.hold(sale, missing.hold_id).await.state, HoldState::Held);
}

#[tokio::test]
async fn fenced_sale_is_not_compared() {
    let mut served = served().await;
    let sale = sale(&served.world).await;
    let ask = proto::ReconcileRequest { request_id: id(), sale_id: sale.to_string(), repair: true };
    let answer = served.admin.reconcile(ask.clone()).await.unwrap().into_inner();
    assert_eq!((answer.differences.len(), answer.epoch), (0, 1));
    served.world.lua("redis.call('FLUSHALL')", vec![]).await;
    assert_eq!(served.world.inventory.reconcile(sale, true).await, Err(Refusal::Fenced));
    assert_failure(&served.admin.reconcile(ask).await.unwrap_err(), Reason::StockFenced);
}

#[tokio::test]
async fn service_repairs_differences() {
    let mut served = served().await;
    let sale = sale(&served.world).await;
    let (hold, _) = ordered(&served.world, sale, "ada", "CONFIRMED", 60_000.0).await;
    let bare = placed(&served.world, sale, "bob", &[("a", 3)]).await;
    let lua = format!("call('ZREM', KEYS[5], '{0}') call('HDEL', KEYS[6], '{0}')", bare.hold_id);
    plant(&served.world, sale, &lua).await;
    let ask =
        proto::ReconcileRequest { request_id: id(), sale_id: sale.to_string(), repair: false };
    let answer = served.admin.reconcile(ask).await.unwrap().into_inner();
    let found = answer.differences.iter().find(|found| found.kind == "placed_without_order");
    let found = found.unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!((found.sku.as_str(), found.units, found.repaired), ("a", 3, false));
    assert_eq!(found.hold_ids, [bare.hold_id.to_string()]);
    assert!(!found.description.is_empty());
    assert_eq!((answer.oversold_units, answer.stranded_units), (0, 3));
    eventually("the hold is sold as its order is", async || {
        let sold = served.world.hold(sale, hold.hold_id).await.state == HoldState::Sold;
        sold.then_some(())
    })
    .await;
    eventually("what is stranded is measured", async || {
        let text = flashsale_telemetry::render_metrics();
        let shown = |name: &str, value: &str| {
            text.lines().any(|line| {
                line.starts_with(&format!("{name}{{"))
                    && line.contains(&sale.to_string())
                    && line.ends_with(value)
            })
        };
        let all = shown("flashsale_stranded_units", " 3")
            && shown("flashsale_oldest_expired_hold_seconds", " 0");
        all.then_some(())
    })
    .await;
}

/// A buyer who reserves, abandons, gives back, and is claimed and settled, a number of times.
async fn shop(world: &World, sale: Uuid, number: usize, mut rng: StdRng, rounds: usize) {
    let mut open: Vec<(Hold, Uuid)> = Vec::new();
    for round in 0..rounds {
        let buyer = format!("buyer-{number}-{}", round % 50);
        let asked = [("a", rng.random_range(1..=2)), ("b", rng.random_range(1..=2))];
        match rng.random_range(0..6) {
            0 => {
                held(world, sale, &buyer, &asked).await;
            }
            1 => {
                let hold = held(world, sale, &buyer, &asked[..1]).await;
                world.ask(&release(sale, &buyer, hold.hold_id)).await.unwrap();
            }
            2 | 3 => {
                let hold = placed(world, sale, &buyer, &asked).await;
                let order_id = record_order(world, sale, &hold, "PAYING", 0.0).await;
                settle(world, sale, &hold, Outcome::Claimed).await;
                open.push((hold, order_id));
            }
            _ if !open.is_empty() => {
                let (hold, order_id) = open.swap_remove(rng.random_range(0..open.len()));
                let paid = rng.random();
                end_order(world, sale, &hold, order_id, paid).await;
                let outcome = if paid { Outcome::Sold } else { Outcome::Released };
                settle(world, sale, &hold, outcome).await;
            }
            _ => {
                world.inventory.sweep(sale, 1, 10).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_consistent_sale_has_no_difference() {
    let mut rng = StdRng::seed_from_u64(seed());
    let world = world().await;
    let spec = SaleSpec { hold_ms: 400, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 100_000, 0, 1), ("b", 100_000, 0, 1)]).await;
    // More than a page has, so that pages are of different instants.
    for number in 0..1_200 {
        held(&world, sale, &format!("early-{number}"), &[("a", 1)]).await;
    }
    let done = std::cell::Cell::new(false);
    let compared = std::cell::Cell::new(0);
    let shops = async {
        // However slow the machine is, the sale is compared a few times while it is busy.
        while compared.get() < 3 {
            let shops: Vec<_> = (0..6)
                .map(|number| shop(&world, sale, number, StdRng::seed_from_u64(rng.random()), 250))
                .collect();
            futures::future::join_all(shops).await;
        }
        done.set(true);
    };
    let sweeps = async {
        while !done.get() {
            world.inventory.sweep(sale, 1, 50).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let comparisons = async {
        while !done.get() {
            let report = repair(&world, sale).await;
            assert_clean(&report);
            compared.set(compared.get() + 1);
        }
    };
    tokio::join!(comparisons, shops, sweeps);
    let report = look(&world, sale).await;
    assert_clean(&report);
    // A planted difference is found among all that.
    plant(&world, sale, "call('HINCRBY', KEYS[2], 's:b', 1) call('HINCRBY', KEYS[2], 'a:b', -1)")
        .await;
    let report = look(&world, sale).await;
    let kinds: HashSet<Kind> = report.differences.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, HashSet::from([Kind::BooksDoNotAddUp]));
    assert_found(&report, Kind::BooksDoNotAddUp, "b", 1, &[]);
}
