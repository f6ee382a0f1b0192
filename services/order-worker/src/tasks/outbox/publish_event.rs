//! Wakes the watchers of orders.

use flashsale_pg::SteppedPool;
use flashsale_queue::OrderEvent;
use tracing::Instrument as _;
use uuid::Uuid;

use super::handler::{Handler, ORDER_MISSING, Outcome, each, orders_of, record_failed, span_of};
use crate::{
    domain::Kind,
    store::{events_stream::EventsStream, orders, outbox::Leased},
};

/// Publishes of one batch at once.
const PUBLISHES: usize = 64;

/// Publishes to `ORDER_EVENTS`; confirmed by JetStream's ack.
#[derive(Debug)]
pub struct PublishEvent {
    pub pool: SteppedPool,
    pub events: EventsStream,
}

impl Handler for PublishEvent {
    const KIND: Kind = Kind::Event;

    async fn handle(&self, rows: &[Leased]) -> Vec<Outcome> {
        let sales = match orders::sales(&self.pool, &orders_of(rows)).await {
            Ok(sales) => sales,
            Err(error) => return vec![record_failed(&error); rows.len()],
        };
        let publishes = rows
            .iter()
            .map(|row| {
                let publish = self.publish(row, sales.get(&row.order_id).copied());
                publish.instrument(span_of(Kind::Event, row))
            })
            .collect();
        each(publishes, PUBLISHES).await
    }
}

impl PublishEvent {
    async fn publish(&self, row: &Leased, sale_id: Option<Uuid>) -> Outcome {
        let Some(sale_id) = sale_id else { return Outcome::Retry(ORDER_MISSING) };
        let state = row.about.clone();
        let event = OrderEvent { order_id: row.order_id, sale_id, state };
        match self.events.publish(&event).await {
            Ok(()) => Outcome::Done,
            Err(code) => Outcome::Retry(code),
        }
    }
}
