//! A payment as we record it, and its intent as the provider reports it.

use std::fmt;

pub use flashsale_record::PaymentState as State;
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
    /// The provider's token of the means of payment. Not for logs.
    pub payment_method: String,
    /// The one PaymentIntent that may ever be confirmed for this order.
    pub intent_id: Option<String>,
    /// The provider's code for why it refused.
    pub decline_code: Option<String>,
    /// Whether it was requested never to charge it.
    pub cancel_requested: bool,
    /// What was captured, in minor units: nothing or all of it.
    pub captured_minor: i64,
    /// How often it was leased and the provider called.
    pub attempts: i32,
    /// When it was first leased; patience counts from here.
    pub first_attempt_at: Option<OffsetDateTime>,
    /// When it is next due.
    pub due_at: OffsetDateTime,
    /// When it was recorded.
    pub created_at: OffsetDateTime,
    /// When it last changed or was leased.
    pub updated_at: OffsetDateTime,
    /// The trace of the order, a W3C traceparent. No decision depends on it.
    pub traceparent: Option<String>,
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
    /// It can never be captured.
    Canceled,
    /// A status we never ask for (`requires_capture`) or do not know.
    Other(String),
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
            "canceled" => Self::Canceled,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What the provider says of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The provider's id.
    pub id: String,
    /// Where it stands.
    pub status: IntentStatus,
    /// What was captured, in the provider's smallest unit.
    pub received: i64,
    /// Why the last attempt was refused.
    pub decline: Option<String>,
    /// The order it was made for, from the metadata.
    pub order_id: Option<Uuid>,
}
