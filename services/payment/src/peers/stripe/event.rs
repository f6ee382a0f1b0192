//! The few fields of an event that are read, of its object the same as of an answer.

use std::collections::HashMap;

use serde::Deserialize;
use uuid::Uuid;

use super::object::{DisputeObject, IntentObject, RefundObject};
use crate::domain::{Intent, MadeRefund};

/// docs.stripe.com/api/events/object.
#[derive(Debug, Deserialize)]
pub struct Event {
    /// Stripe's id.
    pub id: String,
    /// For example `payment_intent.succeeded`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub created: i64,
    /// Whether it is about real money.
    #[serde(default)]
    pub livemode: Option<bool>,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    object: Object,
}

/// A PaymentIntent, a Refund, a Dispute, or a Charge, which has its intent's metadata; or anything
/// else.
#[derive(Debug, Deserialize)]
#[serde(tag = "object")]
enum Object {
    #[serde(rename = "payment_intent")]
    Intent(Box<IntentObject>),
    #[serde(rename = "refund")]
    Refund(Box<RefundObject>),
    #[serde(rename = "dispute")]
    Dispute(Box<DisputeObject>),
    #[serde(untagged)]
    Other {
        #[serde(default)]
        metadata: Option<HashMap<String, String>>,
    },
}

impl Event {
    /// The order in the metadata of an object that is no intent.
    pub fn order(&self) -> Option<Uuid> {
        match &self.data.object {
            Object::Intent(intent) => intent.intent().order_id,
            Object::Refund(refund) => refund.refund().order_id,
            Object::Dispute(_) => None,
            Object::Other { metadata } => metadata.as_ref()?.get("order_id")?.parse().ok(),
        }
    }

    /// The intent and its order, if the event is about one of ours.
    pub fn intent(&self) -> Option<(Uuid, Intent)> {
        match &self.data.object {
            Object::Intent(intent) => {
                let intent = intent.intent();
                Some((intent.order_id?, intent))
            }
            Object::Refund(_) | Object::Dispute(_) | Object::Other { .. } => None,
        }
    }

    /// The id of the intent that the event is about, if it says so.
    pub fn intent_id(&self) -> Option<String> {
        match &self.data.object {
            Object::Intent(intent) => Some(intent.intent().id),
            Object::Refund(refund) => refund.refund().intent,
            Object::Dispute(dispute) => dispute.intent().map(str::to_owned),
            Object::Other { .. } => None,
        }
    }

    /// The dispute, if the event is about one.
    pub fn dispute(&self) -> Option<&DisputeObject> {
        match &self.data.object {
            Object::Dispute(dispute) => Some(dispute),
            Object::Intent(_) | Object::Refund(_) | Object::Other { .. } => None,
        }
    }

    /// The refund and the intent whose money it gives back, if the event is about one.
    pub fn refund(&self) -> Option<(String, MadeRefund)> {
        match &self.data.object {
            Object::Refund(refund) => {
                let made = refund.refund();
                Some((made.intent.clone()?, made))
            }
            Object::Intent(_) | Object::Dispute(_) | Object::Other { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_intent_is_read_as_one() {
        let order = Uuid::new_v4();
        let event = |object: &str| {
            serde_json::from_value::<Event>(json!({
                "id": "evt_1",
                "type": "any",
                "data": { "object": {
                    "object": object,
                    "id": "x_1",
                    "status": "succeeded",
                    "metadata": { "order_id": order.to_string() },
                } },
            }))
            .unwrap()
        };
        let intent = event("payment_intent");
        assert_eq!(intent.order(), Some(order));
        let (of, seen) = intent.intent().unwrap();
        assert_eq!((of, seen.received), (order, None));
        let charge = event("charge");
        assert_eq!((charge.order(), charge.intent()), (Some(order), None));
    }
}
