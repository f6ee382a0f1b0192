//! Wakes whoever watches an order.

use std::{collections::HashMap, time::Duration};

use async_nats::{HeaderMap, jetstream};
use flashsale_failpoint::Step as _;
use flashsale_queue::{OrderEvent, order_event_subject};
use futures::TryFutureExt as _;
use sqlx::PgPool;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Carrier, Outcome, STORE_UNAVAILABLE, each, span_of};
use crate::{domain::Kind, store::outbox::Leased};

/// Publishes of one batch at once.
const PUBLISHES: usize = 64;

/// Publishes to `ORDER_EVENTS`; confirmed by JetStream's ack.
#[derive(Debug)]
pub struct Event {
    /// The record.
    pub pool: PgPool,
    /// The queue.
    pub jetstream: jetstream::Context,
    /// How long an ack may take.
    pub timeout: Duration,
}

impl Carrier for Event {
    const KIND: Kind = Kind::Event;

    async fn carry_out(&self, rows: &[Leased]) -> Vec<Outcome> {
        let Ok(sales) = self.sales(rows).await else {
            return vec![Outcome::Again(STORE_UNAVAILABLE); rows.len()];
        };
        each(
            rows.iter()
                .map(|row| {
                    let publish = self.publish(row, sales.get(&row.order_id).copied());
                    publish.instrument(span_of(Kind::Event, row))
                })
                .collect(),
            PUBLISHES,
        )
        .await
    }
}

impl Event {
    async fn sales(&self, rows: &[Leased]) -> Result<HashMap<Uuid, Uuid>, sqlx::Error> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id).collect();
        let orders = sqlx::query_file!("sql/orders_for_events.sql", &ids)
            .fetch_all(&self.pool)
            .step("sql/orders_for_events")
            .await?;
        Ok(orders.into_iter().map(|order| (order.order_id, order.sale_id)).collect())
    }

    async fn publish(&self, row: &Leased, sale_id: Option<Uuid>) -> Outcome {
        let Some(sale_id) = sale_id else { return Outcome::Again("ORDER_MISSING") };
        let event = OrderEvent { order_id: row.order_id, sale_id, state: row.about.clone() };
        let Ok(body) = serde_json::to_vec(&event) else {
            return Outcome::Again("EVENT_UNWRITABLE");
        };
        let mut headers = HeaderMap::new();
        flashsale_telemetry::propagate::inject_nats(&mut headers);
        let acked = self
            .jetstream
            .publish_with_headers(order_event_subject(row.order_id), headers, body.into())
            .and_then(IntoFuture::into_future)
            .step("publish/event");
        match tokio::time::timeout(self.timeout, acked).await {
            Ok(Ok(_)) => Outcome::Done,
            Ok(Err(_)) => Outcome::Again("QUEUE_UNAVAILABLE"),
            Err(_) => Outcome::Again("QUEUE_TIMEOUT"),
        }
    }
}
