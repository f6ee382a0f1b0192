//! Placing from holds that do not exist, as after a rebuild of the stock.

use flashsale_errors::Reason;
use flashsale_proto::checkout::{OrderState, PlaceOrderRequest};
use flashsale_testbed::assert_failure;
use uuid::Uuid;

use crate::{
    admission_control::claimed_up_to,
    world::{SaleSpec, World, begin, eur, id, lines, place, tee, world},
};

/// An order of one tee from a hold that does not exist.
fn lost(sale: Uuid, buyer_id: &str) -> PlaceOrderRequest {
    PlaceOrderRequest { hold_id: id(), ..tee(sale, buyer_id) }
}

async fn held(world: &World, sale: Uuid, tees: i64) -> String {
    let ask = begin(sale, "ada", &[("tee", tees)], "");
    world.checkout.clone().begin_checkout(ask).await.unwrap().into_inner().hold_id
}

/// Records that the claims have passed a rebuild of the sale's stock.
async fn rebuilt(world: &World, sale: Uuid) {
    sqlx::query("INSERT INTO stock_fences (sale_id, epoch) VALUES ($1, 2)")
        .bind(sale)
        .execute(&world.pg.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn lines_of_lost_hold_are_reserved_again_once() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let ask = lost(sale, "ada");
    let order = world.order(&ask).await;
    assert_ne!(order.hold_id, ask.hold_id);
    assert_eq!(world.books(sale).await, [9, 0, 1, 0]);
    let before = world.snapshot().await;
    for _ in 0..3 {
        assert_eq!(world.order(&ask).await, order);
    }
    // The request id binds the lines and the hold that they replace.
    let other_hold = PlaceOrderRequest { hold_id: id(), ..ask.clone() };
    let other_lines = PlaceOrderRequest { lines: lines(&[("tee", 2)]), ..ask.clone() };
    let no_hold = PlaceOrderRequest { hold_id: String::new(), ..ask.clone() };
    for other in [other_hold, other_lines, no_hold] {
        assert_failure(&world.place(&other).await.unwrap_err(), Reason::RequestIdReused);
    }
    assert_eq!(world.snapshot().await, before);
    assert_eq!(world.queued().await.len(), 1);
}

#[tokio::test]
async fn a_lost_hold_that_costs_more_is_not_taken_again() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    // As the sale's prices were when it was held.
    let ask = PlaceOrderRequest { expected_total: eur(1_499), ..lost(sale, "ada") };
    let before = world.snapshot().await;
    let failure = assert_failure(&world.place(&ask).await.unwrap_err(), Reason::PriceChanged);
    let total = failure.metadata().get("total_minor");
    assert_eq!(total.map(String::as_str), Some("1999"));
    assert_eq!(world.snapshot().await, before);

    let agreed = PlaceOrderRequest { expected_total: eur(1_999), ..ask };
    let order = world.order(&agreed).await;
    assert_eq!(order.total, eur(1_999));
    assert_eq!(world.books(sale).await, [9, 0, 1, 0]);
    assert_eq!(world.order(&agreed).await, order);
    let other = PlaceOrderRequest { expected_total: eur(1_499), ..agreed };
    assert_failure(&world.place(&other).await.unwrap_err(), Reason::RequestIdReused);
    assert_eq!(world.queued().await.len(), 1);
}

#[tokio::test]
async fn only_sold_out_becomes_hold_lost() {
    let world = world(|_| {}).await;
    let sale =
        world.sale_with(SaleSpec::default(), &[("tee", 5, 2, 1_999), ("cap", 1, 0, 990)]).await;
    let ended = SaleSpec { state: "ENDED", ..SaleSpec::default() };
    let ended = world.sale_with(ended, &[("tee", 5, 2, 1_999)]).await;
    let before = world.snapshot().await;
    for (asked, reason) in [
        (PlaceOrderRequest { lines: lines(&[("cap", 2)]), ..lost(sale, "ada") }, Reason::HoldLost),
        (
            PlaceOrderRequest { lines: lines(&[("tee", 3)]), ..lost(sale, "ada") },
            Reason::BuyerLimit,
        ),
        (
            PlaceOrderRequest { lines: lines(&[("hat", 1)]), ..lost(sale, "ada") },
            Reason::SkuNotFound,
        ),
        (lost(ended, "ada"), Reason::SaleNotOpen),
    ] {
        assert_failure(&world.place(&asked).await.unwrap_err(), reason);
    }
    assert_eq!(world.snapshot().await, before);
}

#[tokio::test]
async fn lines_must_match_existing_hold() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let hold_id = held(&world, sale, 2).await;
    let ask = PlaceOrderRequest { hold_id: hold_id.clone(), ..place(sale, "ada", &[("tee", 1)]) };
    let before = world.snapshot().await;
    let failure = assert_failure(&world.place(&ask).await.unwrap_err(), Reason::ArgumentInvalid);
    assert_eq!(failure.violations()[0].field, "lines");
    assert_eq!(world.snapshot().await, before);

    // However they are split, the hold is placed: with or without lines it is the same request.
    let ask = PlaceOrderRequest { lines: lines(&[("tee", 1), ("tee", 1)]), ..ask };
    let order = world.order(&ask).await;
    assert_eq!(order.hold_id, hold_id);
    assert_eq!(world.books(sale).await, [8, 0, 2, 0]);
    assert_eq!(world.order(&ask).await, order);
    assert_eq!(world.order(&PlaceOrderRequest { lines: vec![], ..ask }).await, order);
    assert_eq!(world.queued().await.len(), 1);
}

#[tokio::test]
async fn hold_is_lost_only_after_rebuild() {
    let world = world(|_| {}).await;
    let (sale, other) = (world.sale(10).await, world.sale(10).await);
    rebuilt(&world, sale).await;
    let bare = |sale| PlaceOrderRequest { lines: vec![], ..lost(sale, "ada") };
    assert_failure(&world.place(&bare(sale)).await.unwrap_err(), Reason::HoldLost);
    assert_failure(&world.place(&bare(other)).await.unwrap_err(), Reason::HoldNotFound);
    // An existing hold is placed, with or without a rebuild.
    let hold_id = held(&world, sale, 1).await;
    let order = world.order(&PlaceOrderRequest { hold_id, ..bare(sale) }).await;
    assert_eq!(order.state(), OrderState::Accepted);
}

/// The rebuilt stock does not count orders published behind its marker, and the record has them
/// only once they are claimed.
#[tokio::test]
async fn order_is_unknown_only_after_claims_pass() {
    let world = world(|_| {}).await;
    let (sale, other) = (world.sale(10).await, world.sale(10).await);
    world.order(&tee(sale, "ada")).await;
    rebuilt(&world, sale).await;
    assert_failure(&world.get(sale, &id()).await.unwrap_err(), Reason::StockFenced);
    assert_failure(&world.get(other, &id()).await.unwrap_err(), Reason::OrderNotFound);
    claimed_up_to(&world, 1).await;
    assert_failure(&world.get(sale, &id()).await.unwrap_err(), Reason::OrderNotFound);
}
