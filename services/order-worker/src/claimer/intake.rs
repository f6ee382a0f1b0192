//! From the queue's words to the domain's.

use flashsale_queue::{OrderMessage, QueueMessage};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    domain::{Intake, OrderLine, PlacedOrder},
    store::claims::{DeadReason, Received},
};

/// Reads the message with number `seq`. Its trace is the claimer's to fill in.
pub fn receive(seq: u64, payload: Vec<u8>) -> Received {
    let message = QueueMessage::decode(&payload).ok();
    let places = match &message {
        Some(QueueMessage::Place { order }) => Some(order.order_id),
        Some(QueueMessage::Cancel { .. } | QueueMessage::Fence { .. }) => None,
        None => placed_in(&payload),
    };
    let content = message.ok_or(DeadReason::Unreadable).and_then(intake);
    Received { seq, traceparent: None, payload, places, content }
}

/// The order that an unreadable message meant to place, if it says that much.
fn placed_in(payload: &[u8]) -> Option<Uuid> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    if value.get("kind")?.as_str()? != "place" {
        return None;
    }
    value.get("order_id")?.as_str()?.parse().ok()
}

fn intake(message: QueueMessage) -> Result<Intake, DeadReason> {
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
