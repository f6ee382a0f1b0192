//! The order that a placed hold carries.

use flashsale_errors::Failure;
use flashsale_proto::inventory::{HoldState, PlacedHold};
use flashsale_queue::{OrderMessage, QueueMessage, unreadable_order};
use flashsale_service::wire;
use uuid::Uuid;

use crate::domain::{Details, Line, Order, OrderState};

/// An order that a hold carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedOrder {
    /// The order, as seen from its hold alone.
    pub order: Order,
    /// Where the hold stands.
    pub hold_state: HoldState,
    epoch: i64,
    admission_id: Option<String>,
    request_id: Uuid,
    request_hash: String,
    details: StoredDetails,
}

/// What a hold keeps of its order besides its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StoredDetails {
    /// All of it.
    Complete(Details),
    /// Something that cannot be read.
    Unreadable(String),
    /// Nothing: the record has the order.
    Dropped,
}

impl PlacedOrder {
    /// The order whole; `None` once the record has it and the hold has dropped it, and where the
    /// hold cannot be read.
    pub fn message(&self) -> Option<OrderMessage> {
        let StoredDetails::Complete(details) = &self.details else { return None };
        let details = details.clone();
        Some(OrderMessage {
            email: details.email,
            contact_name: details.contact_name,
            payment_method: details.payment_method,
            locale: details.locale,
            ..self.without_details()
        })
    }

    /// What the hold keeps besides the lines, if that cannot be read.
    pub fn unreadable(&self) -> Option<&str> {
        match &self.details {
            StoredDetails::Unreadable(raw) => Some(raw),
            StoredDetails::Complete(_) | StoredDetails::Dropped => None,
        }
    }

    /// What the relay has to tell the queue: the order, or that it cannot be read. `None` if there
    /// is nothing.
    pub fn queue_message(&self) -> Option<QueueMessage> {
        if let Some(raw) = self.unreadable() {
            return Some(QueueMessage::Unreadable {
                sale_id: self.order.sale_id,
                hold_id: self.order.hold_id.to_string(),
                order_id: self.order.order_id,
                order: Some(self.without_details()),
                raw: start(raw),
            });
        }
        self.message().map(|order| QueueMessage::Place { order })
    }

    /// A listed hold whose details are dropped: that of an order which the record does not have, so
    /// that they cannot be read.
    pub(super) fn not_recorded(mut self) -> Self {
        if self.details == StoredDetails::Dropped {
            self.details = StoredDetails::Unreadable(String::new());
        }
        self
    }

    fn without_details(&self) -> OrderMessage {
        OrderMessage {
            epoch: self.epoch,
            admission_id: self.admission_id.clone(),
            request_id: self.request_id,
            request_hash: self.request_hash.clone(),
            ..self.order.recorded_message()
        }
    }
}

/// Placed holds whose order the record is not known to have.
#[derive(Debug, Default)]
pub struct PlacedHolds {
    /// Those that say at least whose order it is, oldest first.
    pub placed: Vec<PlacedOrder>,
    /// The others.
    pub unreadable: Vec<UnreadableReport>,
}

/// A placed hold of which nothing can be relied on.
#[derive(Debug)]
pub struct UnreadableReport {
    /// What stands for its order.
    pub order_id: Uuid,
    /// What the queue is told.
    pub message: QueueMessage,
}

impl UnreadableReport {
    pub(super) fn new(sale_id: Uuid, hold_id: String, raw: &str) -> Self {
        let order_id = unreadable_order(sale_id, &hold_id);
        let raw = start(raw);
        Self {
            order_id,
            message: QueueMessage::Unreadable { sale_id, hold_id, order_id, order: None, raw },
        }
    }
}

/// The most that a message tells of what cannot be read, in bytes. In JSON a byte may take six:
/// this has to fit a message.
const MAX_RAW_BYTES: usize = 8 * 1_024;

/// As much of a text as a message has room for.
fn start(text: &str) -> String {
    let end = (0..=MAX_RAW_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

impl TryFrom<PlacedHold> for PlacedOrder {
    type Error = Failure;

    fn try_from(placed: PlacedHold) -> Result<Self, Failure> {
        let malformed = |what: &str| {
            Failure::internal(format!("inventory sent a placed hold with a malformed {what}"))
        };
        let PlacedHold { hold, order_details, request_id, request_hash } = placed;
        let hold = hold.ok_or_else(|| malformed("hold"))?;
        let id =
            |what: &'static str, value: &str| value.parse::<Uuid>().map_err(|_| malformed(what));
        let amount = |money: &Option<flashsale_proto::Money>| {
            let money = money.as_ref().ok_or_else(|| malformed("price"))?;
            wire::minor("price", money).map_err(|_| malformed("price"))
        };
        let (total_minor, currency) = amount(&hold.total)?;
        let lines = hold
            .lines
            .iter()
            .map(|line| {
                Ok(Line {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                    unit_price_minor: amount(&line.unit_price)?.0,
                })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let placed_at = hold.place_time.as_ref().ok_or_else(|| malformed("place_time"))?;
        let placed_at =
            wire::datetime("place_time", placed_at).map_err(|_| malformed("place_time"))?;
        let hold_state = HoldState::try_from(hold.state).map_err(|_| malformed("state"))?;
        let details = if order_details.is_empty() {
            StoredDetails::Dropped
        } else {
            serde_json::from_str(&order_details)
                .map_or_else(|_| StoredDetails::Unreadable(order_details), StoredDetails::Complete)
        };
        Ok(Self {
            order: Order {
                order_id: id("order_id", &hold.order_id)?,
                sale_id: id("sale_id", &hold.sale_id)?,
                buyer_id: hold.buyer_id,
                hold_id: id("hold_id", &hold.hold_id)?,
                // What is placed rolls forward whatever happens; that it is not queued yet only PlaceOrder can know.
                state: OrderState::Accepted,
                lines,
                currency: currency.code().to_owned(),
                total_minor,
                placed_at,
                updated_at: placed_at,
                cancel_requested: false,
                end_reason: None,
            },
            hold_state,
            epoch: hold.epoch,
            admission_id: Some(hold.admission_id).filter(|id| !id.is_empty()),
            request_id: id("request_id", &request_id)?,
            request_hash,
            details,
        })
    }
}
