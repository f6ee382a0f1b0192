//! A difference: its kind, what it concerns, and what would repair it.

use uuid::Uuid;

use crate::domain::Outcome;

/// The kind of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Columns, holds and buyers do not have the same sums.
    BooksDoNotAddUp,
    /// Redis and Postgres allot different numbers of units.
    AllotmentDiffers,
    /// More units are promised than allotted.
    Oversold,
    /// The order has ended and its hold has not.
    HoldBehindOrder,
    /// The order's state excludes that of the hold.
    HoldContradictsOrder,
    /// An order of this epoch has no hold.
    OrderWithoutHold,
    /// A placed hold has no order, and none is on its way.
    PlacedWithoutOrder,
    /// A placed order is neither in the record nor in the queue.
    MessageVanished,
    /// As [`Kind::MessageVanished`], but the queue could not be read.
    MessageUnknown,
    /// A hold is past its deadline and its units are not back.
    ExpiredNotReturned,
    /// A held hold that no sweep will find.
    DeadlineMissing,
    /// A deadline without a held hold.
    DeadlineStray,
}

impl Kind {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BooksDoNotAddUp => "books_do_not_add_up",
            Self::AllotmentDiffers => "allotment_differs",
            Self::Oversold => "oversold",
            Self::HoldBehindOrder => "hold_behind_order",
            Self::HoldContradictsOrder => "hold_contradicts_order",
            Self::OrderWithoutHold => "order_without_hold",
            Self::PlacedWithoutOrder => "placed_without_order",
            Self::MessageVanished => "message_vanished",
            Self::MessageUnknown => "message_unknown",
            Self::ExpiredNotReturned => "expired_not_returned",
            Self::DeadlineMissing => "deadline_missing",
            Self::DeadlineStray => "deadline_stray",
        }
    }
}

/// A repair that the record proves to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Settle the hold with this outcome.
    Settle(Outcome),
    /// Bring the indexes in line with the hold.
    Mend,
    /// Give back the units of holds past their deadline.
    Sweep,
}

/// One difference, in one sku or in one hold's units of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub kind: Kind,
    /// The sku; empty where it is not known.
    pub sku: String,
    /// Units concerned.
    pub units: i64,
    /// The hold, if it concerns one.
    pub hold_id: Option<Uuid>,
    /// The hold's order, as far as it is known.
    pub order_id: Option<Uuid>,
    /// A description without times, so that it is the same at the second reading.
    pub what: String,
    /// Units that are neither on sale nor in a hold that can end, because of it.
    pub stranded: i64,
    /// What would repair it.
    pub repair: Option<Repair>,
}

/// A difference in a sku, without a hold or a repair.
pub(super) fn of_sku(kind: Kind, sku: &str, units: i64, what: String) -> Difference {
    Difference {
        kind,
        sku: sku.to_owned(),
        units: units.abs(),
        hold_id: None,
        order_id: None,
        what,
        stranded: 0,
        repair: None,
    }
}
