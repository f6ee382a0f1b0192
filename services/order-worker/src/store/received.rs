//! Messages of the order queue, from the queue's types to the domain's.

use flashsale_queue::{self as queue, OrderMessage, QueueMessage};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{CancelTarget, Message, OrderDetails, PlacedOrder, Unacceptable};

/// A message of `ORDERS`, decoded as far as that goes.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its sequence number in the stream.
    pub seq: u64,
    /// The trace to keep in its order's row.
    pub traceparent: Option<String>,
    /// Its body as it was received.
    pub payload: Vec<u8>,
    /// The order that it places and that order's sale, as far as they can be read: kept with a dead
    /// letter.
    pub places: (Option<Uuid>, Option<Uuid>),
    /// Its content, or why that cannot be recorded.
    pub content: Result<Message, DeadReason>,
    /// What can be recorded of the order that it places, if not all of it can.
    pub salvage: Option<PlacedOrder>,
}

/// Why a message became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadReason {
    /// It cannot be decoded.
    Unreadable,
    /// Its values break a rule of the record.
    Unacceptable(Unacceptable),
    /// Postgres refused it with this SQLSTATE.
    RefusedByStore(String),
}

impl DeadReason {
    /// The reason in the dead letter's row.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Unreadable => "unreadable".to_owned(),
            Self::Unacceptable(problem) => problem.as_str().to_owned(),
            Self::RefusedByStore(state) => format!("{}:{state}", self.cause()),
        }
    }

    /// The cause in the order's history.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unacceptable(problem) => problem.as_str(),
            Self::RefusedByStore(_) => "refused_by_store",
        }
    }
}

impl Received {
    /// Turns a message that Postgres refused on its own into a dead letter: first together with
    /// what can be salvaged of its order, the next time without; false if that has failed already.
    pub(super) fn refuse(&mut self, state: &str) -> bool {
        let salvage = match &self.content {
            Ok(Message::Place(order)) => order.salvage(),
            Ok(
                Message::Cancel { .. }
                | Message::Fence { .. }
                | Message::Closing { .. }
                | Message::Unrecordable { .. },
            ) => None,
            Err(_) if self.salvage.is_none() => return false,
            Err(_) => None,
        };
        self.salvage = salvage;
        self.content = Err(DeadReason::RefusedByStore(state.to_owned()));
        true
    }
}

/// Decodes the message with sequence number `seq`. The claimer fills the trace in.
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
        // The hold says whose order it is, but not everything about it.
        Some(QueueMessage::Unreadable { order: Some(order), .. }) => {
            placed(order.clone()).ok().and_then(|order| order.salvage())
        }
        Some(_) | None => loose.as_ref().and_then(salvaged),
    };
    let content = message.ok_or(DeadReason::Unreadable).and_then(decode);
    Received { seq, traceparent: None, payload, places, content, salvage }
}

fn is_placing(value: &Value) -> bool {
    value.get("kind").and_then(Value::as_str) == Some("place")
}

fn id_in(value: &Value, name: &str) -> Option<Uuid> {
    value.get(name)?.as_str()?.parse().ok()
}

/// What an unreadable message says about the order it places; `None` if it does not say whose order
/// that is.
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
        details: OrderDetails::by_name(text),
    }
    .salvage()
}

fn decode(message: QueueMessage) -> Result<Message, DeadReason> {
    match message {
        QueueMessage::Place { order } => Ok(Message::Place(placed(order)?)),
        QueueMessage::Cancel { target, requested_at_ms } => {
            let target = match target {
                queue::CancelTarget::Recorded(order) => {
                    CancelTarget::Recorded { order_id: order.order_id, sale_id: order.sale_id }
                }
                queue::CancelTarget::Placed(order) => {
                    CancelTarget::Placed(Box::new(placed(order)?))
                }
            };
            Ok(Message::Cancel { target, requested_at: instant(requested_at_ms)? })
        }
        QueueMessage::Fence { sale_id, epoch } => Ok(Message::Fence { sale_id, epoch }),
        QueueMessage::Closing { sale_id, .. } => Ok(Message::Closing { sale_id }),
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
        lines: order.lines,
        currency: order.currency,
        total_minor: order.total_minor,
        placed_at: instant(order.placed_at_ms)?,
        details: order.details,
    })
}

fn instant(unix_ms: i64) -> Result<OffsetDateTime, DeadReason> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .map_err(|_| DeadReason::Unreadable)
}
