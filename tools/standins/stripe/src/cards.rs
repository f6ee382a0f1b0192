//! The test payment methods that docs.stripe.com/testing names, with their outcomes.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What happens when an intent is confirmed with a payment method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The money is taken.
    Succeeds,
    Declines(Decline),
    /// 3-D Secure comes first; then the money is taken, or the card is declined after all.
    RequiresAction {
        declines_after: Option<Decline>,
    },
    /// The payment stays in `processing`.
    StaysProcessing,
}

/// What comes of a payment later on, without another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    Nothing,
    /// Its refunds are `pending` first, and `succeeded` some time later.
    RefundsPend,
    /// Its refunds are `succeeded` first, and `failed` some time later.
    RefundsFail,
    /// Its buyer disputes it as fraudulent.
    Dispute,
}

/// A decline as docs.stripe.com/declines/codes and docs.stripe.com/error-codes name it. It is
/// stored by its `decline_code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decline {
    pub code: &'static str,
    pub decline_code: &'static str,
    /// The sentence a buyer may be shown.
    pub message: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestMethod {
    /// The name, such as `pm_card_visa`.
    pub name: &'static str,
    /// `card` or `us_bank_account`.
    pub kind: &'static str,
    /// The card's brand, as `payment_method.card.brand`.
    pub brand: &'static str,
    pub last4: &'static str,
    pub outcome: Outcome,
    pub later: Later,
}

const GENERIC: Decline = Decline {
    code: "card_declined",
    decline_code: "generic_decline",
    message: "Your card was declined.",
};
const INSUFFICIENT: Decline = Decline {
    code: "card_declined",
    decline_code: "insufficient_funds",
    message: "Your card has insufficient funds.",
};
const LOST: Decline = Decline {
    code: "card_declined",
    decline_code: "lost_card",
    message: "Your card was declined.",
};
const STOLEN: Decline = Decline {
    code: "card_declined",
    decline_code: "stolen_card",
    message: "Your card was declined.",
};
const EXPIRED: Decline = Decline {
    code: "expired_card",
    decline_code: "expired_card",
    message: "Your card has expired.",
};
const CVC: Decline = Decline {
    code: "incorrect_cvc",
    decline_code: "incorrect_cvc",
    message: "Your card's security code is incorrect.",
};
const PROCESSING: Decline = Decline {
    code: "processing_error",
    decline_code: "processing_error",
    message: "An error occurred while processing your card. Try again in a little bit.",
};

/// An off-session payment with a card that requires authentication
/// (docs.stripe.com/declines/codes, `authentication_required`).
pub const AUTHENTICATION_REQUIRED: Decline = Decline {
    code: "authentication_required",
    decline_code: "authentication_required",
    message: "Your card was declined. This transaction requires authentication.",
};

/// Every decline, each with a `decline_code` of its own.
const DECLINES: &[Decline] =
    &[GENERIC, INSUFFICIENT, LOST, STOLEN, EXPIRED, CVC, PROCESSING, AUTHENTICATION_REQUIRED];

impl Serialize for Decline {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.decline_code)
    }
}

impl<'de> Deserialize<'de> for Decline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        let found = DECLINES.iter().find(|decline| decline.decline_code == code);
        found.copied().ok_or_else(|| D::Error::custom(format!("there is no decline code {code}")))
    }
}

const fn card(
    name: &'static str,
    brand: &'static str,
    last4: &'static str,
    outcome: Outcome,
) -> TestMethod {
    TestMethod { name, kind: "card", brand, last4, outcome, later: Later::Nothing }
}

/// A card that is charged at once, and what comes of it later.
const fn later(name: &'static str, last4: &'static str, later: Later) -> TestMethod {
    TestMethod { later, ..card(name, "visa", last4, Outcome::Succeeds) }
}

/// docs.stripe.com/testing ("PaymentMethods" tab): cards by brand, declined payments, 3-D Secure,
/// disputes, refunds.
/// The two names without `visa` are in wide use in code that cites that page, so they are accepted.
const METHODS: &[TestMethod] = &[
    card("pm_card_visa", "visa", "4242", Outcome::Succeeds),
    card("pm_card_visa_debit", "visa", "5556", Outcome::Succeeds),
    card("pm_card_mastercard", "mastercard", "4444", Outcome::Succeeds),
    card("pm_card_amex", "amex", "0005", Outcome::Succeeds),
    card("pm_card_visa_chargeDeclined", "visa", "0002", Outcome::Declines(GENERIC)),
    card("pm_card_chargeDeclined", "visa", "0002", Outcome::Declines(GENERIC)),
    card(
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "visa",
        "9995",
        Outcome::Declines(INSUFFICIENT),
    ),
    card(
        "pm_card_chargeDeclinedInsufficientFunds",
        "visa",
        "9995",
        Outcome::Declines(INSUFFICIENT),
    ),
    card("pm_card_visa_chargeDeclinedLostCard", "visa", "9987", Outcome::Declines(LOST)),
    card("pm_card_visa_chargeDeclinedStolenCard", "visa", "9979", Outcome::Declines(STOLEN)),
    card("pm_card_chargeDeclinedExpiredCard", "visa", "0069", Outcome::Declines(EXPIRED)),
    card("pm_card_chargeDeclinedIncorrectCvc", "visa", "0127", Outcome::Declines(CVC)),
    card("pm_card_chargeDeclinedProcessingError", "visa", "0119", Outcome::Declines(PROCESSING)),
    card(
        "pm_card_authenticationRequired",
        "visa",
        "3184",
        Outcome::RequiresAction { declines_after: None },
    ),
    card(
        "pm_card_threeDSecure2Required",
        "visa",
        "3220",
        Outcome::RequiresAction { declines_after: None },
    ),
    card(
        "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds",
        "visa",
        "8341",
        Outcome::RequiresAction { declines_after: Some(INSUFFICIENT) },
    ),
    later("pm_card_createDispute", "0259", Later::Dispute),
    later("pm_card_pendingRefund", "7726", Later::RefundsPend),
    later("pm_card_refundFail", "5126", Later::RefundsFail),
    // docs.stripe.com/payments/ach-direct-debit/accept-a-payment, test accounts: the one that
    // stays in processing.
    TestMethod {
        name: "pm_usBankAccount_processing",
        kind: "us_bank_account",
        brand: "STRIPE TEST BANK",
        last4: "0009",
        outcome: Outcome::StaysProcessing,
        later: Later::Nothing,
    },
];

/// The test payment method of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static TestMethod> {
    METHODS.iter().find(|method| method.name == name)
}

/// Stores a test payment method by its name.
pub mod stored {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::{TestMethod, by_name};

    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(
        method: &'static TestMethod,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(method.name)
    }

    /// # Errors
    /// If it is no text, or names no test payment method.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<&'static TestMethod, D::Error> {
        let name = String::deserialize(deserializer)?;
        by_name(&name).ok_or_else(|| D::Error::custom(format!("there is no test method {name}")))
    }
}
