//! Requests: validation and conversion.

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{checkout, inventory};
use flashsale_service::wire;
use uuid::Uuid;

use crate::domain::{InputError, OrderState};

const MAX_BUYER_CHARS: usize = 128;

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Failure::invalid(error.field, error.problem)
    }
}

/// The ids that name an order and, if given, its buyer.
///
/// # Errors
/// `ARGUMENT_INVALID` for an id that is not a UUID, or a buyer that is too long or not printable.
pub(super) fn order_ids<'a>(
    sale_id: &str,
    order_id: &str,
    buyer_id: &'a str,
) -> Result<(Uuid, Uuid, Option<&'a str>), Failure> {
    let sale_id = wire::uuid("sale_id", sale_id, Reason::ArgumentInvalid)?;
    let order_id = wire::uuid("order_id", order_id, Reason::ArgumentInvalid)?;
    Ok((sale_id, order_id, some_buyer(buyer_id)?))
}

/// A buyer id; empty means none.
pub(super) fn some_buyer(buyer_id: &str) -> Result<Option<&str>, Failure> {
    match buyer_id {
        "" => Ok(None),
        buyer_id => buyer(buyer_id).map(Some),
    }
}

pub(super) fn buyer(buyer_id: &str) -> Result<&str, Failure> {
    wire::printable("buyer_id", buyer_id, MAX_BUYER_CHARS)
}

pub(super) fn line(line: checkout::Line) -> inventory::Line {
    inventory::Line { sku: line.sku, quantity: line.quantity }
}

/// The recorded name of the state that a list is limited to; `None` for all.
///
/// # Errors
/// `ARGUMENT_INVALID` for an unknown state, or one that is never recorded.
pub(super) fn recorded_state(state: i32) -> Result<Option<&'static str>, Failure> {
    use checkout::OrderState as Wire;
    let unrecorded = || {
        Failure::invalid(
            "state",
            "must be a state of the record: CLAIMED or later, DEAD_LETTER, or none for all",
        )
    };
    match Wire::try_from(state).map_err(|_| unrecorded())? {
        Wire::Unspecified => Ok(None),
        Wire::AcceptancePending | Wire::Accepted => Err(unrecorded()),
        Wire::DeadLetter => Ok(OrderState::DeadLetter.recorded_name()),
        Wire::Claimed => Ok(OrderState::Claimed.recorded_name()),
        Wire::Paying => Ok(OrderState::Paying.recorded_name()),
        Wire::ActionRequired => Ok(OrderState::ActionRequired.recorded_name()),
        Wire::Confirmed => Ok(OrderState::Confirmed.recorded_name()),
        Wire::Declined => Ok(OrderState::Declined.recorded_name()),
        Wire::Cancelled => Ok(OrderState::Cancelled.recorded_name()),
        Wire::Refunded => Ok(OrderState::Refunded.recorded_name()),
    }
}
