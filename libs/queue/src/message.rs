//! The bodies of the queue.

use flashsale_record::{Line, OrderDetails};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A placed order, whole: the record is made from it alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderMessage {
    /// The order, derived from (sale, buyer, request id).
    pub order_id: Uuid,
    /// The sale.
    pub sale_id: Uuid,
    /// The buyer.
    pub buyer_id: String,
    /// The hold that has the units.
    pub hold_id: Uuid,
    /// The epoch of the stock they were taken in.
    pub epoch: i64,
    /// The admission that was spent.
    pub admission_id: Option<String>,
    /// The buyer's request id.
    pub request_id: Uuid,
    /// The hash of what was asked.
    pub request_hash: String,
    /// What was ordered, by sku, each sku once.
    pub lines: Vec<Line>,
    /// ISO 4217.
    pub currency: String,
    /// The price of everything, in minor units.
    pub total_minor: i64,
    /// When it was placed, by the stock store's clock.
    pub placed_at_ms: i64,
    /// What it carries besides.
    #[serde(flatten)]
    pub details: OrderDetails,
}

/// What a cancellation says of an order that is recorded already. The claims use its id; the rest
/// is for operators, should the message become a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedOrder {
    /// The order.
    pub order_id: Uuid,
    /// The sale.
    pub sale_id: Uuid,
    /// The buyer.
    pub buyer_id: String,
    /// The hold that has the units.
    pub hold_id: Uuid,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// ISO 4217.
    pub currency: String,
    /// The price of everything, in minor units.
    pub total_minor: i64,
    /// When it was placed.
    pub placed_at_ms: i64,
}

/// The order that a cancellation is about. As JSON both are an [`OrderMessage`]; that of a recorded
/// order has a nil `request_id` and epoch 0, which no placed order has, and empty texts for what
/// [`RecordedOrder`] lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OrderMessage", into = "OrderMessage")]
pub enum CancelTarget {
    /// It is in the record: its id is enough to cancel it.
    Recorded(RecordedOrder),
    /// It may be known only from this message, which is enough to record it as cancelled.
    Placed(OrderMessage),
}

impl CancelTarget {
    /// The order.
    pub fn order_id(&self) -> Uuid {
        match self {
            Self::Recorded(order) => order.order_id,
            Self::Placed(order) => order.order_id,
        }
    }

    /// Its sale.
    pub fn sale_id(&self) -> Uuid {
        match self {
            Self::Recorded(order) => order.sale_id,
            Self::Placed(order) => order.sale_id,
        }
    }
}

impl From<OrderMessage> for CancelTarget {
    fn from(order: OrderMessage) -> Self {
        if !order.request_id.is_nil() || order.epoch != 0 {
            return Self::Placed(order);
        }
        Self::Recorded(RecordedOrder {
            order_id: order.order_id,
            sale_id: order.sale_id,
            buyer_id: order.buyer_id,
            hold_id: order.hold_id,
            lines: order.lines,
            currency: order.currency,
            total_minor: order.total_minor,
            placed_at_ms: order.placed_at_ms,
        })
    }
}

impl From<CancelTarget> for OrderMessage {
    fn from(target: CancelTarget) -> Self {
        match target {
            CancelTarget::Placed(order) => order,
            CancelTarget::Recorded(order) => order.into(),
        }
    }
}

impl From<RecordedOrder> for OrderMessage {
    /// What is not known of it is nil, 0 or empty.
    fn from(order: RecordedOrder) -> Self {
        Self {
            order_id: order.order_id,
            sale_id: order.sale_id,
            buyer_id: order.buyer_id,
            hold_id: order.hold_id,
            epoch: 0,
            admission_id: None,
            request_id: Uuid::nil(),
            request_hash: String::new(),
            lines: order.lines,
            currency: order.currency,
            total_minor: order.total_minor,
            placed_at_ms: order.placed_at_ms,
            details: OrderDetails::default(),
        }
    }
}

/// A message of `ORDERS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum QueueMessage {
    /// An order was placed.
    Place {
        /// The order.
        #[serde(flatten)]
        order: OrderMessage,
    },
    /// Its buyer wants it cancelled.
    Cancel {
        /// The order.
        #[serde(flatten)]
        target: CancelTarget,
        /// When the wish was received.
        requested_at_ms: i64,
    },
    /// The stock of a sale is being rebuilt: whatever stands before this is counted in it, whatever
    /// of an older epoch stands behind it is not.
    Fence {
        /// The sale.
        sale_id: Uuid,
        /// The epoch that the stock will have.
        epoch: i64,
    },
    /// The stock of a sale is about to be rebuilt on another server: every instance that serves an
    /// older epoch stops. The marker follows once all have. It changes nothing in the record.
    Closing {
        /// The sale.
        sale_id: Uuid,
        /// The epoch that the stock will have.
        epoch: i64,
    },
    /// A placed hold that cannot be read, so that the order it carries cannot be recorded: a dead
    /// letter.
    Unreadable {
        /// The sale.
        sale_id: Uuid,
        /// The hold, as the stock store names it.
        hold_id: String,
        /// The order that the hold carries, or [`unreadable_order`] where that is among what cannot
        /// be read.
        order_id: Uuid,
        /// The order as far as it can be read; contact and means of payment are empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<OrderMessage>,
        /// What stands in the stock store, cut where it is long.
        raw: String,
    },
}

/// The id that stands for the order of a hold that does not say which it carries: always the same
/// for the same hold, so that it is put aside under one dead letter.
pub fn unreadable_order(sale_id: Uuid, hold_id: &str) -> Uuid {
    Uuid::new_v5(&sale_id, format!("unreadable hold {hold_id}").as_bytes())
}

impl QueueMessage {
    /// The order it carries in full, to place or to cancel it.
    pub fn order(&self) -> Option<&OrderMessage> {
        match self {
            Self::Place { order } | Self::Cancel { target: CancelTarget::Placed(order), .. } => {
                Some(order)
            }
            Self::Cancel { target: CancelTarget::Recorded(_), .. }
            | Self::Fence { .. }
            | Self::Closing { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// The order it places or cancels.
    pub fn order_id(&self) -> Option<Uuid> {
        match self {
            Self::Place { order } => Some(order.order_id),
            Self::Cancel { target, .. } => Some(target.order_id()),
            Self::Fence { .. } | Self::Closing { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// The id JetStream recognises a repeated publish by.
    pub fn message_id(&self) -> String {
        match self {
            Self::Place { order } => order.order_id.to_string(),
            Self::Cancel { target, .. } => format!("{}/cancel", target.order_id()),
            Self::Fence { sale_id, epoch } => format!("{sale_id}/fence/{epoch}"),
            Self::Closing { sale_id, epoch } => format!("{sale_id}/closing/{epoch}"),
            Self::Unreadable { order_id, .. } => format!("{order_id}/unreadable"),
        }
    }

    /// Where it is published.
    pub fn subject(&self) -> String {
        match self {
            Self::Place { order } => crate::place_subject(order.sale_id),
            Self::Cancel { target, .. } => crate::cancel_subject(target.sale_id()),
            Self::Fence { sale_id, .. } | Self::Closing { sale_id, .. } => {
                crate::fence_subject(*sale_id)
            }
            Self::Unreadable { sale_id, .. } => crate::unreadable_subject(*sale_id),
        }
    }

    /// The body.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and lists: there is nothing in it that JSON cannot say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub fn decode(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

/// An order changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEvent {
    /// The order.
    pub order_id: Uuid,
    /// Its sale.
    pub sale_id: Uuid,
    /// Its new state.
    pub state: String,
}

/// A payment changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentEvent {
    /// The order it pays.
    pub order_id: Uuid,
    /// Its new state.
    pub state: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use flashsale_record::FIRST_PRICE_REVISION;
    use serde_json::json;

    use super::*;

    const ORDER: Uuid = Uuid::from_u128(1);
    const SALE: Uuid = Uuid::from_u128(2);
    const HOLD: Uuid = Uuid::from_u128(3);

    fn lines() -> Vec<Line> {
        vec![Line {
            sku: "TEE-M".to_owned(),
            quantity: 2,
            unit_price_minor: 1_999,
            price_revision: FIRST_PRICE_REVISION,
        }]
    }

    fn placed() -> OrderMessage {
        OrderMessage {
            order_id: ORDER,
            sale_id: SALE,
            buyer_id: "ada".to_owned(),
            hold_id: HOLD,
            epoch: 4,
            admission_id: None,
            request_id: Uuid::from_u128(5),
            request_hash: "f00d".to_owned(),
            lines: lines(),
            currency: "EUR".to_owned(),
            total_minor: 3_998,
            placed_at_ms: 1_795_000_000_000,
            details: OrderDetails {
                email: "ada@example.org".to_owned(),
                contact_name: "Ada Lovelace".to_owned(),
                payment_method: "pm_card_visa".to_owned(),
                ..OrderDetails::default()
            },
        }
    }

    fn recorded() -> RecordedOrder {
        RecordedOrder {
            order_id: ORDER,
            sale_id: SALE,
            buyer_id: "ada".to_owned(),
            hold_id: HOLD,
            lines: lines(),
            currency: "EUR".to_owned(),
            total_minor: 3_998,
            placed_at_ms: 1_795_000_000_000,
        }
    }

    /// The wire form is shared with instances of the version before and with the auditor.
    #[test]
    fn cancellations_keep_their_bytes() {
        let body = |epoch: i64, request: &str, hash: &str, contact: [&str; 3]| {
            let [email, name, method] = contact;
            format!(
                r#"{{"kind":"cancel","order_id":"{ORDER}","sale_id":"{SALE}","buyer_id":"ada","#
            ) + &format!(
                r#""hold_id":"{HOLD}","epoch":{epoch},"admission_id":null,"request_id":"{request}","#
            ) + &format!(
                r#""request_hash":"{hash}","lines":[{{"sku":"TEE-M","quantity":2,"unit_price_minor":1999}}],"#
            ) + &format!(
                r#""currency":"EUR","total_minor":3998,"placed_at_ms":1795000000000,"email":"{email}","#
            ) + &format!(
                r#""contact_name":"{name}","payment_method":"{method}","requested_at_ms":7}}"#
            )
        };
        let contact = ["ada@example.org", "Ada Lovelace", "pm_card_visa"];
        for (target, bytes) in [
            (
                CancelTarget::Placed(placed()),
                body(4, "00000000-0000-0000-0000-000000000005", "f00d", contact),
            ),
            (
                CancelTarget::Recorded(recorded()),
                body(0, "00000000-0000-0000-0000-000000000000", "", [""; 3]),
            ),
        ] {
            let message = QueueMessage::Cancel { target, requested_at_ms: 7 };
            assert_eq!(String::from_utf8(message.encode()).unwrap(), bytes);
            assert_eq!(QueueMessage::decode(bytes.as_bytes()).unwrap(), message);
        }
    }

    /// Instances of the version before know no revisions: all that they read and write has the
    /// first one.
    #[test]
    fn only_later_price_revisions_are_written() {
        let with = |revision| {
            let mut order = placed();
            order.lines[0].price_revision = revision;
            QueueMessage::Place { order }
        };
        let written = |message: &QueueMessage| {
            let body: serde_json::Value = serde_json::from_slice(&message.encode()).unwrap();
            body["lines"][0].clone()
        };
        let bare = json!({ "sku": "TEE-M", "quantity": 2, "unit_price_minor": 1_999 });
        assert_eq!(written(&with(1)), bare);
        for revision in [0, 2, i64::MAX] {
            let mut line = bare.clone();
            line["price_revision"] = json!(revision);
            assert_eq!(written(&with(revision)), line);
        }
        for revision in [0, 1, 2, i64::MAX] {
            let message = with(revision);
            assert_eq!(QueueMessage::decode(&message.encode()).unwrap(), message);
        }
        // Also where it is spelled out.
        let mut body: serde_json::Value = serde_json::from_slice(&with(1).encode()).unwrap();
        body["lines"][0]["price_revision"] = json!(1);
        assert_eq!(QueueMessage::decode(body.to_string().as_bytes()).unwrap(), with(1));
    }

    /// A nil request id alone is a buyer's oddity: the order is placed under it.
    #[test]
    fn an_order_with_an_epoch_is_placed() {
        let order = OrderMessage { request_id: Uuid::nil(), ..placed() };
        assert_eq!(CancelTarget::from(order.clone()), CancelTarget::Placed(order));
    }
}
