//! What an order carries besides its lines.

use serde::{Deserialize, Serialize};

/// What an order carries besides its lines: the same texts in the hold that places it, in the
/// messages of the queue and in the columns of the record. The request id binds its JSON in a hold,
/// so that the order of the fields is fixed and a new one is last and left out while it is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDetails {
    /// The buyer's mail address.
    pub email: String,
    /// The name mails are addressed to.
    pub contact_name: String,
    /// The payment provider's token of the payment method.
    pub payment_method: String,
    /// The language of mails as a BCP 47 tag; empty for the shop's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locale: String,
}

impl OrderDetails {
    /// Details whose texts `text` knows by the names that they have in JSON.
    pub fn by_name(text: impl Fn(&'static str) -> String) -> Self {
        Self {
            email: text("email"),
            contact_name: text("contact_name"),
            payment_method: text("payment_method"),
            locale: text("locale"),
        }
    }

    /// All texts.
    pub fn texts(&self) -> [&str; 4] {
        let Self { email, contact_name, payment_method, locale } = self;
        [email, contact_name, payment_method, locale]
    }

    /// These details with each text as `change` makes it.
    #[must_use]
    pub fn map(&self, change: impl Fn(&String) -> String) -> Self {
        Self {
            email: change(&self.email),
            contact_name: change(&self.contact_name),
            payment_method: change(&self.payment_method),
            locale: change(&self.locale),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_those_of_json() {
        let details = OrderDetails::by_name(str::to_owned);
        let json = serde_json::to_value(&details).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 4);
        for (name, text) in json.as_object().unwrap() {
            assert_eq!(name, text);
        }
        assert_eq!(details.texts(), ["email", "contact_name", "payment_method", "locale"]);
        assert_eq!(details.map(|text| format!("{text}!")).locale, "locale!");
    }
}
