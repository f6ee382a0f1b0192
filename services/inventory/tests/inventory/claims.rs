//! The order queue and its reader, as far as inventory depends on them: markers are passed and
//! orders recorded in the queue's order.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
};
use flashsale_inventory::{
    app::Inventory,
    domain::{Hold, PlacedLine, Refusal, Retaken, Straggler},
};
use flashsale_queue::{Line, NatsConfig, ORDERS, OrderDetails, OrderMessage, QueueMessage};
use flashsale_testbed::TestNats;
use futures::StreamExt as _;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::world::{DETAILS, World, inventory, queue, queue_config};

/// A queue of the test's own with its reader, which ends with it.
pub(crate) struct Claims {
    pub(crate) nats: TestNats,
    pub(crate) config: NatsConfig,
    reading: JoinHandle<()>,
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Claims {
    /// Starts a queue, which `world` has from then on, and reads it.
    pub(crate) async fn of<R>(world: &mut World<R>) -> Self {
        let nats = flashsale_testbed::nats().await;
        let config = queue_config(&nats.url);
        let context = jetstream::new(async_nats::connect(&nats.url).await.unwrap());
        flashsale_queue::ensure_orders_stream(&context, &config).await.unwrap();
        world.queue = queue(&nats.url).await;
        world.inventory = inventory(&world.pg, &world.store, &world.queue);
        let reading = Self::read(world);
        Self { nats, config, reading }
    }

    pub(crate) fn stop(&self) {
        self.reading.abort();
    }

    /// Reads the queue of `world` from its beginning.
    pub(crate) fn read<R>(world: &World<R>) -> JoinHandle<()> {
        let inventory = inventory(&world.pg, &world.store, &world.queue);
        let (context, pool) = (world.queue.jetstream().clone(), world.pg.pool.clone());
        tokio::spawn(async move {
            let stream = context.get_stream(ORDERS).await.unwrap();
            let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
            let consumer = stream.create_consumer(config).await.unwrap();
            let mut messages = consumer.messages().await.unwrap();
            while let Some(Ok(message)) = messages.next().await {
                match QueueMessage::decode(&message.payload).unwrap() {
                    QueueMessage::Closing { .. } => {}
                    QueueMessage::Fence { sale_id, epoch } => pass(&pool, sale_id, epoch).await,
                    QueueMessage::Place { order } => claim(&pool, &inventory, &order).await,
                    QueueMessage::Cancel { .. } | QueueMessage::Unreadable { .. } => {
                        panic!("no order is cancelled in these tests, and all holds can be read")
                    }
                }
            }
        })
    }
}

async fn pass(pool: &PgPool, sale_id: Uuid, epoch: i64) {
    sqlx::query(
        "INSERT INTO stock_fences AS f (sale_id, epoch) VALUES ($1, $2)
         ON CONFLICT (sale_id) DO UPDATE SET epoch = greatest(f.epoch, excluded.epoch)",
    )
    .bind(sale_id)
    .bind(epoch)
    .execute(pool)
    .await
    .unwrap();
}

/// Records an order. One of an epoch before the marker that was passed takes its units again first,
/// or ends cancelled.
async fn claim(pool: &PgPool, inventory: &Inventory, order: &OrderMessage) {
    let fence: Option<i64> =
        sqlx::query_scalar("SELECT epoch FROM stock_fences WHERE sale_id = $1")
            .bind(order.sale_id)
            .fetch_optional(pool)
            .await
            .unwrap();
    let state = match fence {
        Some(epoch) if order.epoch < epoch => retake(inventory, epoch, order).await,
        _ => "CLAIMED",
    };
    let line = &order.lines[0];
    sqlx::query(
        "WITH new AS (
             INSERT INTO orders (order_id, sale_id, buyer_id, hold_id, epoch, request_id, request_hash, state, currency, total_minor,
                email, contact_name, payment_method, placed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', '', '', now())
             ON CONFLICT (order_id) DO NOTHING
             RETURNING order_id, sale_id, state
         ), line AS (
             INSERT INTO order_lines SELECT order_id, $11, $12, $13 FROM new
         )
         UPDATE allotments a SET claimed = claimed + $12 FROM new
         WHERE a.sale_id = new.sale_id AND a.sku = $11 AND new.state = 'CLAIMED'",
    )
    .bind(order.order_id)
    .bind(order.sale_id)
    .bind(&order.buyer_id)
    .bind(order.hold_id)
    .bind(order.epoch)
    .bind(order.request_id)
    .bind(&order.request_hash)
    .bind(state)
    .bind(&order.currency)
    .bind(order.total_minor)
    .bind(&line.sku)
    .bind(line.quantity)
    .bind(line.unit_price_minor)
    .execute(pool)
    .await
    .unwrap();
}

async fn retake(inventory: &Inventory, epoch: i64, order: &OrderMessage) -> &'static str {
    let line = |line: &Line| PlacedLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        price_minor: line.unit_price_minor,
    };
    let straggler = Straggler {
        hold_id: order.hold_id,
        order_id: order.order_id,
        buyer_id: order.buyer_id.clone(),
        admission_id: order.admission_id.clone(),
        request_id: order.request_id.to_string(),
        request_hash: order.request_hash.clone(),
        placed_ms: order.placed_at_ms,
        lines: order.lines.iter().map(line).collect(),
        details: DETAILS.to_owned(),
    };
    loop {
        match inventory.retake(order.sale_id, epoch, std::slice::from_ref(&straggler)).await {
            Ok((_, retaken)) => match retaken[..] {
                [Retaken::Taken] => return "CLAIMED",
                [Retaken::Refused] => return "CANCELLED",
                _ => panic!("{retaken:?}"),
            },
            Err(
                Refusal::Fenced
                | Refusal::Unanswered
                | Refusal::TooLate
                | Refusal::StoreAway { .. },
            ) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
}

/// The message with the order of a placed hold, as checkout publishes it.
pub(crate) fn order_message(sale_id: Uuid, hold: &Hold) -> QueueMessage {
    let line = |line: &PlacedLine| Line {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price_minor: line.price_minor,
    };
    QueueMessage::Place {
        order: OrderMessage {
            order_id: hold.order_id.unwrap(),
            sale_id,
            buyer_id: hold.buyer_id.clone(),
            hold_id: hold.hold_id,
            epoch: hold.epoch,
            admission_id: hold.admission_id.clone(),
            request_id: hold.request_id.as_ref().unwrap().parse().unwrap(),
            request_hash: hold.request_hash.clone().unwrap(),
            lines: hold.lines.iter().map(line).collect(),
            currency: hold.currency.clone(),
            total_minor: hold.total_minor(),
            placed_at_ms: hold.placed_ms.unwrap(),
            details: OrderDetails::default(),
        },
    }
}
