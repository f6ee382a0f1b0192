//! The few fields of an event that are read, of its object the same as of an answer.

use std::collections::HashMap;

use serde::Deserialize;
use uuid::Uuid;

use crate::{domain::Intent, peers::stripe::object::IntentObject};

/// docs.stripe.com/api/events/object.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Whether it is about real money.
    #[serde(default)]
    pub(super) livemode: Option<bool>,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    object: Object,
}

/// A PaymentIntent, or a Charge, which has its intent's metadata; or anything else.
#[derive(Debug, Deserialize)]
#[serde(tag = "object")]
enum Object {
    #[serde(rename = "payment_intent")]
    Intent(Box<IntentObject>),
    #[serde(untagged)]
    Other {
        #[serde(default)]
        metadata: Option<HashMap<String, String>>,
    },
}

impl Event {
    /// The order in the metadata of an object that is no intent.
    pub(super) fn order(&self) -> Option<Uuid> {
        match &self.data.object {
            Object::Intent(intent) => intent.intent().order_id,
            Object::Other { metadata } => metadata.as_ref()?.get("order_id")?.parse().ok(),
        }
    }

    /// The intent and its order, if the event is about one of ours.
    pub(super) fn intent(&self) -> Option<(Uuid, Intent)> {
        match &self.data.object {
            Object::Intent(intent) => {
                let intent = intent.intent();
                Some((intent.order_id?, intent))
            }
            Object::Other { .. } => None,
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
