//! Requests: validation and conversion.

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{Money, checkout, inventory};
use flashsale_service::wire;
use uuid::Uuid;

use crate::domain::{InputError, Recorded};

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

/// The total that the buyer has been told, for inventory, which compares it; `None` for any.
///
/// # Errors
/// `ARGUMENT_INVALID` for an amount below 0, one that its currency cannot express, or an unknown
/// currency.
pub(super) fn expected_total(total: Option<Money>) -> Result<Option<Money>, Failure> {
    if let Some(total) = &total {
        wire::price("expected_total", total)?;
    }
    Ok(total)
}

/// The state that a list is limited to; `None` for all.
///
/// # Errors
/// `ARGUMENT_INVALID` for an unknown state, or one that is never recorded.
pub(super) fn recorded_state(state: i32) -> Result<Option<Recorded>, Failure> {
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
        Wire::DeadLetter => Ok(Some(Recorded::DeadLetter)),
        Wire::Claimed => Ok(Some(Recorded::Claimed)),
        Wire::Paying => Ok(Some(Recorded::Paying)),
        Wire::ActionRequired => Ok(Some(Recorded::ActionRequired)),
        Wire::Confirmed => Ok(Some(Recorded::Confirmed)),
        Wire::Declined => Ok(Some(Recorded::Declined)),
        Wire::Cancelled => Ok(Some(Recorded::Cancelled)),
        Wire::Refunded => Ok(Some(Recorded::Refunded)),
    }
}
