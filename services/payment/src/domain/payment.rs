//! A payment as we record it, and its intent as the provider reports it.

use std::{fmt, time::Duration};

pub use flashsale_record::{
    PaymentAction as Action, PaymentEndReason as EndReason, PaymentState as State,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// A row of `payments`.
#[derive(Clone)]
pub struct Payment {
    /// The order it pays.
    pub order_id: Uuid,
    /// The order's sale.
    pub sale_id: Uuid,
    pub state: State,
    /// ISO 4217.
    pub currency: String,
    /// What is charged, in minor units of the currency.
    pub amount_minor: i64,
    /// The provider's token of the means of payment that is tried now, or was last. Not for logs.
    pub payment_method: String,
    /// The one PaymentIntent that may ever be confirmed for this order.
    pub intent_id: Option<String>,
    /// The provider's code for why it refused the last card.
    pub decline_code: Option<String>,
    /// Which refusal at the provider that was: see [`Decline::reference`].
    pub decline_ref: Option<String>,
    /// Whether no other card is taken.
    pub decline_final: bool,
    /// The number of the card that is tried now, or was last, from 1.
    pub card_attempt: i32,
    /// The number of the last card that was refused; 0 for none.
    pub card_declined: i32,
    /// The number of the last card whose confirmation may have gone out; 0 for none.
    pub card_sent: i32,
    /// When the first card was refused.
    pub card_declined_at: Option<OffsetDateTime>,
    /// What the buyer has to do, while it is their turn.
    pub action: Option<Action>,
    /// Whether it was requested never to charge it.
    pub cancel_requested: bool,
    /// Why it ends, or ended, though neither the buyer nor the card is the reason.
    pub end_reason: Option<EndReason>,
    /// What was captured, in minor units.
    pub captured_minor: i64,
    /// What of it is back, in minor units.
    pub refunded_minor: i64,
    /// How often it was leased and the provider called.
    pub attempts: i32,
    /// Answers in a row that say our requests are wrong, or that cannot be read.
    pub failures: i32,
    /// What the idempotency keys of its requests end in.
    pub generation: i32,
    /// When a request may first have gone out under such a key.
    pub generation_at: Option<OffsetDateTime>,
    /// Whether the provider answers under these keys with what it has stored, whatever is asked.
    pub key_spent: bool,
    /// When a request to create its intent may first have gone out: until then the provider has not
    /// heard of it.
    pub first_attempt_at: Option<OffsetDateTime>,
    /// When one may last have gone out.
    pub last_attempt_at: Option<OffsetDateTime>,
    /// When it first was the buyer's turn; patience counts from here.
    pub turn_at: Option<OffsetDateTime>,
    /// How long the buyer may take to authenticate, in milliseconds, if the sale says so.
    pub patience_ms: Option<i64>,
    /// Who works on it.
    pub lease_id: Option<Uuid>,
    /// When it is next due.
    pub due_at: OffsetDateTime,
    /// When it was recorded.
    pub created_at: OffsetDateTime,
    /// When it last changed or was leased.
    pub updated_at: OffsetDateTime,
    /// The trace of the order, a W3C traceparent. No decision depends on it.
    pub traceparent: Option<String>,
}

/// A payment with as many failures in a row is stuck: a person has to look.
pub const STUCK_AFTER: i32 = 5;
/// The longest that a sale may give its buyers.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60 * 60);
/// Stripe keeps the answer of a key for 24 hours. Well before that a key is too old to rely on.
const KEY_AGE: Duration = Duration::from_secs(20 * 60 * 60);

impl Payment {
    /// Whether the provider may have heard of it.
    pub fn is_heard_of(&self) -> bool {
        self.first_attempt_at.is_some()
    }

    /// How long the buyer may take to authenticate: what the sale says, else `configured`.
    pub fn patience(&self, configured: Duration) -> Duration {
        let of_sale = self.patience_ms.and_then(|ms| u64::try_from(ms).ok());
        of_sale.map_or(configured, |ms| Duration::from_millis(ms).min(LONGEST_PATIENCE))
    }

    /// Whether its last card was refused, and it waits for another one or for its end.
    pub fn is_declined(&self) -> bool {
        self.card_declined >= self.card_attempt
    }

    /// Whether it was refused for good. In the version before every refusal was, and had no number.
    pub fn is_declined_for_good(&self) -> bool {
        self.decline_final || (self.decline_code.is_some() && self.card_declined == 0)
    }

    /// Whether it waits for its buyer to name another card.
    pub fn awaits_card(&self) -> bool {
        self.is_declined() && !self.is_declined_for_good()
    }

    /// Whether its keys are so old that the provider may have forgotten their answers, or are those
    /// of a version that had others: a request under such a key would be a new one.
    pub fn key_is_old(&self, now: OffsetDateTime) -> bool {
        match self.generation_at {
            Some(at) => now - at > KEY_AGE,
            None => self.is_heard_of(),
        }
    }
}

impl fmt::Debug for Payment {
    /// Without the means of payment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payment")
            .field("order_id", &self.order_id)
            .field("state", &self.state)
            .field("intent_id", &self.intent_id)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// The status of an intent at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentStatus {
    /// It has no usable means of payment: the last one was refused.
    RequiresPaymentMethod,
    /// It has not been confirmed.
    RequiresConfirmation,
    /// The buyer must authenticate.
    RequiresAction,
    /// The provider works on it.
    Processing,
    /// Captured.
    Succeeded,
    /// The money is set aside, to be captured by a second call, which we never ask for.
    RequiresCapture,
    /// It can never be captured.
    Canceled,
    /// A status we do not know.
    Other(String),
}

impl IntentStatus {
    /// Whether the buyer can bring it further.
    pub fn is_buyers_turn(&self) -> bool {
        match self {
            Self::RequiresPaymentMethod | Self::RequiresAction => true,
            Self::RequiresConfirmation
            | Self::Processing
            | Self::Succeeded
            | Self::RequiresCapture
            | Self::Canceled
            | Self::Other(_) => false,
        }
    }
}

impl From<&str> for IntentStatus {
    /// From the provider's word for it.
    fn from(status: &str) -> Self {
        match status {
            "requires_payment_method" => Self::RequiresPaymentMethod,
            "requires_confirmation" => Self::RequiresConfirmation,
            "requires_action" => Self::RequiresAction,
            "processing" => Self::Processing,
            "succeeded" => Self::Succeeded,
            "requires_capture" => Self::RequiresCapture,
            "canceled" => Self::Canceled,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// A refusal of a card, as the provider's intent shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decline {
    /// The provider's code, such as `card_declined`.
    pub code: String,
    /// Tells it from another refusal of the same intent.
    pub reference: String,
}

/// How often, and for how long, another card may be tried.
#[derive(Debug, Clone, Copy)]
pub struct CardRules {
    /// The most cards, the first one included.
    pub attempts: i32,
    /// How long after the first refusal. Nothing: the first refusal is the end.
    pub window: Duration,
}

impl CardRules {
    /// The number of the card whose refusal is the end.
    pub fn last(&self) -> i32 {
        if self.window.is_zero() { 1 } else { self.attempts }
    }
}

/// What the buyer needs to act. For the buyer alone, and not for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct BuyersAction {
    /// What the provider's library in a browser or an app takes.
    pub client_secret: String,
    /// Where the buyer can be sent instead, if the shop has said where they come back to.
    pub redirect_url: Option<String>,
}

impl fmt::Debug for BuyersAction {
    /// Without any of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuyersAction").finish_non_exhaustive()
    }
}

/// What the provider says of an intent.
#[derive(Clone, PartialEq, Eq)]
pub struct Intent {
    /// The provider's id.
    pub id: String,
    /// Where it stands.
    pub status: IntentStatus,
    /// The token of the means of payment that it names, if it names one. Not for logs.
    pub method: Option<String>,
    /// What was captured, in the provider's smallest unit, if the answer says so.
    pub received: Option<i64>,
    /// How the last attempt was refused.
    pub decline: Option<Decline>,
    /// What the buyer needs, while it waits for the buyer.
    pub action: Option<BuyersAction>,
    /// The order it was made for, from the metadata.
    pub order_id: Option<Uuid>,
    /// The deployment that made it, from the metadata.
    pub deployment: Option<Uuid>,
}

impl Intent {
    /// Whether it waits to be confirmed with the card that a payment tries now. Its confirmation
    /// then need not name the card, and can charge no other: a means of payment that was refused
    /// takes an intent out of this status.
    pub fn names_card_of(&self, payment: &Payment) -> bool {
        self.status == IntentStatus::RequiresConfirmation
            && self.method.as_ref() == Some(&payment.payment_method)
    }
}

impl fmt::Debug for Intent {
    /// Without the means of payment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intent")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("received", &self.received)
            .field("decline", &self.decline)
            .field("order_id", &self.order_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Payment {
    /// A payment of 19.99 EUR that was recorded just now.
    pub(crate) fn due() -> Self {
        let now = OffsetDateTime::UNIX_EPOCH;
        Self {
            order_id: Uuid::nil(),
            sale_id: Uuid::nil(),
            state: State::Due,
            currency: "EUR".to_owned(),
            amount_minor: 1_999,
            payment_method: "pm".to_owned(),
            intent_id: None,
            decline_code: None,
            decline_ref: None,
            decline_final: false,
            card_attempt: 1,
            card_declined: 0,
            card_sent: 0,
            card_declined_at: None,
            action: None,
            cancel_requested: false,
            end_reason: None,
            captured_minor: 0,
            refunded_minor: 0,
            attempts: 0,
            failures: 0,
            generation: 0,
            generation_at: None,
            key_spent: false,
            first_attempt_at: None,
            last_attempt_at: None,
            turn_at: None,
            patience_ms: None,
            lease_id: None,
            due_at: now,
            created_at: now,
            updated_at: now,
            traceparent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_intent_to_be_confirmed_names_a_card() {
        let payment = Payment { payment_method: "pm_1".to_owned(), ..Payment::due() };
        let intent = |status: &str, method: Option<&str>| Intent {
            id: "pi_1".to_owned(),
            status: IntentStatus::from(status),
            method: method.map(str::to_owned),
            received: None,
            decline: None,
            action: None,
            order_id: None,
            deployment: None,
        };
        assert!(intent("requires_confirmation", Some("pm_1")).names_card_of(&payment));
        for (status, method) in [
            ("requires_confirmation", Some("pm_2")),
            ("requires_confirmation", None),
            // Refused: it is to be named again, and the answer tells whether it may.
            ("requires_payment_method", Some("pm_1")),
            ("succeeded", Some("pm_1")),
        ] {
            let named = intent(status, method).names_card_of(&payment);
            assert!(!named, "{status} {method:?}");
        }
        let shown = format!("{:?}", intent("requires_confirmation", Some("pm_1")));
        assert!(!shown.contains("pm_1"), "{shown}");
    }
}
