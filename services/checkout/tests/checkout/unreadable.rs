//! Placed holds that cannot be read: each is reported once, and does not block the others.

use std::collections::BTreeMap;

use flashsale_proto::{checkout::OrderState, inventory::ListPlacedHoldsRequest};
use flashsale_queue::{ORDERS, OrderMessage, QueueMessage, unreadable_order};
use flashsale_testbed::eventually;
use uuid::Uuid;

use crate::world::{World, cancel, failure, world};

/// The reported order, what can be read of it, and the raw text.
type Report = (Uuid, Option<OrderMessage>, String);

async fn reports(world: &World) -> BTreeMap<String, Report> {
    let reports = world.queued().await.into_iter().filter_map(|message| match message {
        QueueMessage::Unreadable { hold_id, order_id, order, raw, .. } => {
            Some((hold_id, (order_id, order, raw)))
        }
        QueueMessage::Place { .. }
        | QueueMessage::Cancel { .. }
        | QueueMessage::Fence { .. }
        | QueueMessage::Closing { .. } => None,
    });
    reports.collect()
}

async fn placed(world: &World) -> Vec<String> {
    let queued = world.queued().await.into_iter();
    queued.filter_map(|message| Some(message.order()?.order_id.to_string())).collect()
}

#[tokio::test]
async fn relay_reports_each_and_publishes_others() {
    let world = world(|config| {
        config.relay.poll_ms = 20;
        // Long enough for all of them to be spoilt first.
        config.relay.republish_after_ms = 3_000;
    })
    .await;
    let sale = world.sale(10).await;
    let mut holds = Vec::new();
    for buyer in ["ada", "bob", "cem", "dan"] {
        holds.push(world.place_only(sale, buyer).await);
    }
    let [empty, gone, broken, whole] = &holds[..] else { panic!("{holds:?}") };
    world.spoil(sale, "orders", &empty.hold_id, Some("{}")).await;
    world.spoil(sale, "orders", &gone.hold_id, None).await;
    world.spoil(sale, "holds", &broken.hold_id, Some("{\"b\":\u{1}")).await;

    eventually("the others are queued", async || (world.queued().await.len() >= 4).then_some(()))
        .await;
    assert_eq!(placed(&world).await, std::slice::from_ref(&whole.order_id));
    let told = reports(&world).await;
    assert_eq!(told.len(), 3, "{told:?}");
    for (hold, raw) in [(empty, "{}"), (gone, "")] {
        let (order_id, order, told) = &told[&hold.hold_id];
        assert_eq!((order_id.to_string(), told.as_str()), (hold.order_id.clone(), raw));
        let order = order.as_ref().unwrap();
        assert_eq!(
            (order.order_id.to_string(), order.hold_id.to_string()),
            (hold.order_id.clone(), hold.hold_id.clone())
        );
        assert_eq!((order.total_minor, order.epoch, order.details.email.as_str()), (1_999, 1, ""));
    }
    let (order_id, order, raw) = &told[&broken.hold_id];
    assert_eq!((*order_id, order), (unreadable_order(sale, &broken.hold_id), &None));
    assert!(raw.contains("{\"b\":\u{1}") && raw.contains("ada@example.org"), "{raw}");
    // They are orders nevertheless, as far as they can be read, and are still carried.
    let order = world.get(sale, &empty.order_id).await.unwrap();
    assert_eq!(order.state(), OrderState::Accepted);
    assert!(failure(world.cancel(&cancel(&order)).await).unwrap_err().delay().is_some());
    let mut listed = world.carried(sale).await;
    let mut readable = [&empty.order_id, &gone.order_id, &whole.order_id].map(String::clone);
    listed.sort_unstable();
    readable.sort_unstable();
    assert_eq!(listed, readable);
}

#[tokio::test]
async fn dead_letter_is_reported_again_only_on_retry() {
    let world = world(|config| {
        config.relay.poll_ms = 20;
        config.relay.republish_after_ms = 1_000;
    })
    .await;
    let sale = world.sale(10).await;
    let (empty, broken) =
        (world.place_only(sale, "ada").await, world.place_only(sale, "bob").await);
    for (seq, order_id) in
        [(1, empty.order_id.parse().unwrap()), (2, unreadable_order(sale, &broken.hold_id))]
    {
        sqlx::query(
            "INSERT INTO dead_letters (stream, stream_created, seq, payload, reason, order_id)
             VALUES ($1, now(), $2, '', 'unreadable', $3)",
        )
        .bind(ORDERS)
        .bind(seq)
        .bind(order_id)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    }
    world.spoil(sale, "orders", &empty.hold_id, Some("{}")).await;
    world.spoil(sale, "holds", &broken.hold_id, Some("{")).await;
    // Once the one behind them is there, they would be there as well.
    let whole = world.place_only(sale, "cem").await;
    eventually("the one behind is queued", async || {
        (!world.queued().await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(placed(&world).await, std::slice::from_ref(&whole.order_id));
    assert!(reports(&world).await.is_empty());

    // An operator has repaired one of them, and retries both.
    let details = r#"{"email":"a@example.org","contact_name":"A","payment_method":"pm_card_visa"}"#;
    world.spoil(sale, "orders", &empty.hold_id, Some(details)).await;
    sqlx::query("UPDATE dead_letters SET retry_at = now()").execute(&world.pg.pool).await.unwrap();
    eventually("the repaired one is queued", async || {
        (placed(&world).await == [&whole.order_id, &empty.order_id].map(String::clone))
            .then_some(())
    })
    .await;
    eventually("the other one is reported", async || {
        reports(&world).await.contains_key(&broken.hold_id).then_some(())
    })
    .await;
}

#[tokio::test]
async fn inventory_lists_unreadable_holds_apart() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let (whole, broken) =
        (world.place_only(sale, "ada").await, world.place_only(sale, "bob").await);
    let long = "x".repeat(100_000);
    world.spoil(sale, "holds", &broken.hold_id, Some(&long)).await;
    let ask =
        ListPlacedHoldsRequest { sale_id: sale.to_string(), ..ListPlacedHoldsRequest::default() };
    let answer = world.admin.clone().list_placed_holds(ask).await.unwrap().into_inner();
    assert_eq!(answer.placed.len(), 1);
    assert_eq!(answer.placed[0].hold.as_ref().unwrap().hold_id, whole.hold_id);
    let [unreadable] = &answer.unreadable[..] else { panic!("{:?}", answer.unreadable) };
    assert_eq!((&unreadable.hold_id, unreadable.hold.len()), (&broken.hold_id, 4_096));
    assert!(unreadable.order_details.contains("ada@example.org"));
}
