//! The transactions of parked orders: what they write, and what they wait for.

use std::time::Duration;

use flashsale_order_worker::{
    domain::{Answers, Kind, Retaken},
    store::{
        claims::claim,
        outbox,
        parked::{DueSale, ParkedOrder, due_sales, lease, put_off, read},
        parked_claims::record,
    },
};
use flashsale_queue::{ORDERS, OrderMessage};
use uuid::Uuid;

use crate::shop::{CANCELLED, NEXT, REVIEW, Shop, batch, cancel, done, place};

/// A sale of 10 A past the marker of its first rebuild, with these orders parked behind it.
async fn past_a_marker(units: &[i64]) -> (Shop, Vec<OrderMessage>) {
    let shop = Shop::open(&[("A", 10)]).await;
    shop.begin_epoch(NEXT).await;
    let orders: Vec<_> = units.iter().map(|units| shop.order(&[("A", *units)])).collect();
    let mut messages = vec![shop.marker(NEXT)];
    messages.extend(orders.iter().map(place));
    shop.claim(&messages).await;
    assert_eq!(shop.parked().await, ids(&orders));
    (shop, orders)
}

fn ids(orders: &[OrderMessage]) -> Vec<Uuid> {
    orders.iter().map(|order| order.order_id).collect()
}

/// The parked orders of the sale, taken as the task takes them.
async fn taken(shop: &Shop) -> Vec<ParkedOrder> {
    let sale = DueSale { sale_id: shop.sale, marker_ahead: true, passed: Some(NEXT) };
    let rows = lease(shop.record(), sale, 100, Duration::from_secs(20)).await.unwrap();
    rows.iter().map(|row| read(row).unwrap()).collect()
}

fn all(orders: &[OrderMessage], answer: Retaken) -> Answers {
    orders.iter().map(|order| (order.order_id, answer)).collect()
}

#[tokio::test]
async fn parking_keeps_message_number_and_trace() {
    let (shop, orders) = past_a_marker(&[1]).await;
    let (seq, message, attempts): (i64, serde_json::Value, i32) =
        sqlx::query_as("SELECT seq, message, attempts FROM parked_orders")
            .fetch_one(shop.pool())
            .await
            .unwrap();
    assert_eq!((seq, attempts), (2, 0));
    let expected: serde_json::Value = serde_json::from_slice(&place(&orders[0]).encode()).unwrap();
    assert_eq!(message, expected);

    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    sqlx::query("UPDATE parked_orders SET traceparent = $1")
        .bind(trace)
        .execute(shop.pool())
        .await
        .unwrap();
    let parked = taken(&shop).await;
    record(shop.record(), shop.sale, &parked, &all(&orders, Retaken::Taken(NEXT))).await.unwrap();
    let kept: Option<String> =
        sqlx::query_scalar("SELECT traceparent FROM orders").fetch_one(shop.pool()).await.unwrap();
    assert_eq!(kept.as_deref(), Some(trace));
}

#[tokio::test]
async fn a_parked_order_placed_again_is_claimed() {
    let (shop, orders) = past_a_marker(&[2]).await;
    // The same message once more changes nothing.
    let again = shop.claim(&[place(&orders[0])]).await;
    assert_eq!((again.states.len(), again.parked), (0, 0));
    let retried = OrderMessage { epoch: NEXT, ..orders[0].clone() };
    shop.claim(&[place(&retried)]).await;
    assert_eq!(shop.state(retried.order_id).await.as_deref(), Some("CLAIMED"));
    assert!(shop.parked().await.is_empty());
    assert_eq!(shop.units_claimed("A").await, 2);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_cancelled_parked_order_gives_units_back() {
    let (shop, orders) = past_a_marker(&[2]).await;
    // Inventory takes the units while the buyer cancels, and the hold was closed before they were
    // taken.
    let parked = taken(&shop).await;
    shop.claim(&[cancel(&orders[0])]).await;
    assert_eq!(shop.state(orders[0].order_id).await.as_deref(), Some("CANCELLED/buyer"));
    assert_eq!(shop.owed(orders[0].order_id).await, CANCELLED);
    assert!(shop.parked().await.is_empty());
    let close = async || {
        outbox::lease(shop.record(), Kind::CloseHold, 10, Duration::ZERO, &[])
            .await
            .unwrap()
            .remove(0)
    };
    let closed = close().await;
    outbox::done(shop.record(), &[(&closed, None)]).await.unwrap();
    assert!(!shop.undone().await.contains(&"close_hold/RELEASED".to_owned()));

    let answers = all(&orders, Retaken::Taken(NEXT));
    let settled = record(shop.record(), shop.sale, &parked, &answers).await.unwrap();
    assert!(settled.entered.is_empty() && settled.waiting.is_empty());
    assert!(settled.kinds.contains(&Kind::CloseHold));
    assert!(shop.undone().await.contains(&"close_hold/RELEASED".to_owned()));
    assert_eq!(shop.units_claimed("A").await, 0);

    // A handler that closes the hold now, before the units are taken, confirms nothing.
    let closing = close().await;
    record(shop.record(), shop.sale, &parked, &answers).await.unwrap();
    outbox::done(shop.record(), &[(&closing, None)]).await.unwrap();
    assert!(shop.undone().await.contains(&"close_hold/RELEASED".to_owned()));
    let closing = close().await;
    outbox::done(shop.record(), &[(&closing, None)]).await.unwrap();
    assert!(!shop.undone().await.contains(&"close_hold/RELEASED".to_owned()));
}

#[tokio::test]
async fn a_cancellation_beside_the_claim_is_kept() {
    let (shop, orders) = past_a_marker(&[1]).await;
    let parked = taken(&shop).await;
    let answers = all(&orders, Retaken::Taken(NEXT));
    let from = shop.position().await;
    let messages = batch(from, &[cancel(&orders[0])]);
    // The parked claim stands before its commit, and the wish comes.
    let mut blocker = shop.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE order_lines").execute(&mut *blocker).await.unwrap();
    let settling = tokio::spawn({
        let (pool, sale) = (shop.record().clone(), shop.sale);
        async move { record(&pool, sale, &parked, &answers).await }
    });
    waiting_for_locks(&shop, 1).await;
    let pool = shop.record().clone();
    let claiming = tokio::spawn(async move { claim(&pool, ORDERS, from, &messages, REVIEW).await });
    waiting_for_locks(&shop, 2).await;
    blocker.rollback().await.unwrap();
    settling.await.unwrap().unwrap();
    done(claiming.await.unwrap().unwrap());
    let owed = shop.owed(orders[0].order_id).await;
    assert_eq!(owed, ["cancel_charge/CANCEL_REQUESTED", "charge/CLAIMED", "event/CLAIMED"]);
    assert!(shop.dead().await.is_empty());
}

/// Waits until this many statements of the shop's database wait for locks.
async fn waiting_for_locks(shop: &Shop, statements: i64) {
    let database = shop.pg.database().to_owned();
    let mut admin = shop.pg.admin().await;
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
        )
        .bind(&database)
        .fetch_one(&mut admin)
        .await
        .unwrap();
        if waiting >= statements {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// The marker of `NEXT` is passed and `NEXT + 1` handed out: what is claimed before its marker is
/// counted by its stock.
async fn before_a_second_marker() -> (Shop, Vec<OrderMessage>) {
    let (shop, orders) = past_a_marker(&[1]).await;
    shop.begin_epoch(NEXT + 1).await;
    (shop, orders)
}

#[tokio::test]
async fn a_marker_waits_for_a_parked_claim() {
    let (shop, orders) = before_a_second_marker().await;
    let parked = taken(&shop).await;
    // The parked claim has looked, and stands before its commit.
    let mut blocker = shop.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM allotments FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let settling = tokio::spawn({
        let (pool, sale) = (shop.record().clone(), shop.sale);
        async move { record(&pool, sale, &parked, &Answers::new()).await }
    });
    waiting_for_locks(&shop, 1).await;
    let from = shop.position().await;
    let messages = batch(from, &[shop.marker(NEXT + 1)]);
    let pool = shop.record().clone();
    let claiming = tokio::spawn(async move { claim(&pool, ORDERS, from, &messages, REVIEW).await });
    // A stock computed now must not miss the order.
    tokio::select! {
        () = waiting_for_locks(&shop, 2) => {}
        () = async {
            while shop.fence().await != Some(NEXT + 1) {
                tokio::task::yield_now().await;
            }
        } => panic!("the marker was passed before the claim that counts on it"),
    }
    blocker.rollback().await.unwrap();
    settling.await.unwrap().unwrap();
    done(claiming.await.unwrap().unwrap());
    assert_eq!(shop.state(orders[0].order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(shop.fence().await, Some(NEXT + 1));
}

#[tokio::test]
async fn a_parked_claim_waits_for_a_marker() {
    let (shop, orders) = before_a_second_marker().await;
    let parked = taken(&shop).await;
    // The marker is being passed, with a claim in front of it that waits.
    let mut blocker = shop.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM allotments FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let from = shop.position().await;
    let fresh = OrderMessage { epoch: NEXT, ..shop.order(&[("A", 1)]) };
    let messages = batch(from, &[place(&fresh), shop.marker(NEXT + 1)]);
    let pool = shop.record().clone();
    let claiming = tokio::spawn(async move { claim(&pool, ORDERS, from, &messages, REVIEW).await });
    waiting_for_locks(&shop, 1).await;
    let settling = tokio::spawn({
        let (pool, sale) = (shop.record().clone(), shop.sale);
        async move { record(&pool, sale, &parked, &Answers::new()).await }
    });
    waiting_for_locks(&shop, 2).await;
    blocker.rollback().await.unwrap();
    done(claiming.await.unwrap().unwrap());
    let settled = settling.await.unwrap().unwrap();
    // The stock of the marker may be computed already, without it.
    assert_eq!(settled.waiting, ids(&orders));
    assert_eq!(shop.state(orders[0].order_id).await, None);
    assert_eq!(shop.parked().await, ids(&orders));
    assert_eq!(shop.state(fresh.order_id).await.as_deref(), Some("CLAIMED"));
}

#[tokio::test]
async fn a_parked_order_is_claimed_once() {
    let (shop, orders) = past_a_marker(&[2, 3]).await;
    let (one, other) = (taken(&shop).await, taken(&shop).await);
    assert_eq!(one, other);
    let answers = all(&orders, Retaken::Taken(NEXT));
    let (first, second) = tokio::join!(
        record(shop.record(), shop.sale, &one, &answers),
        record(shop.record(), shop.sale, &other, &answers)
    );
    assert_eq!(first.unwrap().entered.len() + second.unwrap().entered.len(), 2);
    assert_eq!(shop.units_claimed("A").await, 5);
    assert_eq!(shop.history(orders[0].order_id).await.len(), 1);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_refused_parked_order_delays_no_other() {
    let (shop, orders) = past_a_marker(&[1, 3, 1]).await;
    sqlx::query("ALTER TABLE order_lines ADD CHECK (quantity <> 3)")
        .execute(shop.pool())
        .await
        .unwrap();
    let parked = taken(&shop).await;
    let answers = all(&orders, Retaken::Taken(NEXT));
    let settled = record(shop.record(), shop.sale, &parked, &answers).await.unwrap();
    assert_eq!(settled.entered.len(), 2);
    assert_eq!(settled.waiting, [orders[1].order_id]);
    assert_eq!(shop.parked().await, [orders[1].order_id]);
    assert_eq!(shop.units_claimed("A").await, 2);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_deferred_sale_leaves_room_for_others() {
    let (shop, _) = past_a_marker(&[1, 1]).await;
    let other = shop.another(&[("A", 10)]).await;
    other.begin_epoch(NEXT).await;
    shop.claim(&[other.marker(NEXT), place(&other.order(&[("A", 1)]))]).await;
    let due = async |except: &[Uuid]| {
        let due = due_sales(shop.record(), except, 10).await.unwrap();
        due.iter().map(|sale| (sale.sale_id, sale.marker_ahead)).collect::<Vec<_>>()
    };
    assert_eq!(due(&[]).await, [(shop.sale, false), (other.sale, false)]);
    assert_eq!(due(&[shop.sale]).await, [(other.sale, false)]);
    put_off(shop.record(), shop.sale, Duration::from_secs(3_600), &[], true).await.unwrap();
    assert_eq!(due(&[]).await, [(other.sale, false)]);
    // As soon as another rebuild begins there is nothing to wait for.
    shop.begin_epoch(NEXT + 1).await;
    assert_eq!(due(&[]).await, [(shop.sale, true), (other.sale, false)]);
}
