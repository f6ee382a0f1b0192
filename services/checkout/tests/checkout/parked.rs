//! Orders of an older epoch that are parked until their units are taken again.

use std::time::Duration;

use flashsale_errors::Reason;
use flashsale_proto::checkout::{GetOrderRequest, Order, OrderState};
use flashsale_queue::{CancelTarget, OrderDetails, OrderMessage};
use flashsale_testbed::{assert_failure, eventually};
use tonic::Status;
use uuid::Uuid;

use crate::world::{World, cancel, failure, tee, watch, world};

/// An order of the sale that only its message knows, as one of an older epoch.
async fn older(world: &World, sale: Uuid, buyer_id: &str) -> OrderMessage {
    let order = world.order(&tee(sale, buyer_id)).await;
    let message = world.placed_message(&order).await;
    OrderMessage { order_id: Uuid::new_v4(), hold_id: Uuid::new_v4(), ..message }
}

async fn get_as(world: &World, sale: Uuid, id: Uuid, buyer_id: &str) -> Result<Order, Status> {
    let ask = GetOrderRequest {
        sale_id: sale.to_string(),
        order_id: id.to_string(),
        buyer_id: buyer_id.to_owned(),
    };
    Ok(world.checkout.clone().get_order(ask).await?.into_inner().order.unwrap())
}

#[tokio::test]
async fn parked_order_reads_as_accepted() {
    let world = world(|_| {}).await;
    let (sale, other_sale) = (world.sale(10).await, world.sale(10).await);
    let message = older(&world, sale, "ada").await;
    world.park(&message).await;
    let order = get_as(&world, sale, message.order_id, "ada").await.unwrap();
    assert_eq!(order.state(), OrderState::Accepted);
    assert_eq!(order.order_id, message.order_id.to_string());
    assert_eq!(order.hold_id, message.hold_id.to_string());
    assert_eq!((order.lines[0].sku.as_str(), order.lines[0].quantity), ("tee", 1));
    assert_eq!(order.total.as_ref().unwrap().units, 19);
    for (sale, buyer) in [(sale, "bob"), (other_sale, "ada"), (other_sale, "")] {
        let refused = get_as(&world, sale, message.order_id, buyer).await.unwrap_err();
        assert_failure(&refused, Reason::OrderNotFound);
    }

    // Its watcher starts with it and sees its end.
    let mut watcher = world.checkout.clone().watch_order(watch(&order)).await.unwrap().into_inner();
    assert_eq!(watcher.message().await.unwrap().unwrap().order, Some(order.clone()));
    world.record(&message, "CLAIMED").await;
    sqlx::query("DELETE FROM parked_orders").execute(&world.pg.pool).await.unwrap();
    world.announce(&order, "CLAIMED").await;
    let claimed = watcher.message().await.unwrap().unwrap().order.unwrap();
    assert_eq!(claimed.state(), OrderState::Claimed);
}

#[tokio::test]
async fn cancellation_of_parked_order_carries_it() {
    let world = world(|_| {}).await;
    let sale = world.sale(10).await;
    let message = older(&world, sale, "ada").await;
    world.park(&message).await;
    let order = get_as(&world, sale, message.order_id, "ada").await.unwrap();
    let asked = world.cancel(&cancel(&order)).await.unwrap();
    assert_eq!(asked, Order { cancel_requested: true, ..order });
    assert_eq!(world.cancels().await, [CancelTarget::from(message)]);
}

#[tokio::test]
async fn excess_parked_orders_refuse_only_their_sale() {
    let world = world(|config| {
        config.intake.max_parked = 3;
        config.intake.measure_ms = 20;
    })
    .await;
    let (sale, other) = (world.sale(10).await, world.sale(10).await);
    let message = older(&world, sale, "ada").await;
    for _ in 0..3 {
        world.park(&OrderMessage { order_id: Uuid::new_v4(), ..message.clone() }).await;
    }
    let ask = tee(sale, "bob");
    let refused = eventually("orders are refused", async || {
        failure(world.place(&tee(sale, "cem")).await).err()
    })
    .await;
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert_eq!((&*refused.metadata()["parked"], &*refused.metadata()["max_parked"]), ("3", "3"));
    assert!(refused.delay().is_some_and(|delay| delay >= Duration::from_secs(5)));
    let before = world.snapshot().await;
    assert_failure(&world.place(&ask).await.unwrap_err(), Reason::QueueFull);
    assert_eq!(world.snapshot().await, before);
    world.order(&tee(other, "bob")).await;

    sqlx::query(
        "DELETE FROM parked_orders WHERE order_id IN (SELECT order_id FROM parked_orders LIMIT 1)",
    )
    .execute(&world.pg.pool)
    .await
    .unwrap();
    eventually("orders are accepted", async || world.place(&ask).await.ok()).await;
}

#[tokio::test]
async fn relay_skips_parked_orders() {
    let world = world(|config| {
        config.relay.poll_ms = 20;
        config.relay.republish_after_ms = 1_000;
        config.relay.batch = 2;
    })
    .await;
    let sale = world.sale(10).await;
    let mut carried = Vec::new();
    for buyer in ["ada", "bob", "cem"] {
        let hold = world.place_only(sale, buyer).await;
        let order = world.get(sale, &hold.order_id).await.unwrap();
        world
            .park(&OrderMessage {
                order_id: order.order_id.parse().unwrap(),
                hold_id: Uuid::new_v4(),
                ..placed(sale, buyer)
            })
            .await;
        carried.push(order.order_id);
    }
    let behind = world.place_only(sale, "dan").await;
    carried.push(behind.order_id.clone());
    eventually("what is behind them is queued", async || {
        (!world.queued().await.is_empty()).then_some(())
    })
    .await;
    let queued = world.queued().await;
    assert_eq!(queued.len(), 1);
    assert_eq!(queued[0].order().unwrap().order_id.to_string(), behind.order_id);
    let mut listed = world.carried(sale).await;
    listed.sort_unstable();
    carried.sort_unstable();
    assert_eq!(listed, carried);
    assert_eq!(world.books(sale).await, [6, 0, 4, 0]);
}

fn placed(sale: Uuid, buyer_id: &str) -> OrderMessage {
    OrderMessage {
        order_id: Uuid::nil(),
        sale_id: sale,
        buyer_id: buyer_id.to_owned(),
        hold_id: Uuid::nil(),
        epoch: 1,
        admission_id: None,
        request_id: Uuid::nil(),
        request_hash: String::new(),
        lines: Vec::new(),
        currency: "EUR".to_owned(),
        total_minor: 0,
        placed_at_ms: 0,
        details: OrderDetails::default(),
    }
}
