//! Recorded orders, and what becomes of them in a stock that is rebuilt or that takes up an order
//! of an older epoch.

use std::collections::HashSet;

use flashsale_record::OrderState;
use uuid::Uuid;

use super::{HoldState, Line, PlacedLine};

/// An order in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedOrder {
    pub order_id: Uuid,
    pub buyer_id: String,
    pub hold_id: Uuid,
    /// The admission it spent.
    pub admission_id: Option<String>,
    /// The id of the request that placed it.
    pub request_id: Uuid,
    /// The hash of that request's content.
    pub request_hash: String,
    /// Where its units are.
    pub units: OrderUnits,
    /// When it was placed, in milliseconds since 1970.
    pub placed_ms: i64,
    /// Its lines, each sku once.
    pub lines: Vec<PlacedLine>,
}

/// Where the units of a recorded order are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderUnits {
    /// With an order that is not settled.
    Placed,
    /// Paid for. A refund does not put them back on sale.
    Sold,
    /// Back on sale.
    Returned,
}

impl OrderUnits {
    /// By the order's state in the record; `None` for a dead letter, of which the record has no
    /// units.
    pub fn of(state: OrderState) -> Option<Self> {
        match state {
            OrderState::Claimed | OrderState::Paying | OrderState::ActionRequired => {
                Some(Self::Placed)
            }
            OrderState::Confirmed | OrderState::Refunded => Some(Self::Sold),
            OrderState::Declined | OrderState::Cancelled => Some(Self::Returned),
            OrderState::DeadLetter => None,
        }
    }

    /// The state of the order's hold.
    pub fn hold_state(self) -> HoldState {
        match self {
            Self::Placed => HoldState::Placed,
            Self::Sold => HoldState::Sold,
            Self::Returned => HoldState::Released,
        }
    }

    /// The column of the books that counts them; empty for none.
    pub fn column(self) -> &'static str {
        match self {
            Self::Placed => "p",
            Self::Sold => "s",
            Self::Returned => "",
        }
    }
}

/// The orders that a rebuilt stock has holds for, each hold once. Two orders name the same hold if
/// the buyer reserved again, under the same request, what was lost with an older epoch, and ordered
/// again. The hold goes to the order that has units; if both have, the second gets a hold of its
/// own, so that all of the units are out of sale.
pub fn one_order_a_hold(orders: Vec<RecordedOrder>) -> Vec<RecordedOrder> {
    let (with, without): (Vec<_>, Vec<_>) =
        orders.into_iter().partition(|order| order.units != OrderUnits::Returned);
    let mut seen = HashSet::new();
    let mut kept: Vec<RecordedOrder> = with
        .into_iter()
        .map(|order| {
            if seen.insert(order.hold_id) {
                return order;
            }
            seen.insert(order.order_id);
            RecordedOrder { hold_id: order.order_id, ..order }
        })
        .collect();
    kept.extend(without.into_iter().filter(|order| seen.insert(order.hold_id)));
    kept
}

/// An order of an older epoch that is not recorded yet and whose units have to be taken again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Straggler {
    pub hold_id: Uuid,
    pub order_id: Uuid,
    pub buyer_id: String,
    /// The admission it spent.
    pub admission_id: Option<String>,
    /// The id of the request that placed it, as sent.
    pub request_id: String,
    /// The hash of that request's content.
    pub request_hash: String,
    /// When it was placed, in milliseconds since 1970.
    pub placed_ms: i64,
    /// Its lines, each sku once, with the revision of the price at which they were first taken.
    pub lines: Vec<(Line, i64)>,
    /// What it carries besides its lines.
    pub details: String,
}

/// The result for a straggler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retaken {
    /// Its hold is placed in the current epoch, now or by an earlier call.
    Taken,
    /// Its units are gone, or would exceed the buyer's limit.
    Refused,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn order(hold_id: Uuid) -> RecordedOrder {
        RecordedOrder {
            order_id: Uuid::from_u128(1),
            buyer_id: "ada".to_owned(),
            hold_id,
            admission_id: None,
            request_id: Uuid::from_u128(3),
            request_hash: "00".to_owned(),
            units: OrderUnits::Placed,
            placed_ms: 1,
            lines: vec![PlacedLine {
                sku: "a".to_owned(),
                quantity: 2,
                price_minor: 5,
                price_revision: 1,
            }],
        }
    }

    #[test]
    fn shared_hold_goes_to_order_with_units() {
        let hold = Uuid::from_u128(9);
        let of =
            |id: u128, units| RecordedOrder { order_id: Uuid::from_u128(id), units, ..order(hold) };
        let kept = one_order_a_hold(vec![
            of(1, OrderUnits::Returned),
            of(2, OrderUnits::Placed),
            of(3, OrderUnits::Returned),
            of(4, OrderUnits::Sold),
        ]);
        let holds: Vec<(u128, Uuid)> =
            kept.iter().map(|order| (order.order_id.as_u128(), order.hold_id)).collect();
        assert_eq!(holds, [(2, hold), (4, Uuid::from_u128(4))]);
        assert_eq!(one_order_a_hold(vec![of(1, OrderUnits::Returned)]).len(), 1);
    }

    #[test]
    fn every_order_state_has_column() {
        for (state, column) in [
            (OrderState::Claimed, "p"),
            (OrderState::Paying, "p"),
            (OrderState::ActionRequired, "p"),
            (OrderState::Confirmed, "s"),
            (OrderState::Refunded, "s"),
            (OrderState::Declined, ""),
            (OrderState::Cancelled, ""),
        ] {
            assert_eq!(OrderUnits::of(state).unwrap().column(), column, "{state}");
        }
        assert_eq!(OrderUnits::of(OrderState::DeadLetter), None);
    }
}
