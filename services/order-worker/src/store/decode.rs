//! From the queue's words to the domain's.

use flashsale_queue::{OrderMessage, QueueMessage};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::claims::{DeadReason, Received};
use crate::domain::{Intake, OrderLine, PlacedOrder};

/// Reads the message with number `seq`. Its trace is the claimer's to fill in.
pub fn receive(seq: u64, payload: Vec<u8>) -> Received {
    let message = QueueMessage::decode(&payload).ok();
    let loose = match &message {
        Some(_) => None,
        None => serde_json::from_slice(&payload).ok().filter(is_placing),
    };
    let places = match &message {
        Some(QueueMessage::Place { order }) => (Some(order.order_id), Some(order.sale_id)),
        Some(QueueMessage::Unreadable { sale_id, order_id, .. }) => {
            (Some(*order_id), Some(*sale_id))
        }
        Some(
            QueueMessage::Cancel { .. } | QueueMessage::Fence { .. } | QueueMessage::Closing { .. },
        ) => (None, None),
        None => {
            let id = |name| loose.as_ref().and_then(|value| id_in(value, name));
            (id("order_id"), id("sale_id"))
        }
    };
    let salvage = match &message {
        // Its hold says whose order it is, and not everything about it.
        Some(QueueMessage::Unreadable { order: Some(order), .. }) => {
            placed(order.clone()).ok().and_then(|order| order.salvage())
        }
        Some(_) | None => loose.as_ref().and_then(salvaged),
    };
    let content = message.ok_or(DeadReason::Unreadable).and_then(intake);
    Received { seq, traceparent: None, payload, places, content, salvage }
}

fn is_placing(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str) == Some("place")
}

fn id_in(value: &Value, name: &str) -> Option<Uuid> {
    value.get(name)?.as_str()?.parse().ok()
}

/// What an unreadable message says of the order that it meant to place, if that is enough to know whose it is.
fn salvaged(value: &Value) -> Option<PlacedOrder> {
    let text = |name| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name| value.get(name).and_then(Value::as_i64);
    PlacedOrder {
        order_id: id_in(value, "order_id")?,
        sale_id: id_in(value, "sale_id")?,
        buyer_id: text("buyer_id"),
        hold_id: id_in(value, "hold_id")?,
        epoch: number("epoch").unwrap_or_default(),
        admission_id: Some(text("admission_id")),
        request_id: id_in(value, "request_id").unwrap_or_default(),
        request_hash: text("request_hash"),
        lines: Vec::new(),
        currency: text("currency"),
        total_minor: number("total_minor").unwrap_or_default(),
        placed_at: number("placed_at_ms")
            .and_then(|ms| instant(ms).ok())
            .unwrap_or_else(flashsale_failpoint::now_utc),
        email: text("email"),
        contact_name: text("contact_name"),
        payment_method: text("payment_method"),
        locale: text("locale"),
    }
    .salvage()
}

fn intake(message: QueueMessage) -> Result<Intake, DeadReason> {
    match message {
        QueueMessage::Place { order } => Ok(Intake::Place(placed(order)?)),
        QueueMessage::Cancel { order, requested_at_ms } => {
            Ok(Intake::Cancel { order: placed(order)?, requested_at: instant(requested_at_ms)? })
        }
        QueueMessage::Fence { sale_id, epoch } => Ok(Intake::Fence { sale_id, epoch }),
        QueueMessage::Closing { sale_id, .. } => Ok(Intake::Closing { sale_id }),
        QueueMessage::Unreadable { .. } => Err(DeadReason::Unreadable),
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
        locale: order.locale,
    })
}

fn instant(unix_ms: i64) -> Result<OffsetDateTime, DeadReason> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .map_err(|_| DeadReason::Unreadable)
}
