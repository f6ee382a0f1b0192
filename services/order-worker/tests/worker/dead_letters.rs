//! Dead letters: what cannot be recorded waits for a decision, and is resolved.

use flashsale_order_worker::store::{
    claims::{Claimed, claim},
    dead_letters::{self, DeadLetter, Resolution},
    received::receive,
};
use flashsale_queue::{ORDERS, OrderDetails, OrderMessage, QueueMessage, unreadable_order};
use uuid::Uuid;

use crate::shop::{REVIEW, Shop, batch, cancel, done, place};

pub(crate) const CANCELLED: [&str; 4] =
    ["close_hold/RELEASED", "event/CANCELLED", "event/DEAD_LETTER", "mail/CANCELLED"];

/// The order as a fault on its way made it.
pub(crate) fn broken(order: &OrderMessage) -> QueueMessage {
    place(&OrderMessage { total_minor: order.total_minor + 1, ..order.clone() })
}

pub(crate) async fn waiting(shop: &Shop) -> Vec<DeadLetter> {
    dead_letters::list(shop.record(), None, false, None, 100).await.unwrap()
}

/// A placed hold that cannot be read, with as much of its order as its hold tells.
fn unreadable(shop: &Shop, hold_id: &str, order: Option<&OrderMessage>) -> QueueMessage {
    QueueMessage::Unreadable {
        sale_id: shop.sale,
        hold_id: hold_id.to_owned(),
        order_id: order
            .map_or_else(|| unreadable_order(shop.sale, hold_id), |order| order.order_id),
        order: order
            .map(|order| OrderMessage { details: OrderDetails::default(), ..order.clone() }),
        raw: "{\0".to_owned(),
    }
}

#[tokio::test]
async fn each_unreadable_hold_is_one_dead_letter() {
    let shop = Shop::open(&[("A", 10)]).await;
    let (known, whole) = (shop.order(&[("A", 2)]), shop.order(&[("A", 1)]));
    let hold_id = known.hold_id.to_string();
    let messages = [
        unreadable(&shop, &hold_id, Some(&known)),
        unreadable(&shop, "no uuid", None),
        place(&whole),
    ];
    shop.claim(&messages).await;
    assert_eq!(shop.state(whole.order_id).await.as_deref(), Some("CLAIMED"));
    // Whose order it is stands in the hold: it waits for a person as a row of its own, and ends
    // with its letter.
    assert_eq!(shop.state(known.order_id).await.as_deref(), Some("DEAD_LETTER"));
    let unnamed = unreadable_order(shop.sale, "no uuid");
    assert_eq!(shop.state(unnamed).await, None);
    let letters = waiting(&shop).await;
    let orders: Vec<_> = letters.iter().map(|letter| (letter.order_id, letter.sale_id)).collect();
    let sale = Some(shop.sale);
    assert_eq!(orders, [(Some(unnamed), sale), (Some(known.order_id), sale)]);
    assert!(letters.iter().all(|letter| letter.reason == "unreadable"));

    // Reported once more they take the place of their letters; the repaired one resolves its own.
    shop.claim(&messages[..2]).await;
    assert_eq!(waiting(&shop).await.len(), 2);
    shop.claim(&[place(&known)]).await;
    assert_eq!(shop.state(known.order_id).await.as_deref(), Some("CLAIMED"));
    let [letter] = &waiting(&shop).await[..] else { panic!("one letter waits") };
    assert_eq!(letter.order_id, Some(unnamed));
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_repaired_order_is_claimed() {
    let shop = Shop::open(&[("A", 10)]).await;
    let order = shop.order(&[("A", 2)]);
    shop.claim(&[broken(&order)]).await;
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("DEAD_LETTER"));
    assert_eq!(shop.units_claimed("A").await, 0);
    let [letter] = &waiting(&shop).await[..] else { panic!("one letter waits") };
    assert_eq!((letter.order_id, letter.sale_id), (Some(order.order_id), Some(shop.sale)));
    assert_eq!(letter.reason, "total_is_not_the_sum");
    assert_eq!((letter.review_by - letter.at).whole_seconds(), 3_600);

    shop.claim(&[place(&order)]).await;
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(shop.units_claimed("A").await, 2);
    assert_eq!(
        shop.history(order.order_id).await,
        [">DEAD_LETTER:total_is_not_the_sum", "DEAD_LETTER>CLAIMED:claimed"]
    );
    assert!(waiting(&shop).await.is_empty());
    // Once more, whole or broken, changes nothing.
    shop.claim(&[place(&order), broken(&order)]).await;
    assert_eq!(shop.units_claimed("A").await, 2);
    assert!(waiting(&shop).await.is_empty());
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_foreign_price_again_stays_a_dead_letter() {
    let shop = Shop::open(&[("A", 10)]).await;
    let order = shop.order(&[("A", 2)]);
    let mut foreign = order.clone();
    foreign.lines[0].unit_price_minor = 1;
    foreign.total_minor = 2;
    shop.claim(&[place(&foreign)]).await;
    let first = waiting(&shop).await.remove(0);
    assert_eq!(first.reason, "price_foreign");
    // As after a retry: it is judged again, by the record as it is then.
    shop.claim(&[place(&foreign)]).await;
    let [second] = &waiting(&shop).await[..] else { panic!("one letter waits") };
    assert_eq!((second.reason.as_str(), second.review_by), ("price_foreign", first.review_by));
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("DEAD_LETTER"));
    assert_eq!(shop.units_claimed("A").await, 0);

    shop.claim(&[place(&order)]).await;
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CLAIMED"));
    assert!(waiting(&shop).await.is_empty());
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn a_second_dead_letter_keeps_the_deadline() {
    let shop = Shop::open(&[("A", 10)]).await;
    let order = shop.order(&[("A", 2)]);
    shop.claim(&[broken(&order)]).await;
    let first = waiting(&shop).await.remove(0);
    shop.claim(&[broken(&order)]).await;
    let [second] = &waiting(&shop).await[..] else { panic!("one letter waits") };
    assert!(second.id > first.id);
    assert_eq!(second.review_by, first.review_by);

    // The same messages read once more, as after the position went back.
    let start =
        flashsale_order_worker::store::position::Position { seq: 0, ..shop.position().await };
    sqlx::query("UPDATE queue_positions SET seq = 0").execute(shop.pool()).await.unwrap();
    let again = batch(start, &[broken(&order), broken(&order)]);
    done(claim(shop.record(), ORDERS, start, &again, REVIEW).await.unwrap());
    assert_eq!(waiting(&shop).await, std::slice::from_ref(second));
}

#[tokio::test]
async fn a_buyer_can_cancel_a_dead_letter() {
    let shop = Shop::open(&[("A", 10)]).await;
    let (early, late) = (shop.order(&[("A", 2)]), shop.order(&[("A", 2)]));
    shop.claim(&[broken(&early), cancel(&early), broken(&late)]).await;
    shop.claim(&[cancel(&late), cancel(&late), place(&late)]).await;
    for order in [&early, &late] {
        assert_eq!(shop.state(order.order_id).await.as_deref(), Some("CANCELLED/buyer"));
    }
    assert_eq!(shop.owed(late.order_id).await, CANCELLED);
    assert_eq!(shop.units_claimed("A").await, 0);
    let all = dead_letters::list(shop.record(), None, true, None, 10).await.unwrap();
    let how: Vec<_> = all.iter().map(|letter| letter.resolved.map(|(how, _)| how)).collect();
    assert_eq!(how, [Some(Resolution::Cancelled); 2]);
}

#[tokio::test]
async fn recording_the_order_resolves_its_dead_letter() {
    let shop = Shop::open(&[("A", 10)]).await;
    let (nameless, same) = (shop.order(&[("A", 1)]), shop.order(&[("A", 1)]));
    // It says which order it places, and not whose.
    let mut value: serde_json::Value = serde_json::from_slice(&place(&nameless).encode()).unwrap();
    value["buyer_id"] = serde_json::Value::Null;
    let from = shop.position().await;
    let messages = vec![
        receive(1, value.to_string().into()),
        receive(2, broken(&same).encode()),
        receive(3, place(&same).encode()),
    ];
    done(claim(shop.record(), ORDERS, from, &messages, REVIEW).await.unwrap());
    assert_eq!(shop.state(same.order_id).await.as_deref(), Some("CLAIMED"));
    assert_eq!(shop.state(nameless.order_id).await, None);
    let [letter] = &waiting(&shop).await[..] else { panic!("one letter waits") };
    assert_eq!(letter.order_id, Some(nameless.order_id));

    shop.claim(&[place(&nameless)]).await;
    assert_eq!(shop.state(nameless.order_id).await.as_deref(), Some("CLAIMED"));
    assert!(waiting(&shop).await.is_empty());
    assert_eq!(shop.units_claimed("A").await, 2);
    shop.assert_books_balance().await;
}

#[tokio::test]
async fn an_unreadable_message_keeps_its_order() {
    let shop = Shop::open(&[("A", 10)]).await;
    let order = shop.order(&[("A", 2)]);
    let mut value: serde_json::Value = serde_json::from_slice(&place(&order).encode()).unwrap();
    value["lines"] = "two of A".into();
    let mut without_buyer = value.clone();
    without_buyer["order_id"] = Uuid::new_v4().to_string().into();
    without_buyer["buyer_id"] = serde_json::Value::Null;
    let from = shop.position().await;
    let messages =
        vec![receive(1, value.to_string().into()), receive(2, without_buyer.to_string().into())];
    done(claim(shop.record(), ORDERS, from, &messages, REVIEW).await.unwrap());
    assert_eq!(shop.state(order.order_id).await.as_deref(), Some("DEAD_LETTER"));
    let orders: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(shop.pool()).await.unwrap();
    assert_eq!(orders, 1);
    assert_eq!(waiting(&shop).await.len(), 2);
}

#[tokio::test]
async fn refused_messages_are_found_by_halving() {
    let shop = Shop::open(&[("A", 1_000)]).await;
    sqlx::query("ALTER TABLE order_lines ADD CHECK (quantity <> 13)")
        .execute(shop.pool())
        .await
        .unwrap();
    let orders: Vec<OrderMessage> =
        (0..100).map(|n| shop.order(&[("A", if n % 10 == 7 { 13 } else { 1 })])).collect();
    let from = shop.position().await;
    let batch = batch(from, &orders.iter().map(place).collect::<Vec<_>>());
    let claimed = claim(shop.record(), ORDERS, from, &batch, REVIEW).await.unwrap();
    let Claimed::Done(summary) = claimed else { panic!("{claimed:?}") };
    assert_eq!((summary.states.len(), summary.dead), (100, 10));
    for (n, order) in orders.iter().enumerate() {
        let expected = if n % 10 == 7 { "DEAD_LETTER" } else { "CLAIMED" };
        assert_eq!(shop.state(order.order_id).await.as_deref(), Some(expected));
    }
    assert_eq!(shop.units_claimed("A").await, 90);
    assert_eq!(shop.position().await.seq, 100);
}
