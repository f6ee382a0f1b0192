//! The order queue and its reader, as far as inventory depends on them: markers are passed and
//! orders recorded in the queue's order.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, pull},
};
use flashsale_inventory::{
    app::Inventory,
    domain::{Hold, Line as StockLine, PlacedLine, Refusal, Retaken, Straggler},
};
use flashsale_queue::{Line, NatsConfig, ORDERS, OrderDetails, OrderMessage, QueueMessage};
use flashsale_testbed::{
    TestNats,
    fixtures::{OrderSpec, record_orders, record_orders_on},
};
use futures::StreamExt as _;
use sqlx::PgPool;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::world::{DETAILS, World, inventory, queue_config};

/// How many messages are handled together at most, so that the reader keeps up with the buyers.
const BATCH: usize = 200;

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
        world.use_queue(&nats.url).await;
        let reading = Self::read(world);
        Self { nats, config, reading }
    }

    pub(crate) fn stop(&self) {
        self.reading.abort();
    }

    /// Reads the queue of `world` from its beginning.
    pub(crate) fn read<R>(world: &World<R>) -> JoinHandle<()> {
        let inventory = Arc::new(inventory(&world.pg, &world.store, &world.queue));
        let (context, pool) = (world.jetstream().clone(), world.pg.pool.clone());
        tokio::spawn(async move {
            let stream = context.get_stream(ORDERS).await.unwrap();
            let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
            let consumer = stream.create_consumer(config).await.unwrap();
            let messages = consumer.messages().await.unwrap();
            let mut messages = messages.ready_chunks(BATCH);
            let mut parked = JoinSet::new();
            while let Some(batch) = messages.next().await {
                let mut orders = Vec::new();
                for message in batch {
                    match QueueMessage::decode(&message.unwrap().payload).unwrap() {
                        QueueMessage::Closing { .. } => {}
                        QueueMessage::Fence { sale_id, epoch } => {
                            let stragglers = claim(&pool, std::mem::take(&mut orders)).await;
                            park(&mut parked, &pool, &inventory, stragglers);
                            pass(&pool, sale_id, epoch).await;
                        }
                        QueueMessage::Place { order } => orders.push(order),
                        QueueMessage::Cancel { .. } | QueueMessage::Unreadable { .. } => {
                            panic!(
                                "no order is cancelled in these tests, and all holds can be read"
                            )
                        }
                    }
                }
                let stragglers = claim(&pool, orders).await;
                park(&mut parked, &pool, &inventory, stragglers);
                while let Some(ended) = parked.try_join_next() {
                    ended.unwrap();
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

/// Records those orders that are not on record yet, and returns the others of an epoch before the
/// marker that was passed.
async fn claim(pool: &PgPool, orders: Vec<OrderMessage>) -> Vec<OrderMessage> {
    let ids: Vec<Uuid> = orders.iter().map(|order| order.order_id).collect();
    let known: HashSet<Uuid> =
        sqlx::query_scalar("SELECT order_id FROM orders WHERE order_id = ANY($1)")
            .bind(ids)
            .fetch_all(pool)
            .await
            .unwrap()
            .into_iter()
            .collect();
    let fences: HashMap<Uuid, i64> = sqlx::query_as("SELECT sale_id, epoch FROM stock_fences")
        .fetch_all(pool)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let late = |order: &OrderMessage| {
        fences.get(&order.sale_id).is_some_and(|passed| order.epoch < *passed)
    };
    let (stragglers, claimed): (Vec<_>, Vec<_>) =
        orders.into_iter().filter(|order| !known.contains(&order.order_id)).partition(late);
    // Each once, however often the queue has it.
    let claimed: HashMap<Uuid, OrderMessage> =
        claimed.into_iter().map(|order| (order.order_id, order)).collect();
    let recorded: Vec<_> = claimed.values().map(|order| recorded(order, "CLAIMED")).collect();
    record_orders(pool, &recorded).await.unwrap();
    stragglers
}

fn recorded<'a>(order: &'a OrderMessage, state: &'a str) -> OrderSpec<'a> {
    OrderSpec { state, takes_units: state == "CLAIMED", ..OrderSpec::of(order) }
}

fn park(
    parked: &mut JoinSet<()>,
    pool: &PgPool,
    inventory: &Arc<Inventory>,
    stragglers: Vec<OrderMessage>,
) {
    for order in stragglers {
        let (pool, inventory) = (pool.clone(), Arc::clone(inventory));
        parked.spawn(async move { retake(&pool, &inventory, &order).await });
    }
}

/// Has an order that came too late take its units again, and records it. Nothing else waits for
/// that.
async fn retake(pool: &PgPool, inventory: &Inventory, order: &OrderMessage) {
    let line = |line: &Line| {
        let revision = line.price_revision;
        (StockLine { sku: line.sku.clone(), quantity: line.quantity }, revision)
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
    let passed = "SELECT epoch FROM stock_fences WHERE sale_id = $1";
    loop {
        let epoch: i64 =
            sqlx::query_scalar(passed).bind(order.sale_id).fetch_one(pool).await.unwrap();
        let state =
            match inventory.retake(order.sale_id, epoch, std::slice::from_ref(&straggler)).await {
                Ok((_, retaken)) => match retaken[..] {
                    [Retaken::Taken] => "CLAIMED",
                    [Retaken::Refused] => "CANCELLED",
                    _ => panic!("{retaken:?}"),
                },
                Err(
                    Refusal::Fenced
                    | Refusal::Unanswered
                    | Refusal::TooLate
                    | Refusal::StoreAway { .. },
                ) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Err(refusal) => panic!("{refusal:?}"),
            };
        // The next marker is passed behind this order, or its units are taken once more.
        let mut transaction = pool.begin().await.unwrap();
        let still: i64 =
            sqlx::query_scalar("SELECT epoch FROM stock_fences WHERE sale_id = $1 FOR UPDATE")
                .bind(order.sale_id)
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
        if still == epoch {
            // It may have been read again while it was parked.
            let known: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM orders WHERE order_id = $1)")
                    .bind(order.order_id)
                    .fetch_one(&mut *transaction)
                    .await
                    .unwrap();
            if !known {
                let recorded = [recorded(order, state)];
                record_orders_on(&mut transaction, &recorded).await.unwrap();
            }
            transaction.commit().await.unwrap();
            return;
        }
    }
}

/// The message with the order of a placed hold, as checkout publishes it.
pub(crate) fn order_message(sale_id: Uuid, hold: &Hold) -> QueueMessage {
    let line = |line: &PlacedLine| Line {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price_minor: line.price_minor,
        price_revision: line.price_revision,
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
