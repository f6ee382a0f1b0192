//! The few fields of Stripe's objects that are read, in answers and in events alike.
//!
//! The library's own types fit exactly one version of the API and refuse an object that lacks any
//! of their fields. An endpoint gets its events in the version it was created with, and an answer
//! that says what happened to the money must not be lost for a field that is not read. Source:
//! docs.stripe.com/api/payment_intents/object, /api/charges/object, /api/refunds/object and
//! /api/errors.

use std::{collections::HashMap, fmt};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::domain::{BuyersAction, Decline, Intent, IntentStatus, MadeRefund, RefundReport};

/// A PaymentIntent.
#[derive(Debug, Deserialize)]
pub struct IntentObject {
    id: String,
    status: String,
    #[serde(default)]
    amount_received: Option<i64>,
    #[serde(default)]
    metadata: Option<HashMap<String, String>>,
    #[serde(default)]
    last_payment_error: Option<ErrorObject>,
    #[serde(default)]
    client_secret: Option<SecretString>,
    #[serde(default)]
    next_action: Option<NextAction>,
    /// Its id, or the whole of it if that was asked for.
    #[serde(default)]
    payment_method: Option<serde_json::Value>,
    /// Its id, or the whole of it if that was asked for.
    #[serde(default)]
    latest_charge: Option<serde_json::Value>,
    /// Versions before 2022-11-15 list the charges in place of `latest_charge`.
    #[serde(default)]
    charges: Option<List<ChargeObject>>,
}

/// What the buyer has to do, of which only the other page is read: the rest is for the provider's
/// own libraries, which get it by the client secret.
#[derive(Debug, Deserialize)]
struct NextAction {
    #[serde(default)]
    redirect_to_url: Option<Redirect>,
}

#[derive(Deserialize)]
struct Redirect {
    #[serde(default)]
    url: Option<String>,
}

impl fmt::Debug for Redirect {
    /// Without the address, which is the buyer's alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirect").finish_non_exhaustive()
    }
}

/// A Charge, of which a whole one says what was captured.
#[derive(Debug, Deserialize)]
struct ChargeObject {
    #[serde(default)]
    amount_captured: Option<i64>,
    #[serde(default)]
    amount: Option<i64>,
    #[serde(default)]
    captured: Option<bool>,
    #[serde(default)]
    status: Option<String>,
}

impl ChargeObject {
    /// What was captured. A charge without `amount_captured` says whether it was captured: of one
    /// that failed that is nothing, and of one that succeeded its amount, for no part of it is ever
    /// asked for.
    fn received(&self) -> Option<i64> {
        let whole = self.captured == Some(true) && self.status.as_deref() == Some("succeeded");
        let failed = self.status.as_deref() == Some("failed") && self.captured != Some(true);
        self.amount_captured
            .or_else(|| failed.then_some(0))
            .or_else(|| self.amount.filter(|_| whole))
    }
}

/// The account of a key.
#[derive(Debug, Deserialize)]
pub struct AccountObject {
    pub(crate) id: String,
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct List<T> {
    pub(crate) data: Vec<T>,
    #[serde(default)]
    pub(crate) has_more: bool,
}

/// A Refund.
#[derive(Debug, Deserialize)]
pub struct RefundObject {
    id: String,
    #[serde(default)]
    amount: i64,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    metadata: Option<HashMap<String, String>>,
    /// Its id, or the whole of it if that was asked for.
    #[serde(default)]
    payment_intent: Option<serde_json::Value>,
}

/// A Dispute.
#[derive(Debug, Deserialize)]
pub struct DisputeObject {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) amount: i64,
    #[serde(default)]
    pub(crate) status: Option<String>,
    #[serde(default)]
    payment_intent: Option<serde_json::Value>,
}

impl DisputeObject {
    /// The intent whose money is disputed.
    pub fn intent(&self) -> Option<&str> {
        id(self.payment_intent.as_ref())
    }
}

/// The body of an error.
#[derive(Debug, Deserialize)]
pub struct ErrorBody {
    pub(crate) error: ErrorObject,
}

/// What an error says. Its message is not kept: it may quote what we sent.
#[derive(Debug, Default, Deserialize)]
pub struct ErrorObject {
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) decline_code: Option<String>,
    #[serde(default)]
    pub(crate) param: Option<String>,
    #[serde(default)]
    pub(crate) payment_intent: Option<Box<IntentObject>>,
    /// The charge that failed, if the card got as far as that.
    #[serde(default)]
    charge: Option<serde_json::Value>,
    /// The means of payment that was refused.
    #[serde(default)]
    payment_method: Option<serde_json::Value>,
    /// The one thing that Stripe says in words alone: the means of payment was used before and is
    /// not for another payment.
    #[serde(default, rename = "message", deserialize_with = "is_about_a_used_method")]
    pub(crate) method_is_used: bool,
}

fn is_about_a_used_method<'de, D: Deserializer<'de>>(text: D) -> Result<bool, D::Error> {
    let text = Option::<String>::deserialize(text)?.unwrap_or_default();
    Ok(text.contains("PaymentMethod was previously used"))
}

impl IntentObject {
    /// An id in its metadata.
    fn named(&self, name: &str) -> Option<Uuid> {
        self.metadata.as_ref()?.get(name)?.parse().ok()
    }

    /// What was captured, in the provider's smallest unit; `None` if nothing here says so, which is
    /// not the same as nothing.
    fn received(&self) -> Option<i64> {
        let of_charge = || ChargeObject::deserialize(self.latest_charge.as_ref()?).ok()?.received();
        let of_charges = || {
            let charges = self.charges.as_ref().filter(|charges| !charges.has_more)?;
            let any = !charges.data.is_empty();
            any.then(|| charges.data.iter().map(ChargeObject::received).sum()).flatten()
        };
        self.amount_received.or_else(of_charge).or_else(of_charges)
    }

    /// How its last card was refused.
    fn decline(&self) -> Option<Decline> {
        let error = self.last_payment_error.as_ref()?;
        let code = error.reason()?;
        // A failed charge tells refusals apart; where there is none, the means of payment does.
        let (charge, method) = (id(error.charge.as_ref()), id(error.payment_method.as_ref()));
        let reference = format!("{}/{}/{code}", charge.unwrap_or("-"), method.unwrap_or("-"));
        Some(Decline { code, reference })
    }

    fn action(&self) -> Option<BuyersAction> {
        let redirect = self.next_action.as_ref().and_then(|next| next.redirect_to_url.as_ref());
        Some(BuyersAction {
            client_secret: self.client_secret.as_ref()?.expose_secret().to_owned(),
            redirect_url: redirect.and_then(|redirect| redirect.url.clone()),
        })
    }

    /// In our words.
    pub fn intent(&self) -> Intent {
        let status = IntentStatus::from(self.status.as_str());
        Intent {
            id: self.id.clone(),
            method: id(self.payment_method.as_ref()).map(str::to_owned),
            received: self.received(),
            action: status.is_buyers_turn().then(|| self.action()).flatten(),
            status,
            decline: self.decline(),
            order_id: self.named("order_id"),
            deployment: self.named("deployment"),
        }
    }
}

impl RefundObject {
    /// In our words.
    pub fn refund(&self) -> MadeRefund {
        let named = |name: &str| self.metadata.as_ref()?.get(name);
        let made_for = || {
            let number = named("try")?.parse().ok()?;
            Some((named("refund_id")?.parse().ok()?, number))
        };
        MadeRefund {
            id: self.id.clone(),
            intent: id(self.payment_intent.as_ref()).map(str::to_owned),
            amount: self.amount,
            report: match self.status.as_deref() {
                Some("succeeded") => RefundReport::Done,
                Some("failed" | "canceled") => RefundReport::Failed,
                Some(_) | None => RefundReport::Pending,
            },
            order_id: named("order_id").and_then(|order| order.parse().ok()),
            made_for: made_for(),
        }
    }
}

/// The id of an object, which stands there itself or by its id.
fn id(object: Option<&serde_json::Value>) -> Option<&str> {
    let object = object?;
    object.as_str().or_else(|| object.get("id")?.as_str())
}

impl ErrorObject {
    /// `decline_code` where there is one, else `code`.
    pub(crate) fn reason(&self) -> Option<String> {
        self.decline_code.clone().or_else(|| self.code.clone())
    }

    /// [`ErrorObject::reason`], else the type.
    pub(crate) fn name(&self) -> String {
        self.reason().unwrap_or_else(|| self.kind.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn intent(mut fields: Value) -> Intent {
        fields["id"] = json!("pi_1");
        if fields.get("status").is_none() {
            fields["status"] = json!("succeeded");
        }
        serde_json::from_value::<IntentObject>(fields).unwrap().intent()
    }

    #[test]
    fn what_was_captured_is_found_or_unknown() {
        // One without `amount_captured`, but for what is given.
        let charge = |fields: Value| {
            let mut charge =
                json!({ "id": "ch_1", "amount": 7, "captured": true, "status": "succeeded" });
            for (name, value) in fields.as_object().unwrap() {
                charge[name] = value.clone();
            }
            charge
        };
        for (fields, received) in [
            (json!({ "amount_received": 1_999 }), Some(1_999)),
            (json!({ "amount_received": 0, "latest_charge": null }), Some(0)),
            (json!({ "latest_charge": { "id": "ch_1", "amount_captured": 1_999 } }), Some(1_999)),
            (json!({ "latest_charge": "ch_1" }), None),
            (json!({ "latest_charge": { "id": "ch_1" } }), None),
            (json!({ "latest_charge": charge(json!({})) }), Some(7)),
            (json!({ "latest_charge": charge(json!({ "amount_captured": 5 })) }), Some(5)),
            (json!({ "latest_charge": charge(json!({ "captured": false })) }), None),
            (json!({ "latest_charge": charge(json!({ "status": "failed" })) }), None),
            (json!({ "latest_charge": charge(json!({ "status": null })) }), None),
            (json!({ "latest_charge": charge(json!({ "amount": null })) }), None),
            (json!({ "charges": { "data": [charge(json!({}))] } }), Some(7)),
            (
                json!({ "charges": { "data": [{ "amount_captured": 0 }, { "amount_captured": 5 }] } }),
                Some(5),
            ),
            (json!({ "charges": { "data": [{ "amount": 7 }] } }), None),
            (json!({ "charges": { "data": [{ "amount_captured": 5 }], "has_more": true } }), None),
            (json!({ "charges": { "data": [] } }), None),
            (json!({}), None),
        ] {
            assert_eq!(intent(fields.clone()).received, received, "{fields}");
        }
    }

    #[test]
    fn what_the_buyer_needs_is_read_while_it_is_their_turn() {
        let url = "https://hooks.stripe.example/3ds";
        let fields = |status: &str| {
            json!({
                "status": status,
                "client_secret": "pi_1_secret_2",
                "next_action": { "type": "redirect_to_url", "redirect_to_url": { "url": url } },
            })
        };
        let action = intent(fields("requires_action")).action.unwrap();
        assert_eq!(action.client_secret, "pi_1_secret_2");
        assert_eq!(action.redirect_url.as_deref(), Some(url));
        assert!(!format!("{action:?}").contains("secret_2"));
        assert_eq!(intent(fields("processing")).action, None);
        let by_library = json!({
            "status": "requires_action",
            "client_secret": "pi_1_secret_2",
            "next_action": { "type": "use_stripe_sdk", "use_stripe_sdk": {} },
        });
        assert_eq!(intent(by_library).action.unwrap().redirect_url, None);
    }

    #[test]
    fn a_refusal_is_told_from_another() {
        let refused = |charge: Value, method: Value, code: &str| {
            let error = json!({ "code": code, "charge": charge, "payment_method": method });
            let fields =
                json!({ "status": "requires_payment_method", "last_payment_error": error });
            intent(fields).decline.unwrap().reference
        };
        let method = json!({ "id": "pm_1" });
        let first = refused(json!("ch_1"), method.clone(), "card_declined");
        assert_eq!(first, refused(json!({ "id": "ch_1" }), json!("pm_1"), "card_declined"));
        for other in [
            refused(json!("ch_2"), method.clone(), "card_declined"),
            refused(json!("ch_1"), json!("pm_2"), "card_declined"),
            refused(json!(null), method, "payment_intent_authentication_failure"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_named_means_of_payment_is_read_by_its_id() {
        for (method, id) in [
            (json!("pm_1"), Some("pm_1")),
            (json!({ "id": "pm_1", "type": "card" }), Some("pm_1")),
            (json!(null), None),
        ] {
            let read = intent(json!({ "payment_method": method }));
            assert_eq!(read.method.as_deref(), id, "{method}");
        }
        assert_eq!(intent(json!({})).method, None);
    }

    #[test]
    fn an_intent_is_read_without_what_is_not_needed() {
        let order = Uuid::new_v4();
        let read = intent(json!({
            "status": "requires_payment_method",
            "metadata": { "order_id": order.to_string() },
            "last_payment_error": { "code": "card_declined", "decline_code": "lost_card" },
        }));
        assert_eq!(read.order_id, Some(order));
        assert_eq!(read.status, IntentStatus::RequiresPaymentMethod);
        assert_eq!(read.decline.unwrap().code, "lost_card");
        assert!(serde_json::from_value::<IntentObject>(json!({ "id": "pi_1" })).is_err());
    }
}
