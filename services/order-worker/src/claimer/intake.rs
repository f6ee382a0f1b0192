//! From the queue's words to the domain's.

use flashsale_queue::{OrderMessage, QueueMessage};
use time::OffsetDateTime;

use crate::{
    domain::{Intake, OrderLine, PlacedOrder},
    store::claims::{DeadReason, Received},
};

/// Reads the message with number `seq`. Its trace is the claimer's to fill in.
pub fn receive(seq: u64, payload: Vec<u8>) -> Received {
    let content = read(&payload);
    Received { seq, traceparent: None, payload, content }
}

fn read(payload: &[u8]) -> Result<Intake, DeadReason> {
    let message = QueueMessage::decode(payload).map_err(|_| DeadReason::Unreadable)?;
    match message {
        QueueMessage::Place { order } => Ok(Intake::Place(placed(order)?)),
        QueueMessage::Cancel { order, requested_at_ms } => {
            Ok(Intake::Cancel { order: placed(order)?, requested_at: instant(requested_at_ms)? })
        }
        QueueMessage::Fence { sale_id, epoch } => Ok(Intake::Fence { sale_id, epoch }),
    }
}

fn placed(order: OrderMessage) -> Result<PlacedOrder, DeadReason> {
    Ok(PlacedOrder {
        order_id: order.order_id,
        sale_id: order.sale_id,
        buyer_id: order.buyer_id,
        hold_id: order.hold_id,
        epoch: order.epoch,
        admission_id: order.admission_id,
        request_id: order.request_id,
        request_hash: order.request_hash,
        lines: order
            .lines
            .into_iter()
            .map(|line| OrderLine {
                sku: line.sku,
                quantity: line.quantity,
                unit_price_minor: line.unit_price_minor,
            })
            .collect(),
        currency: order.currency,
        total_minor: order.total_minor,
        placed_at: instant(order.placed_at_ms)?,
        email: order.email,
        contact_name: order.contact_name,
        payment_method: order.payment_method,
    })
}

fn instant(unix_ms: i64) -> Result<OffsetDateTime, DeadReason> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .map_err(|_| DeadReason::Unreadable)
}
