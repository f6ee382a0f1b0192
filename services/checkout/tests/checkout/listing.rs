//! Lists of recorded orders, page by page.

use std::{collections::BTreeMap, time::Duration};

use flashsale_proto::checkout::{ListOrdersRequest, ListOrdersResponse, Order, OrderState};
use flashsale_queue::{Line, OrderDetails, OrderMessage};
use flashsale_testbed::fixtures::{
    OrderSpec, PaymentSpec, RefundSpec, record_orders, record_payment, record_refund,
};
use prost_types::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::world::{World, watch, world};

/// When the first order of the tests is placed.
const BEGIN_MS: i64 = 1_795_000_000_000;

fn message(sale: Uuid, buyer_id: &str, placed_at_ms: i64) -> OrderMessage {
    OrderMessage {
        order_id: Uuid::new_v4(),
        sale_id: sale,
        buyer_id: buyer_id.to_owned(),
        hold_id: Uuid::new_v4(),
        epoch: 1,
        admission_id: None,
        request_id: Uuid::new_v4(),
        request_hash: "00ff".to_owned(),
        lines: [("cap", 2, 990), ("tee", 1, 1_999)]
            .map(|(sku, quantity, unit_price_minor)| Line {
                sku: sku.to_owned(),
                quantity,
                unit_price_minor,
                price_revision: 1,
            })
            .into(),
        currency: "EUR".to_owned(),
        total_minor: 3_979,
        placed_at_ms,
        details: OrderDetails {
            email: "ada@example.org".to_owned(),
            contact_name: "Ada Lovelace".to_owned(),
            payment_method: "pm_card_visa".to_owned(),
            ..OrderDetails::default()
        },
    }
}

async fn page(world: &World, ask: &ListOrdersRequest) -> ListOrdersResponse {
    world.checkout.clone().list_orders(ask.clone()).await.unwrap().into_inner()
}

/// Reads all pages; `between` runs after each.
async fn pages(
    world: &World,
    mut ask: ListOrdersRequest,
    mut between: impl AsyncFnMut(usize),
) -> Vec<Vec<Order>> {
    let mut pages = Vec::new();
    loop {
        let answer = page(world, &ask).await;
        pages.push(answer.orders);
        assert!(pages.len() < 100, "the list has no end");
        if answer.next_page_token.is_empty() {
            return pages;
        }
        ask.page_token = answer.next_page_token;
        between(pages.len()).await;
    }
}

fn all(sale: Uuid, page_size: i32) -> ListOrdersRequest {
    ListOrdersRequest { sale_id: sale.to_string(), page_size, ..ListOrdersRequest::default() }
}

fn ids(orders: &[Order]) -> Vec<Uuid> {
    orders.iter().map(|order| order.order_id.parse().unwrap()).collect()
}

/// Newest first; of those placed at the same time the greater id first.
fn newest_first(orders: &[OrderMessage]) -> Vec<Uuid> {
    let mut orders: Vec<_> = orders.iter().map(|o| (o.placed_at_ms, o.order_id)).collect();
    orders.sort_unstable();
    orders.into_iter().rev().map(|(_, order_id)| order_id).collect()
}

#[tokio::test]
async fn pages_are_stable_under_inserts() {
    let world = world(|_| {}).await;
    let (sale, other) = (world.sale(10).await, world.sale(10).await);
    // Three were placed in each millisecond: the id decides between them.
    let orders: Vec<_> = (0..30).map(|n| message(sale, "ada", BEGIN_MS + n / 3)).collect();
    for order in &orders {
        world.record(order, "CLAIMED").await;
    }
    world.record(&message(other, "ada", BEGIN_MS), "CLAIMED").await;

    let still = pages(&world, all(sale, 7), async |_| {}).await;
    assert_eq!(still.iter().map(Vec::len).collect::<Vec<_>>(), [7, 7, 7, 7, 2]);
    assert_eq!(ids(&still.concat()), newest_first(&orders));
    // A full last page is the last.
    let even = pages(&world, all(sale, 10), async |_| {}).await;
    assert_eq!(even.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10]);

    let moving = pages(&world, all(sale, 7), async |number| {
        let later = BEGIN_MS + 1_000 + i64::try_from(number).unwrap();
        world.record(&message(sale, "late", later), "CLAIMED").await;
    })
    .await;
    assert_eq!(ids(&moving.concat()), newest_first(&orders));
    // A token leads to the same page, whenever it is used.
    let first = page(&world, &all(sale, 7)).await;
    let ask = ListOrdersRequest { page_token: first.next_page_token, ..all(sale, 7) };
    let second = page(&world, &ask).await;
    world.record(&message(sale, "late", BEGIN_MS + 2_000), "CLAIMED").await;
    assert_eq!(page(&world, &ask).await, second);
}

#[tokio::test]
async fn lists_filter_by_buyer_and_state() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let mut expected = Vec::new();
    for number in 0..12 {
        let buyer = if number % 2 == 0 { "ada" } else { "bob" };
        let state = if number % 3 == 0 { "CONFIRMED" } else { "PAYING" };
        let order = message(sale, buyer, BEGIN_MS + number);
        world.record(&order, state).await;
        expected.push((order, buyer, state));
    }
    for (buyer_id, state, name) in [
        ("", OrderState::Unspecified, ""),
        ("ada", OrderState::Unspecified, ""),
        ("", OrderState::Confirmed, "CONFIRMED"),
        ("bob", OrderState::Paying, "PAYING"),
        ("bob", OrderState::Refunded, "REFUNDED"),
        ("nobody", OrderState::Unspecified, ""),
        // A filter is not a pattern.
        ("%", OrderState::Unspecified, ""),
    ] {
        let ask = ListOrdersRequest {
            buyer_id: buyer_id.to_owned(),
            state: state.into(),
            ..all(sale, 2)
        };
        let found = pages(&world, ask, async |_| {}).await.concat();
        let matching: Vec<_> = expected
            .iter()
            .filter(|(_, buyer, _)| buyer_id.is_empty() || *buyer == buyer_id)
            .filter(|(_, _, state)| name.is_empty() || *state == name)
            .map(|(order, _, _)| order.clone())
            .collect();
        assert_eq!(ids(&found), newest_first(&matching), "{buyer_id:?} {name:?}");
    }
    let nowhere = page(&world, &all(Uuid::new_v4(), 2)).await;
    assert_eq!(nowhere, ListOrdersResponse::default());
}

#[tokio::test]
async fn page_size_defaults_to_50_and_stops_at_500() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let now = OffsetDateTime::now_utc();
    let placed = |number| Some(now - Duration::from_micros(number));
    let orders: Vec<_> = (0..501)
        .map(|number| OrderSpec { placed_at: placed(number), ..OrderSpec::new(sale, "ada") })
        .collect();
    record_orders(&world.pg.pool, &orders).await.unwrap();
    assert_eq!(page(&world, &all(sale, 0)).await.orders.len(), 50);
    for size in [500, 501, i32::MAX] {
        let first = page(&world, &all(sale, size)).await;
        assert_eq!(first.orders.len(), 500);
        // Tokens have the precision of the record: no order is lost between two microseconds.
        let ask = ListOrdersRequest { page_token: first.next_page_token, ..all(sale, size) };
        let rest = page(&world, &ask).await;
        assert_eq!((rest.orders.len(), rest.next_page_token.as_str()), (1, ""));
    }
}

#[tokio::test]
async fn recorded_order_is_read_completely() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let recorded = message(sale, "ada", BEGIN_MS);
    world.record(&recorded, "DECLINED").await;
    let set = "end_reason = 'card_declined', cancel_requested_at = now()";
    let order = world.get(sale, &recorded.order_id.to_string()).await.unwrap();
    assert!(order.end_reason.is_empty() && !order.cancel_requested);
    world.change(&order, set).await;
    let order = world.get(sale, &recorded.order_id.to_string()).await.unwrap();
    assert_eq!((order.end_reason.as_str(), order.cancel_requested), ("card_declined", true));
    assert_eq!(order.hold_id, recorded.hold_id.to_string());
    let total = order.total.clone().unwrap();
    assert_eq!((total.currency_code.as_str(), total.units, total.nanos), ("EUR", 39, 790_000_000));
    let lines: Vec<_> = order
        .lines
        .iter()
        .map(|line| (line.sku.as_str(), line.quantity, line.unit_price.as_ref().unwrap().units))
        .collect();
    assert_eq!(lines, [("cap", 2, 9), ("tee", 1, 19)]);
    let placed = order.place_time.unwrap();
    assert_eq!((placed.seconds, placed.nanos), (BEGIN_MS / 1_000, 0));
    assert_ne!(order.update_time, Some(placed));
    assert_eq!(page(&world, &all(sale, 0)).await.orders, [order]);
}

#[tokio::test]
async fn orders_name_the_revisions_of_their_prices() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let mut placed = message(sale, "ada", BEGIN_MS);
    placed.lines[1].price_revision = 3;
    world.record(&placed, "CLAIMED").await;
    let parked = OrderMessage { order_id: Uuid::new_v4(), ..placed.clone() };
    world.park(&parked).await;

    let got = world.get(sale, &placed.order_id.to_string()).await.unwrap();
    let waiting = world.get(sale, &parked.order_id.to_string()).await.unwrap();
    let mut changes = world.checkout.clone().watch_order(watch(&got)).await.unwrap().into_inner();
    let watched = changes.message().await.unwrap().unwrap().order.unwrap();
    let listed = page(&world, &all(sale, 10)).await.orders;
    let changed = page(&world, &since(sale, BEGINNING, 10)).await.orders;
    assert_eq!((listed.len(), changed.len()), (1, 1));
    for order in [vec![got, waiting, watched], listed, changed].concat() {
        let lines = order.lines.iter().map(|line| (line.sku.as_str(), line.price_revision));
        assert_eq!(lines.collect::<Vec<_>>(), [("cap", 1), ("tee", 3)]);
    }
}

/// What changed after a time.
fn since(sale: Uuid, updated_after: Timestamp, page_size: i32) -> ListOrdersRequest {
    ListOrdersRequest { updated_after: Some(updated_after), ..all(sale, page_size) }
}

/// A time before every order.
const BEGINNING: Timestamp = Timestamp { seconds: 0, nanos: 0 };

/// Changes an order in a transaction of the caller's, as the worker does.
async fn change_on(connection: &mut PgConnection, order_id: Uuid, end_reason: &str) {
    let statement =
        "UPDATE orders SET end_reason = $2, updated_at = order_change_time() WHERE order_id = $1";
    sqlx::query(statement).bind(order_id).bind(end_reason).execute(connection).await.unwrap();
}

#[tokio::test]
async fn changes_are_listed_oldest_first() {
    let world = world(|_| {}).await;
    let (sale, other) = (world.sale(10).await, world.sale(10).await);
    let orders: Vec<_> = (0..9)
        .map(|n| message(sale, if n % 2 == 0 { "ada" } else { "bob" }, BEGIN_MS - n))
        .collect();
    for order in &orders {
        world.record(order, "CLAIMED").await;
    }
    world.record(&message(other, "ada", BEGIN_MS), "CLAIMED").await;
    let id = |index: usize| orders[index].order_id;
    for index in [4, 0, 7] {
        let order = world.get(sale, &id(index).to_string()).await.unwrap();
        world.change(&order, "state = 'CONFIRMED'").await;
    }

    let found = pages(&world, since(sale, BEGINNING, 2), async |_| {}).await;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 2, 1]);
    let found = found.concat();
    assert_eq!(ids(&found), [1, 2, 3, 5, 6, 8, 4, 0, 7].map(id));
    let times: Vec<_> = found.iter().map(|order| order.update_time.unwrap()).collect();
    assert!(times.is_sorted_by_key(|time| (time.seconds, time.nanos)), "{times:?}");

    for (buyer_id, state, expected) in [
        ("ada", OrderState::Unspecified, &[2, 6, 8, 4, 0][..]),
        ("", OrderState::Confirmed, &[4, 0, 7]),
        ("bob", OrderState::Confirmed, &[7]),
        ("bob", OrderState::Refunded, &[]),
    ] {
        let ask = ListOrdersRequest {
            buyer_id: buyer_id.to_owned(),
            state: state.into(),
            ..since(sale, BEGINNING, 2)
        };
        let found = pages(&world, ask, async |_| {}).await.concat();
        let expected: Vec<Uuid> = expected.iter().map(|index| id(*index)).collect();
        assert_eq!(ids(&found), expected, "{buyer_id:?} {state:?}");
    }

    // From the middle, from the end, and again after one more change.
    assert_eq!(page(&world, &since(sale, times[6], 0)).await.orders, found[7..]);
    let end = times[8];
    assert_eq!(page(&world, &since(sale, end, 0)).await, ListOrdersResponse::default());
    world.change(&found[1], "state = 'DECLINED'").await;
    let changed = page(&world, &since(sale, end, 0)).await.orders;
    assert_eq!(ids(&changed), [id(2)]);
    assert_eq!(changed[0].state(), OrderState::Declined);
}

#[tokio::test]
async fn a_change_waits_for_older_ones_to_commit() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let (slow, fast) = (message(sale, "slow", BEGIN_MS), message(sale, "fast", BEGIN_MS));
    for order in [&slow, &fast] {
        world.record(order, "PAYING").await;
    }
    let ask =
        ListOrdersRequest { state: OrderState::Confirmed.into(), ..since(sale, BEGINNING, 0) };
    let mut open = world.pg.pool.begin().await.unwrap();
    sqlx::query("UPDATE orders SET state = 'CONFIRMED', updated_at = order_change_time() WHERE order_id = $1")
        .bind(slow.order_id)
        .execute(&mut *open)
        .await
        .unwrap();
    let order = world.get(sale, &fast.order_id.to_string()).await.unwrap();
    world.change(&order, "state = 'CONFIRMED'").await;
    assert_eq!(page(&world, &ask).await, ListOrdersResponse::default());
    open.commit().await.unwrap();
    assert_eq!(ids(&page(&world, &ask).await.orders), [slow.order_id, fast.order_id]);

    // What was rolled back holds nothing up either.
    let mut open = world.pg.pool.begin().await.unwrap();
    change_on(&mut open, slow.order_id, "never").await;
    open.rollback().await.unwrap();
    assert_eq!(page(&world, &ask).await.orders.len(), 2);
}

/// Transactions change orders and commit in any order, while a shop polls.
#[tokio::test]
async fn a_shop_that_polls_misses_no_change() {
    let seed: u64 =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let orders: Vec<_> = (0..40).map(|n| message(sale, "ada", BEGIN_MS + n)).collect();
    for order in &orders {
        world.record(order, "PAYING").await;
    }
    // The orders of each open transaction, which no other one may change.
    let mut open = Vec::new();
    let mut free: Vec<Uuid> = orders.iter().map(|order| order.order_id).collect();
    let mut known = BTreeMap::new();
    let (mut after, mut polls) = (BEGINNING, 0);
    for step in 0..400 {
        match rng.random_range(0..4) {
            0 if open.len() < 5 => open.push((world.pg.pool.begin().await.unwrap(), Vec::new())),
            0 | 1 if !open.is_empty() => {
                let (transaction, changed): (sqlx::Transaction<'_, _>, Vec<Uuid>) =
                    open.swap_remove(rng.random_range(0..open.len()));
                transaction.commit().await.unwrap();
                free.extend(changed);
            }
            2 if !open.is_empty() && !free.is_empty() => {
                let at = rng.random_range(0..open.len());
                let (transaction, changed) = &mut open[at];
                let order_id = free.swap_remove(rng.random_range(0..free.len()));
                change_on(transaction, order_id, &format!("change-{step}")).await;
                changed.push(order_id);
            }
            _ => {
                poll(&world, sale, &mut after, &mut known).await;
                polls += 1;
            }
        }
    }
    for (transaction, _) in open {
        transaction.commit().await.unwrap();
    }
    poll(&world, sale, &mut after, &mut known).await;
    let recorded: Vec<(Uuid, Option<String>)> =
        sqlx::query_as("SELECT order_id, end_reason FROM orders WHERE sale_id = $1")
            .bind(sale)
            .fetch_all(&world.pg.pool)
            .await
            .unwrap();
    let recorded: BTreeMap<Uuid, String> =
        recorded.into_iter().map(|(id, reason)| (id, reason.unwrap_or_default())).collect();
    assert!(polls > 20 && recorded.values().any(|reason| !reason.is_empty()), "nothing happened");
    assert_eq!(known, recorded);
}

/// Reads all that has changed since `after`, and moves it to the last of these changes.
async fn poll(
    world: &World,
    sale: Uuid,
    after: &mut Timestamp,
    known: &mut BTreeMap<Uuid, String>,
) {
    for order in pages(world, since(sale, *after, 7), async |_| {}).await.concat() {
        *after = order.update_time.unwrap();
        known.insert(order.order_id.parse().unwrap(), order.end_reason);
    }
}

#[tokio::test]
async fn money_that_is_back_is_shown() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let recorded = message(sale, "ada", BEGIN_MS);
    world.record(&recorded, "CONFIRMED").await;
    let order_id = recorded.order_id;
    let payment = PaymentSpec {
        order_id,
        sale_id: sale,
        state: "SUCCEEDED",
        currency: "EUR",
        amount_minor: recorded.total_minor,
        payment_method: "pm_card_visa",
        decline_code: None,
    };
    record_payment(&world.pg.pool, payment).await.unwrap();
    let [one, other] = [1, 2].map(Uuid::from_u128);
    for (refund_id, state, amount_minor, back) in [
        (one, "DUE", 1_050, None),
        (one, "PENDING", 1_050, None),
        (one, "DONE", 1_050, Some((10, 500_000_000))),
        (other, "DONE", 2_929, Some((39, 790_000_000))),
        (other, "FAILED", 2_929, Some((10, 500_000_000))),
    ] {
        let refund = RefundSpec { refund_id, order_id, state, amount_minor };
        record_refund(&world.pg.pool, refund).await.unwrap();
        let read = world.get(sale, &order_id.to_string()).await.unwrap();
        let listed = page(&world, &all(sale, 0)).await.orders.remove(0);
        let mut watched = world.checkout.clone().watch_order(watch(&read)).await.unwrap();
        let watched = watched.get_mut().message().await.unwrap().unwrap().order.unwrap();
        for (call, order) in [("GetOrder", read), ("ListOrders", listed), ("WatchOrder", watched)] {
            let refunded = order.refunded.as_ref().map(|money| (money.units, money.nanos));
            assert_eq!(refunded, back, "{call}, {refund_id} {state}");
            assert_eq!(order.total.unwrap().units, 39, "{call}");
        }
    }
}
