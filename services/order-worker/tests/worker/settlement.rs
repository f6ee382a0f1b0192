//! Orders follow their payments.

use std::{collections::HashSet, sync::Arc, time::Duration};

use flashsale_order_worker::{
    app::Wakeups,
    domain::Kind,
    metrics::Metrics,
    store::{
        charges::payment_recorded,
        settlements::{Settled, find_ended, find_open, follow_payments},
    },
    tasks::settlement::{SettlementPace, Settler},
};
use flashsale_queue::OrderMessage;
use flashsale_service::Drain;
use flashsale_testbed::eventually;
use uuid::Uuid;

use crate::shop::{Shop, cancel, place};

/// An order whose payment is recorded.
async fn paying(shop: &Shop) -> OrderMessage {
    let order = shop.claimed_orders("A", 1).await.remove(0);
    payment_recorded(shop.record(), &[order.order_id]).await.unwrap();
    order
}

async fn settle(shop: &Shop, order: &OrderMessage) -> Settled {
    follow_payments(shop.record(), &[order.order_id]).await.unwrap()
}

async fn state(shop: &Shop, order: &OrderMessage) -> String {
    shop.state(order.order_id).await.unwrap()
}

const BEFORE: [&str; 3] = ["charge/CLAIMED", "event/CLAIMED", "event/PAYING"];

async fn owed_since(shop: &Shop, order: &OrderMessage) -> Vec<String> {
    let owed = shop.owed(order.order_id).await;
    owed.into_iter().filter(|row| !BEFORE.contains(&row.as_str())).collect()
}

#[tokio::test]
async fn a_captured_payment_confirms_its_order() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = paying(&shop).await;
    assert_eq!(state(&shop, &order).await, "PAYING");
    shop.pay(&order, "SUCCEEDED", None).await;
    assert_eq!(find_open(shop.record(), 10).await.unwrap(), [order.order_id]);
    settle(&shop, &order).await;
    assert!(settle(&shop, &order).await.is_empty(), "settled twice");

    assert_eq!(state(&shop, &order).await, "CONFIRMED");
    assert_eq!(
        shop.history(order.order_id).await,
        [">CLAIMED:claimed", "CLAIMED>PAYING:payment_recorded", "PAYING>CONFIRMED:paid"]
    );
    assert_eq!(
        owed_since(&shop, &order).await,
        ["close_hold/SOLD", "event/CONFIRMED", "mail/CONFIRMED"]
    );
    assert_eq!(shop.units_claimed("A").await, 1);
    assert!(find_open(shop.record(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_payment_gives_the_units_back() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = paying(&shop).await;
    shop.pay(&order, "FAILED", Some("card_declined")).await;
    settle(&shop, &order).await;
    settle(&shop, &order).await;

    assert_eq!(state(&shop, &order).await, "DECLINED/card_declined");
    assert_eq!(
        owed_since(&shop, &order).await,
        ["close_hold/RELEASED", "event/DECLINED", "mail/DECLINED"]
    );
    assert_eq!(shop.units_claimed("A").await, 0);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_cancelled_payment_says_who_asked() {
    let shop = Shop::open(&[("A", 5)]).await;
    let (asked, not_asked) = (paying(&shop).await, paying(&shop).await);
    shop.claim(&[cancel(&asked)]).await;
    assert_eq!(state(&shop, &asked).await, "PAYING", "it ends only when the payment does");
    for order in [&asked, &not_asked] {
        shop.pay(order, "CANCELLED", None).await;
        settle(&shop, order).await;
    }
    assert_eq!(state(&shop, &asked).await, "CANCELLED/buyer");
    assert_eq!(state(&shop, &not_asked).await, "CANCELLED/payment_cancelled");
    assert_eq!(
        owed_since(&shop, &not_asked).await,
        ["close_hold/RELEASED", "event/CANCELLED", "mail/CANCELLED"]
    );
    assert_eq!(shop.units_claimed("A").await, 0);
    shop.assert_books_balance().await;
}

/// Transactions that have changed orders and are not committed, as checkout's list of changes sees
/// them.
async fn changes_under_way(shop: &Shop) -> i64 {
    let statement = "SELECT count(*) FROM pg_locks
         WHERE locktype = 'advisory' AND classid = 20261130 AND objsubid = 2
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    sqlx::query_scalar(statement).fetch_one(shop.pool()).await.unwrap()
}

#[tokio::test]
async fn changes_under_way_are_seen() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = paying(&shop).await;
    let new = shop.order(&[("A", 1)]);
    shop.pay(&order, "SUCCEEDED", None).await;
    assert_eq!(changes_under_way(&shop).await, 0);
    // Consequences cannot be written: transactions stop once they have changed their orders.
    let mut stop = shop.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE outbox IN SHARE MODE").execute(&mut *stop).await.unwrap();
    let messages = [place(&new)];
    tokio::join!(settle(&shop, &order), shop.claim(&messages), async {
        eventually("a settlement and a claim are seen", async || {
            (changes_under_way(&shop).await == 2).then_some(())
        })
        .await;
        stop.commit().await.unwrap();
    });
    assert_eq!(changes_under_way(&shop).await, 0);
    assert_eq!(state(&shop, &order).await, "CONFIRMED");
    assert_eq!(state(&shop, &new).await, "CLAIMED");
}

#[tokio::test]
async fn a_payment_can_win_over_a_cancellation() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = paying(&shop).await;
    shop.claim(&[cancel(&order)]).await;
    shop.pay(&order, "SUCCEEDED", None).await;
    settle(&shop, &order).await;
    assert_eq!(state(&shop, &order).await, "CONFIRMED");
    // A wish that comes later changes nothing any more.
    shop.claim(&[cancel(&order)]).await;
    assert_eq!(state(&shop, &order).await, "CONFIRMED");
}

#[tokio::test]
async fn waiting_for_the_buyer_is_announced() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = paying(&shop).await;
    sqlx::query("UPDATE outbox SET done_at = now()").execute(shop.pool()).await.unwrap();
    for (payment, becomes, event) in [
        ("REQUIRES_ACTION", "ACTION_REQUIRED", "event/ACTION_REQUIRED"),
        ("PROCESSING", "PAYING", "event/PAYING"),
    ] {
        shop.pay(&order, payment, None).await;
        assert_eq!(find_open(shop.record(), 10).await.unwrap(), [order.order_id]);
        settle(&shop, &order).await;
        assert_eq!(state(&shop, &order).await, becomes);
        assert!(shop.undone().await.contains(&event.to_owned()), "{event}");
    }
    assert_eq!(shop.units_claimed("A").await, 1);
}

#[tokio::test]
async fn a_refund_restocks_nothing() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = paying(&shop).await;
    // Captured and given back before anybody looked.
    shop.pay(&order, "REFUNDED", None).await;
    settle(&shop, &order).await;
    assert_eq!(state(&shop, &order).await, "CONFIRMED");
    assert_eq!(find_ended(shop.record(), 10).await.unwrap(), [order.order_id]);
    settle(&shop, &order).await;
    assert_eq!(state(&shop, &order).await, "REFUNDED");
    let owed = owed_since(&shop, &order).await;
    let expected = ["close_hold/SOLD", "event/CONFIRMED", "event/REFUNDED", "mail/CONFIRMED"];
    assert_eq!(owed, expected, "the mails are those of its refunds");
    assert_eq!(shop.units_claimed("A").await, 1);
}

/// A confirmed order, nothing of it owed any more.
async fn confirmed(shop: &Shop) -> OrderMessage {
    let order = paying(shop).await;
    shop.pay(&order, "SUCCEEDED", None).await;
    settle(shop, &order).await;
    assert_eq!(state(shop, &order).await, "CONFIRMED");
    order
}

/// What the buyer is to be told of refunds, sorted.
async fn told(shop: &Shop, order: &OrderMessage) -> Vec<String> {
    let mut owed = shop.owed(order.order_id).await;
    owed.retain(|row| row.starts_with("mail/REFUND"));
    owed
}

#[tokio::test]
async fn each_refund_is_told_once() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = confirmed(&shop).await;
    let [part, rest] = [1, 2].map(Uuid::from_u128);
    let mails = [part, rest].map(|refund_id| format!("mail/REFUND.{refund_id}"));
    for undone in ["DUE", "PENDING", "FAILED"] {
        shop.refund(&order, part, undone, 40).await;
        assert!(find_ended(shop.record(), 10).await.unwrap().is_empty(), "{undone}");
        assert!(settle(&shop, &order).await.is_empty(), "{undone}");
    }
    shop.refund(&order, part, "DONE", 40).await;
    assert_eq!(find_ended(shop.record(), 10).await.unwrap(), [order.order_id]);
    let settled = settle(&shop, &order).await;
    assert_eq!((settled.told, settled.changed.len(), settled.refunds), (1, 0, 0));
    assert_eq!(settled.kinds, HashSet::from([Kind::Mail]));
    assert_eq!(state(&shop, &order).await, "CONFIRMED");
    assert_eq!(told(&shop, &order).await, mails[..1]);
    assert!(find_ended(shop.record(), 10).await.unwrap().is_empty());
    assert!(settle(&shop, &order).await.is_empty(), "told twice");

    // The provider reopened it, and it is done after all: the buyer knows.
    for state in ["DUE", "DONE"] {
        shop.refund(&order, part, state, 40).await;
        assert!(settle(&shop, &order).await.is_empty(), "{state}");
    }

    shop.refund(&order, rest, "DONE", 60).await;
    shop.pay(&order, "REFUNDED", None).await;
    assert_eq!(find_ended(shop.record(), 10).await.unwrap(), [order.order_id]);
    assert_eq!(settle(&shop, &order).await.told, 1);
    assert_eq!(state(&shop, &order).await, "REFUNDED");
    assert_eq!(told(&shop, &order).await, mails);
    assert!(find_ended(shop.record(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn refund_of_refunded_order_is_found() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = confirmed(&shop).await;
    shop.pay(&order, "REFUNDED", None).await;
    settle(&shop, &order).await;
    assert_eq!(state(&shop, &order).await, "REFUNDED");
    let refund_id = Uuid::from_u128(1);
    shop.refund(&order, refund_id, "DONE", 100).await;
    assert_eq!(find_ended(shop.record(), 10).await.unwrap(), [order.order_id]);
    assert_eq!(settle(&shop, &order).await.told, 1);
    assert_eq!(told(&shop, &order).await, [format!("mail/REFUND.{refund_id}")]);
}

#[tokio::test]
async fn refund_before_its_orders_end_is_told_then() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = paying(&shop).await;
    shop.pay(&order, "PROCESSING", None).await;
    shop.refund(&order, Uuid::from_u128(1), "DONE", 100).await;
    assert!(settle(&shop, &order).await.is_empty());
    shop.pay(&order, "REFUNDED", None).await;
    assert_eq!(settle(&shop, &order).await.told, 1);
    assert_eq!(state(&shop, &order).await, "CONFIRMED");
    assert_eq!(settle(&shop, &order).await.told, 0);
    assert_eq!(state(&shop, &order).await, "REFUNDED");
}

#[tokio::test]
async fn refund_of_nothing_is_not_told() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = confirmed(&shop).await;
    shop.refund(&order, Uuid::from_u128(1), "DONE", 0).await;
    assert!(find_ended(shop.record(), 10).await.unwrap().is_empty());
    assert!(settle(&shop, &order).await.is_empty());
}

#[tokio::test]
async fn refunds_told_by_an_earlier_version_are_not_told_again() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = confirmed(&shop).await;
    shop.pay(&order, "REFUNDED", None).await;
    settle(&shop, &order).await;
    sqlx::query("INSERT INTO outbox (order_id, kind, about, done_at) VALUES ($1, 'mail', 'REFUNDED', now())")
        .bind(order.order_id)
        .execute(shop.pool())
        .await
        .unwrap();
    // As the migration leaves it.
    shop.refund(&order, order.order_id, "DONE", 100).await;
    assert!(find_ended(shop.record(), 10).await.unwrap().is_empty());
    assert!(settle(&shop, &order).await.is_empty());
}

#[tokio::test]
async fn late_money_goes_back_once() {
    let shop = Shop::open(&[("A", 5)]).await;
    let order = shop.order(&[("A", 1)]);
    shop.claim(&[cancel(&order), place(&order)]).await;
    shop.pay(&order, "SUCCEEDED", None).await;
    assert_eq!(find_ended(shop.record(), 10).await.unwrap(), [order.order_id]);
    assert_eq!(settle(&shop, &order).await.refunds, 1);
    assert!(find_ended(shop.record(), 10).await.unwrap().is_empty());
    settle(&shop, &order).await;

    assert_eq!(state(&shop, &order).await, "CANCELLED/buyer");
    let owed = owed_since(&shop, &order).await;
    let expected =
        ["close_hold/RELEASED", "event/CANCELLED", "mail/CANCELLED", "refund/PAID_AFTER_END"];
    assert_eq!(owed, expected);
    assert_eq!(shop.units_claimed("A").await, 0);

    // They were told that it costs nothing.
    shop.refund(&order, Uuid::from_u128(1), "DONE", 100).await;
    shop.pay(&order, "REFUNDED", None).await;
    assert!(find_ended(shop.record(), 10).await.unwrap().is_empty());
    assert!(settle(&shop, &order).await.is_empty());
    assert_eq!(owed_since(&shop, &order).await, expected);
}

#[tokio::test]
async fn lost_events_are_found_by_polling() {
    let shop = Shop::open(&[("A", 50)]).await;
    let orders = shop.claimed_orders("A", 25).await;
    for order in &orders {
        shop.pay(order, "SUCCEEDED", None).await;
    }
    let (wakeups, pending) = Wakeups::new();
    let pace = SettlementPace {
        batch: 10,
        poll: Duration::from_millis(50),
        late_poll: Duration::from_millis(50),
    };
    let settler = Settler {
        pool: shop.record().clone(),
        pace,
        pending,
        wakeups: Arc::new(wakeups),
        metrics: Metrics::default(),
    };
    let drain = Drain::new();
    let running = tokio::spawn(settler.run(drain.clone()));
    for order in &orders {
        eventually("it is confirmed", || async {
            (state(&shop, order).await == "CONFIRMED").then_some(())
        })
        .await;
    }
    drain.start();
    running.await.unwrap().unwrap();
    shop.assert_books_balance().await;
}
