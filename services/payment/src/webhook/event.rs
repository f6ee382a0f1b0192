//! The few fields of an event that are read. The library's own types fit exactly one version of the
//! API, but an endpoint gets events in the version it was created with.

use std::collections::HashMap;

use serde::Deserialize;
use uuid::Uuid;

use crate::domain::Intent;

/// docs.stripe.com/api/events/object.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    object: Object,
}

/// A PaymentIntent, or a Charge, which has its intent's metadata; or anything else.
#[derive(Debug, Deserialize)]
struct Object {
    #[serde(default)]
    id: String,
    #[serde(default)]
    object: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    amount_received: i64,
    #[serde(default)]
    metadata: Option<HashMap<String, String>>,
}

impl Event {
    /// The order in the object's metadata.
    pub(super) fn order(&self) -> Option<Uuid> {
        self.data.object.metadata.as_ref()?.get("order_id")?.parse().ok()
    }

    /// The intent and its order, if the event is about one of ours.
    pub(super) fn intent(&self) -> Option<(Uuid, Intent)> {
        let object = &self.data.object;
        if object.object != "payment_intent" {
            return None;
        }
        let order = self.order()?;
        let status = object.status.as_deref()?.into();
        let intent = Intent {
            id: object.id.clone(),
            status,
            received: object.amount_received,
            // The worker reads the reason from the intent itself.
            decline: None,
            order_id: Some(order),
        };
        Some((order, intent))
    }
}
