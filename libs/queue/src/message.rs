//! The bodies of the queue.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Units of one sku at the price they were taken at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The sku.
    pub sku: String,
    /// Units.
    pub quantity: i64,
    /// Price of one unit, in minor units of the order's currency.
    pub unit_price_minor: i64,
}

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
    /// Whom to write to.
    pub email: String,
    /// How to address them.
    pub contact_name: String,
    /// The provider's token of the means of payment.
    pub payment_method: String,
    /// The language to write in; empty for the shop's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locale: String,
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
        order: OrderMessage,
        /// When the wish was received.
        requested_at_ms: i64,
    },
    /// The stock of a sale is being rebuilt: whatever stands before this is counted in it, whatever of an older epoch stands behind it
    /// is not.
    Fence {
        /// The sale.
        sale_id: Uuid,
        /// The epoch that the stock will have.
        epoch: i64,
    },
    /// The stock of a sale is about to be rebuilt on another server: whoever serves an older epoch stops. The marker follows once everybody
    /// has. It changes nothing in the record.
    Closing {
        /// The sale.
        sale_id: Uuid,
        /// The epoch that the stock will have.
        epoch: i64,
    },
}

impl QueueMessage {
    /// The order it is about, if it is about one.
    pub fn order(&self) -> Option<&OrderMessage> {
        match self {
            Self::Place { order } | Self::Cancel { order, .. } => Some(order),
            Self::Fence { .. } | Self::Closing { .. } => None,
        }
    }

    /// The id JetStream recognises a repeated publish by.
    pub fn message_id(&self) -> String {
        match self {
            Self::Place { order } => order.order_id.to_string(),
            Self::Cancel { order, .. } => format!("{}/cancel", order.order_id),
            Self::Fence { sale_id, epoch } => format!("{sale_id}/fence/{epoch}"),
            Self::Closing { sale_id, epoch } => format!("{sale_id}/closing/{epoch}"),
        }
    }

    /// Where it is published.
    pub fn subject(&self) -> String {
        match self {
            Self::Place { order } => crate::place_subject(order.sale_id),
            Self::Cancel { order, .. } => crate::cancel_subject(order.sale_id),
            Self::Fence { sale_id, .. } | Self::Closing { sale_id, .. } => {
                crate::fence_subject(*sale_id)
            }
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
