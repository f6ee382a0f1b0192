//! Whether another card may be tried.

use uuid::Uuid;

use super::payment::{Action, Payment, State};

/// A request to try another card.
#[derive(Debug, Clone)]
pub struct Retry {
    /// The caller's id of it.
    pub request_id: Uuid,
    /// The order.
    pub order_id: Uuid,
    /// The provider's token of the means of payment. Not for logs.
    pub method: String,
}

/// What comes of a request to try another card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryRuling {
    /// The payment's intent is confirmed with it, as the card of this number.
    Try(i32),
    /// It came before, and is or was tried.
    Known,
    /// It came before with another card.
    Reused,
    /// The payment does not wait for another card.
    Closed,
}

/// Decides about a request to try another card. `before` is the card of an earlier request of the
/// same id, `in_time` whether the time for another card is not over.
///
/// A card is tried only after the one before was refused, and the record has that: so there is one
/// under way at a time.
pub fn retry(payment: &Payment, before: Option<&str>, method: &str, in_time: bool) -> RetryRuling {
    if let Some(before) = before {
        return if before == method { RetryRuling::Known } else { RetryRuling::Reused };
    }
    let waits = payment.state == State::RequiresAction
        && payment.action == Some(Action::NewMethod)
        && payment.awaits_card();
    let unwanted = payment.cancel_requested || payment.end_reason.is_some();
    if waits && in_time && !unwanted {
        RetryRuling::Try(payment.card_attempt + 1)
    } else {
        RetryRuling::Closed
    }
}
