//! Lost stock is recomputed from the record, behind a marker in the order queue.

use std::time::Duration;

use flashsale_inventory::{
    app::Inventory,
    domain::{
        Content, HoldState, Line, Outcome, Refusal, Request, Retaken, Settled, Settlement,
        Straggler,
    },
    store::{Record, Servers},
};
use flashsale_queue::{ORDERS, publish_order};
use flashsale_record::SaleState;
use flashsale_testbed::{
    eventually,
    fixtures::{self, OrderSpec},
};
use futures::future::join_all;
use uuid::Uuid;

use crate::{
    books::assert_books_balance,
    claims::{Claims, order_message},
    world::{
        DETAILS, SaleSpec, World, good, inventory, lines, place, place_lines, release, reserve,
        world,
    },
};

/// A world with a queue whose markers are passed as by the claims.
struct Whole {
    world: World,
    claims: Claims,
}

async fn whole() -> Whole {
    let mut world = world().await;
    let claims = Claims::of(&mut world).await;
    Whole { world, claims }
}

/// Records an order as the claims do, from the request that placed it.
pub(crate) async fn record_order<R>(
    world: &World<R>,
    placing: &Request,
    hold_id: Uuid,
    state: &str,
    sku: &str,
    quantity: i64,
    admission: Option<&str>,
) -> Uuid {
    let order = OrderSpec {
        order_id: placing.key(),
        hold_id,
        admission_id: admission,
        request_id: placing.request_id,
        request_hash: &placing.hash(),
        state,
        total_minor: quantity,
        lines: vec![(sku, quantity, 1)],
        takes_units: !matches!(state, "DECLINED" | "CANCELLED"),
        ..OrderSpec::new(placing.sale_id, &placing.buyer_id)
    };
    fixtures::record_order(&world.pg.pool, &order).await.unwrap();
    order.order_id
}

pub(crate) async fn flush(world: &World) {
    world.lua("redis.call('FLUSHALL')", vec![]).await;
}

#[tokio::test]
async fn wiped_stock_is_rebuilt_whole() {
    let whole = whole().await;
    let world = &whole.world;
    let spec = SaleSpec { room: true, ..SaleSpec::default() };
    let sale = world.sale(spec, &[("a", 10, 3, 1), ("b", 5, 0, 1)]).await;
    let proof = good;
    // Ada reserved and then placed, Bob placed at once and has paid, Cem's order is cancelled, Dan
    // only filled a cart.
    let reserving = reserve(sale, "ada", &[("a", 2)]);
    let hold = world.ask_with(&reserving, &proof("ada-1")).await.unwrap().hold.hold_id;
    let ada = place(sale, "ada", hold);
    world.ask(&ada).await.unwrap();
    let bob = place_lines(sale, "bob", &[("a", 1)]);
    world.ask_with(&bob, &proof("bob-1")).await.unwrap();
    let cem = place_lines(sale, "cem", &[("b", 4)]);
    world.ask_with(&cem, &proof("cem-1")).await.unwrap();
    let dan = reserve(sale, "dan", &[("b", 1)]);
    let cart = world.ask_with(&dan, &proof("dan-1")).await.unwrap().hold.hold_id;
    record_order(world, &ada, hold, "PAYING", "a", 2, Some("ada-1")).await;
    record_order(world, &bob, bob.key(), "CONFIRMED", "a", 1, Some("bob-1")).await;
    record_order(world, &cem, cem.key(), "CANCELLED", "b", 4, Some("cem-1")).await;

    flush(world).await;
    assert_eq!(world.ask(&ada).await, Err(Refusal::Fenced));
    let rebuilt = world.inventory.rebuild(sale, false).await.unwrap();
    assert_eq!((rebuilt.epoch, rebuilt.rebuilt), (2, true));
    assert_eq!(world.books(sale, "a").await, [7, 0, 2, 1]);
    assert_eq!(world.books(sale, "b").await, [5, 0, 0, 0]);
    assert_books_balance(world, sale).await;

    for (request, state) in [
        (&ada, HoldState::Placed),
        (&bob, HoldState::Sold),
        (&cem, HoldState::Released),
        (&reserving, HoldState::Placed),
    ] {
        let answer = world.ask(request).await.unwrap();
        assert!(answer.replayed, "{request:?} was done again");
        assert_eq!(answer.hold.state, state, "{request:?}");
    }
    let other = Request { content: Content::Reserve(lines(&[("a", 1)])), ..reserving.clone() };
    assert_eq!(world.ask(&other).await, Err(Refusal::RequestReused));
    let refusal = Refusal::BuyerLimit { sku: "a".to_owned(), limit: 3, has: 2, requested: 2 };
    let more = reserve(sale, "ada", &[("a", 2)]);
    assert_eq!(world.ask_with(&more, &proof("ada-2")).await, Err(refusal));
    let again = world.ask_with(&reserve(sale, "bob", &[("b", 1)]), &proof("bob-1")).await;
    assert!(matches!(again, Err(Refusal::AdmissionSpent { .. })), "{again:?}");
    // The cart is lost with its epoch, and its admission is valid again.
    assert_eq!(world.ask(&place(sale, "dan", cart)).await, Err(Refusal::HoldUnknown));
    world.ask_with(&reserve(sale, "dan", &[("b", 1)]), &proof("dan-1")).await.unwrap();
    // A hold that is settled late, by an outcome from before, is settled once.
    let settled = world.inventory.settle(sale, &[(hold, Outcome::Sold)]).await.unwrap();
    assert_eq!(settled, [Settled::Done]);
    assert_eq!(world.books(sale, "a").await, [7, 0, 0, 3]);
}

/// Two rebuilders find an epoch closed. By the time the second one raises the next, the first has
/// opened it.
#[tokio::test]
async fn epoch_opened_since_is_not_raised_over() {
    let Whole { world, .. } = whole().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 3, 1)]).await;
    let pool = &world.pg.pool;
    let record = Record::new(pool.clone(), pool.clone());
    let servers = Servers::new(pool.clone(), pool.clone());
    let server = record.lookup(sale).await.unwrap().server;
    let raise = async |seen: (i64, bool), rebuilder: Uuid| {
        let raised =
            servers.raise(sale, rebuilder, Duration::from_secs(3), seen, &server, None).await;
        raised.unwrap().map(|(epoch, _)| epoch)
    };
    let first = Uuid::new_v4();
    assert_eq!(raise((1, true), first).await, Some(2));
    assert_eq!(record.lookup(sale).await.unwrap().epoch, Some((2, false)));
    assert!(record.end_rebuild(sale, first, &server, 2).await.unwrap());
    assert_eq!(raise((2, false), Uuid::new_v4()).await, None);
    assert_eq!(raise((2, true), Uuid::new_v4()).await, Some(3));
}

#[tokio::test]
async fn whole_stock_is_rebuilt_only_by_force() {
    let whole = whole().await;
    let sale = whole.world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let rebuilt = whole.world.inventory.rebuild(sale, false).await.unwrap();
    assert_eq!((rebuilt.epoch, rebuilt.rebuilt), (1, false));
    let rebuilt = whole.world.inventory.rebuild(sale, true).await.unwrap();
    assert_eq!((rebuilt.epoch, rebuilt.rebuilt), (2, true));
    whole.world.ask(&reserve(sale, "ada", &[("a", 10)])).await.unwrap();
}

#[tokio::test]
async fn rebuild_needs_queue_and_loaded_stock() {
    let world = world().await;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let refusal = world.inventory.rebuild(sale, true).await.unwrap_err();
    assert!(matches!(refusal, Refusal::StoreAway { store: "nats", .. }), "{refusal:?}");
    world.ask(&reserve(sale, "ada", &[("a", 1)])).await.unwrap();
    let spec = SaleSpec { state: "DRAFT", ..SaleSpec::default() };
    let draft = world.record_sale(spec, &[("a", 1, 0, 1)]).await;
    let refusal = Refusal::NotOpen { state: SaleState::Draft, window_ms: None };
    assert_eq!(world.inventory.rebuild(draft, false).await, Err(refusal));
    assert_eq!(world.inventory.rebuild(Uuid::new_v4(), true).await, Err(Refusal::SaleUnknown));
}

#[tokio::test]
async fn racing_rebuilders_leave_one_stock() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let bob = place_lines(sale, "bob", &[("a", 4)]);
    world.ask(&bob).await.unwrap();
    record_order(world, &bob, bob.key(), "CLAIMED", "a", 4, None).await;
    flush(world).await;
    let processes: Vec<Inventory> =
        (0..5).map(|_| inventory(&world.pg, &world.store, &world.queue)).collect();
    let rebuilt = join_all(processes.iter().map(|process| process.rebuild(sale, false))).await;
    assert!(rebuilt.iter().any(Result::is_ok), "{rebuilt:?}");
    for refused in rebuilt.into_iter().filter_map(Result::err) {
        assert_eq!(refused, Refusal::Fenced);
    }
    for process in &processes {
        let view = eventually("every process sells the rebuilt stock", async || {
            process.read(sale, &[]).await.ok()
        })
        .await;
        let books = &view.skus[0];
        assert_eq!((books.available, books.placed), (6, 4));
    }
    assert_books_balance(world, sale).await;
}

#[tokio::test]
async fn cut_off_rebuild_restarts_after_lease() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    flush(world).await;
    // The state that a rebuilder leaves if it dies after its first step.
    let lease = "UPDATE sale_stock SET epoch = 2, run_id = '', rebuild_owner = gen_random_uuid(), rebuild_until = now() + interval '1 second'";
    sqlx::query(lease).execute(&world.pg.pool).await.unwrap();
    assert_eq!(world.inventory.rebuild(sale, false).await, Err(Refusal::Fenced));
    let rebuilt =
        eventually("the lease is over", async || world.inventory.rebuild(sale, false).await.ok())
            .await;
    assert_eq!((rebuilt.epoch, rebuilt.rebuilt), (3, true));
    world.ask(&reserve(sale, "ada", &[("a", 10)])).await.unwrap();
}

#[tokio::test]
async fn rebuild_waits_for_claims_to_pass_marker() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    whole.claims.stop();
    flush(world).await;
    let rebuild = world.inventory.rebuild(sale, false);
    let order = async {
        eventually("the marker is in the queue", async || {
            let stream = world.jetstream().get_stream(ORDERS).await.ok()?;
            (stream.cached_info().state.messages == 1).then_some(())
        })
        .await;
        // An order accepted from the lost stock stands before the marker and is recorded first.
        let bob = place_lines(sale, "bob", &[("a", 4)]);
        record_order(world, &bob, bob.key(), "CLAIMED", "a", 4, None).await;
        let passed = "INSERT INTO stock_fences (sale_id, epoch) VALUES ($1, 2)";
        sqlx::query(passed).bind(sale).execute(&world.pg.pool).await.unwrap();
    };
    let (rebuilt, ()) = tokio::join!(rebuild, order);
    assert_eq!(rebuilt.unwrap().epoch, 2);
    assert_eq!(world.books(sale, "a").await, [6, 0, 4, 0]);
}

#[tokio::test]
async fn queued_order_keeps_units_over_rebuild() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    whole.claims.stop();
    let bob = place_lines(sale, "bob", &[("a", 4)]);
    let hold = world.ask(&bob).await.unwrap().hold;
    let (queue, patience) = (world.jetstream(), Duration::from_secs(2));
    publish_order(queue, &order_message(sale, &hold), patience).await.unwrap();
    flush(world).await;
    let claims = async {
        // Either the marker is in the queue, or the rebuild is done and waits for nothing.
        eventually("the rebuild is under way", async || {
            let stream = queue.get_stream(ORDERS).await.ok()?;
            let marked = stream.cached_info().state.messages == 2;
            (marked || world.inventory.read(sale, &[]).await.is_ok()).then_some(())
        })
        .await;
        Claims::read(world).abort_handle()
    };
    let (rebuilt, claims) = tokio::join!(world.inventory.rebuild(sale, false), claims);
    assert_eq!(rebuilt.unwrap().epoch, 2);
    assert_eq!(world.books(sale, "a").await, [6, 0, 4, 0]);
    let refusal = Refusal::SoldOut { sku: "a".to_owned(), available: 6, requested: 7 };
    assert_eq!(world.ask(&reserve(sale, "ada", &[("a", 7)])).await, Err(refusal));
    claims.abort();
}

pub(crate) fn straggler(placing: &Request, hold_id: Uuid, sku: &str, quantity: i64) -> Straggler {
    Straggler {
        hold_id,
        order_id: placing.key(),
        buyer_id: placing.buyer_id.clone(),
        admission_id: None,
        request_id: placing.request_id.to_string(),
        request_hash: placing.hash(),
        placed_ms: 1_790_000_000_000,
        lines: vec![(Line { sku: sku.to_owned(), quantity }, 1)],
        details: DETAILS.to_owned(),
    }
}

#[tokio::test]
async fn old_order_retakes_units_at_most_once() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 6, 1)]).await;
    let late = place_lines(sale, "ada", &[("a", 6)]);
    world.ask(&late).await.unwrap();
    flush(world).await;
    let taken = straggler(&late, late.key(), "a", 6);
    // Not while the stock is closed, and not in an epoch before the marker.
    let retake = |epoch, order: &Straggler| {
        let order = order.clone();
        async move { world.inventory.retake(sale, epoch, &[order]).await }
    };
    assert_eq!(retake(2, &taken).await, Err(Refusal::Fenced));
    world.inventory.rebuild(sale, false).await.unwrap();
    assert_eq!(retake(3, &taken).await, Err(Refusal::Fenced));
    assert_eq!(world.books(sale, "a").await, [10, 0, 0, 0]);
    for _ in 0..3 {
        assert_eq!(retake(2, &taken).await.unwrap(), (2, vec![Retaken::Taken]));
        assert_eq!(world.books(sale, "a").await, [4, 0, 6, 0]);
    }
    // The hold carries its order again, answers its request, and counts for its buyer.
    let answer = world.ask(&late).await.unwrap();
    assert!(answer.replayed && answer.hold.details == DETAILS, "{answer:?}");
    let refusal = Refusal::BuyerLimit { sku: "a".to_owned(), limit: 6, has: 6, requested: 1 };
    assert_eq!(world.ask(&reserve(sale, "ada", &[("a", 1)])).await, Err(refusal));
    // Units that are gone stay gone.
    let gone = place_lines(sale, "bob", &[("a", 5)]);
    let refused = retake(2, &straggler(&gone, gone.key(), "a", 5)).await.unwrap();
    assert_eq!(refused, (2, vec![Retaken::Refused]));
    // A cart that was refilled under the same request holds exactly these units.
    let cart = reserve(sale, "cem", &[("a", 2)]);
    let hold = world.ask(&cart).await.unwrap().hold.hold_id;
    let placing = place(sale, "cem", hold);
    let refilled = straggler(&placing, hold, "a", 2);
    assert_eq!(retake(2, &refilled).await.unwrap(), (2, vec![Retaken::Taken]));
    assert_eq!(world.books(sale, "a").await, [2, 0, 8, 0]);
    assert_books_balance(world, sale).await;
}

#[tokio::test]
async fn hold_shows_last_taking_of_units() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    // One order is recorded before the stock is lost, one is behind the marker, one had ended.
    let recorded = place_lines(sale, "ada", &[("a", 1)]);
    let late = place_lines(sale, "bob", &[("a", 2)]);
    let ended = place_lines(sale, "cem", &[("a", 3)]);
    for placing in [&recorded, &late, &ended] {
        world.ask(placing).await.unwrap();
    }
    record_order(world, &recorded, recorded.key(), "PAYING", "a", 1, None).await;
    record_order(world, &ended, ended.key(), "CANCELLED", "a", 3, None).await;
    sqlx::query("UPDATE orders SET placed_at = now() - interval '1 hour'")
        .execute(&world.pg.pool)
        .await
        .unwrap();
    flush(world).await;
    let now = "local time = redis.call('TIME') return time[1] * 1000 + math.floor(time[2] / 1000)";
    let before = world.lua(now, vec![]).await.as_i64().unwrap();
    world.inventory.rebuild(sale, false).await.unwrap();
    let between = world.lua(now, vec![]).await.as_i64().unwrap();
    let taken = straggler(&late, late.key(), "a", 2);
    let placed_ms = taken.placed_ms;
    assert_eq!(world.inventory.retake(sale, 2, &[taken]).await.unwrap(), (2, vec![Retaken::Taken]));
    let after = world.lua(now, vec![]).await.as_i64().unwrap();

    let holds = world.hash(sale, 2).await;
    let hold = |placing: &Request| -> serde_json::Value {
        serde_json::from_str(&holds[&placing.key().to_string()]).unwrap()
    };
    for (placing, from, until) in
        [(&recorded, before, between), (&ended, before, between), (&late, between, after)]
    {
        let hold = hold(placing);
        let taken_ms = hold["t"].as_i64().unwrap();
        assert!((from..=until).contains(&taken_ms), "{hold}: not from {from} to {until}");
        assert_eq!(hold["e"], 2, "{hold}");
    }
    assert_eq!(hold(&late)["p"], placed_ms);
    assert!(hold(&recorded)["p"].as_i64().unwrap() < before - 3_500_000);
    assert_books_balance(world, sale).await;
}

#[tokio::test]
async fn retaken_units_cost_what_the_sale_says() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1_999), ("b", 1, 0, 250)]).await;
    let late = place_lines(sale, "ada", &[("a", 2)]);
    let gone = place_lines(sale, "bob", &[("b", 3)]);
    world.ask(&late).await.unwrap();
    flush(world).await;
    world.inventory.rebuild(sale, false).await.unwrap();
    let orders = [straggler(&late, late.key(), "a", 2), straggler(&gone, gone.key(), "b", 3)];
    let retaken = world.inventory.retake(sale, 2, &orders).await.unwrap();
    assert_eq!(retaken, (2, vec![Retaken::Taken, Retaken::Refused]));
    let hold = world.ask(&late).await.unwrap().hold;
    assert_eq!((hold.currency.as_str(), hold.total_minor()), ("EUR", 2 * 1_999));
    let refused = world.ask(&gone).await.unwrap().hold;
    assert_eq!((refused.state, refused.total_minor()), (HoldState::Released, 3 * 250));
    assert_books_balance(world, sale).await;
}

#[tokio::test]
async fn retry_of_refused_order_takes_nothing() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let late = place_lines(sale, "ada", &[("a", 5)]);
    world.ask(&late).await.unwrap();
    flush(world).await;
    world.inventory.rebuild(sale, false).await.unwrap();
    let other = reserve(sale, "bob", &[("a", 10)]);
    let cart = world.ask(&other).await.unwrap().hold.hold_id;
    let order = straggler(&late, late.key(), "a", 5);
    let refused = world.inventory.retake(sale, 2, std::slice::from_ref(&order)).await.unwrap();
    assert_eq!(refused, (2, vec![Retaken::Refused]));
    world.ask(&release(sale, "bob", cart)).await.unwrap();
    // The record is about to end the order: it must not be placed meanwhile, although there are
    // units.
    let answer = world.ask(&late).await.unwrap();
    assert!(answer.replayed, "the order was placed again");
    assert_eq!(answer.hold.state, HoldState::Released);
    assert_eq!(world.books(sale, "a").await, [10, 0, 0, 0]);
    assert_books_balance(world, sale).await;
    // At a retry, as by a worker that died before it recorded the answer, there are units.
    let again = world.inventory.retake(sale, 2, &[order]).await.unwrap();
    assert_eq!(again, (2, vec![Retaken::Taken]));
    assert_eq!(world.books(sale, "a").await, [5, 0, 5, 0]);
    assert_books_balance(world, sale).await;
}

#[tokio::test]
async fn late_reservation_finds_retaken_hold() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let reserving = reserve(sale, "ada", &[("a", 3)]);
    let hold = world.ask(&reserving).await.unwrap().hold.hold_id;
    let placing = place(sale, "ada", hold);
    world.ask(&placing).await.unwrap();
    flush(world).await;
    world.inventory.rebuild(sale, false).await.unwrap();
    let late = [straggler(&placing, hold, "a", 3)];
    let retaken = world.inventory.retake(sale, 2, &late).await.unwrap();
    assert_eq!(retaken, (2, vec![Retaken::Taken]));
    let answer = world.ask(&reserving).await.unwrap();
    assert!(answer.replayed, "the units were taken twice");
    assert_eq!(answer.hold.state, HoldState::Placed);
    let other = Request { content: Content::Reserve(lines(&[("a", 1)])), ..reserving };
    assert_eq!(world.ask(&other).await, Err(Refusal::RequestReused));
    assert_eq!(world.books(sale, "a").await, [7, 0, 3, 0]);
    assert_books_balance(world, sale).await;
}

#[tokio::test]
async fn refilled_cart_is_not_the_orders() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let cart = reserve(sale, "ada", &[("a", 1)]);
    let hold = world.ask(&cart).await.unwrap().hold.hold_id;
    let placing = place(sale, "ada", hold);
    let late = [straggler(&placing, hold, "a", 3)];
    let retaken = world.inventory.retake(sale, 1, &late).await.unwrap();
    assert_eq!(retaken, (1, vec![Retaken::Refused]));
    assert_eq!(world.books(sale, "a").await, [9, 1, 0, 0]);
}

#[tokio::test]
async fn ended_order_leaves_hold_of_another() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let hold = world.ask(&reserve(sale, "ada", &[("a", 3)])).await.unwrap().hold.hold_id;
    let settle = async |outcome, order_id| {
        let settlement = Settlement { hold_id: hold, outcome, order_id };
        world.inventory.settle(sale, &[settlement]).await.unwrap()[0]
    };
    // A cart has no order yet.
    assert_eq!(settle(Outcome::Released, Some(Uuid::new_v4())).await, Settled::Unknown);
    let placing = place(sale, "ada", hold);
    world.ask(&placing).await.unwrap();
    for outcome in [Outcome::Released, Outcome::Sold, Outcome::Claimed] {
        assert_eq!(settle(outcome, Some(Uuid::new_v4())).await, Settled::Unknown);
    }
    assert_eq!(world.books(sale, "a").await, [7, 0, 3, 0]);
    assert_eq!(settle(Outcome::Sold, Some(placing.key())).await, Settled::Done);
    assert_eq!(settle(Outcome::Sold, Some(placing.key())).await, Settled::Already);
}

#[tokio::test]
async fn shared_hold_is_rebuilt_for_order_with_units() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let hold = Uuid::new_v4();
    let (ended, live) = (place(sale, "ada", hold), place(sale, "ada", hold));
    record_order(world, &live, hold, "CLAIMED", "a", 2, None).await;
    record_order(world, &ended, hold, "CANCELLED", "a", 2, None).await;
    flush(world).await;
    world.inventory.rebuild(sale, false).await.unwrap();
    assert_eq!(world.books(sale, "a").await, [8, 0, 2, 0]);
    let settle = |outcome, order: &Request| {
        [Settlement { hold_id: hold, outcome, order_id: Some(order.key()) }]
    };
    let late = world.inventory.settle(sale, &settle(Outcome::Released, &ended)).await.unwrap();
    assert_eq!(late, [Settled::Unknown]);
    let report = world.inventory.reconcile(sale, false).await.unwrap();
    assert!(report.differences.is_empty(), "{:?}", report.differences);
    let sold = world.inventory.settle(sale, &settle(Outcome::Sold, &live)).await.unwrap();
    assert_eq!(sold, [Settled::Done]);
    assert_books_balance(world, sale).await;
}

#[tokio::test]
async fn stock_under_rebuild_is_not_loaded() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    // Its order is in the queue and not recorded yet.
    world.ask(&place_lines(sale, "ada", &[("a", 4)])).await.unwrap();
    flush(world).await;
    let begun = "UPDATE sale_stock SET epoch = 2, run_id = '', rebuild_owner = gen_random_uuid(), rebuild_until = now()";
    sqlx::query(begun).execute(&world.pg.pool).await.unwrap();
    assert_eq!(world.inventory.load(sale, Uuid::new_v4()).await, Err(Refusal::Fenced));
    assert_eq!(world.inventory.rebuild(sale, false).await.unwrap().epoch, 3);
}

#[tokio::test]
async fn lost_marker_is_published_again() {
    let whole = whole().await;
    let world = &whole.world;
    let sale = world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    whole.claims.stop();
    flush(world).await;
    let rebuild = world.inventory.rebuild(sale, false);
    let queue = async {
        let stream = world.jetstream().get_stream(ORDERS).await.unwrap();
        let last = async || stream.get_info().await.unwrap().state.last_sequence;
        eventually("the marker is in the queue", async || (last().await == 1).then_some(())).await;
        // Created again, as by a server that has lost its disk.
        world.jetstream().delete_stream(ORDERS).await.unwrap();
        let config = whole.claims.config.clone();
        flashsale_queue::ensure_orders_stream(world.jetstream(), &config).await.unwrap();
        Claims::read(world).abort_handle()
    };
    let (rebuilt, claims) = tokio::join!(rebuild, queue);
    claims.abort();
    assert_eq!(rebuilt.unwrap().epoch, 2);
}

#[tokio::test]
async fn service_reopens_sale_after_redis_restart() {
    let mut whole = whole().await;
    let sale = whole.world.sale(SaleSpec::default(), &[("a", 10, 0, 1)]).await;
    let bob = place_lines(sale, "bob", &[("a", 4)]);
    whole.world.ask(&bob).await.unwrap();
    record_order(&whole.world, &bob, bob.key(), "CLAIMED", "a", 4, None).await;
    let served = crate::service::serve_world(&whole.world, &whole.claims.nats.url).await;
    whole.world.redis.server.restart().await.unwrap();
    let began = std::time::Instant::now();
    let world = &whole.world;
    let view = eventually("the sale is open again", async || {
        world.inventory.read(sale, &[]).await.ok().filter(|view| view.epoch == 2)
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert_eq!((view.skus[0].available, view.skus[0].placed), (6, 4));
    drop(served);
}
