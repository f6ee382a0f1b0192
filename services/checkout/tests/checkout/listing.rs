//! Lists of recorded orders, page by page.

use std::time::Duration;

use flashsale_proto::checkout::{ListOrdersRequest, ListOrdersResponse, Order, OrderState};
use flashsale_queue::{Line, OrderDetails, OrderMessage};
use flashsale_testbed::fixtures::{OrderSpec, record_orders};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::world::{World, world};

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
