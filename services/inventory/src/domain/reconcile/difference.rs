//! A difference: its kind, what it concerns, and what would repair it.

use uuid::Uuid;

use crate::domain::Outcome;

/// What kind of difference it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Columns, holds and buyers do not come to the same.
    BooksDoNotAddUp,
    /// Redis and Postgres do not allot the same.
    AllotmentDiffers,
    /// More is promised than allotted.
    Oversold,
    /// The order has ended and its hold has not.
    HoldBehindOrder,
    /// The hold stands where the order's state excludes it.
    HoldContradictsOrder,
    /// An order of this epoch has no hold.
    OrderWithoutHold,
    /// A placed hold has no order, and none is on its way.
    PlacedWithoutOrder,
    /// A placed order is neither in the record nor in the queue.
    MessageVanished,
    /// The same, but the queue could not be read.
    MessageUnknown,
    /// A hold is past its deadline and its units are not back.
    ExpiredNotReturned,
    /// A held hold that no sweep will meet.
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

/// What the record proves about a hold, and so what may be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// End the hold so.
    Settle(Outcome),
    /// Bring the indexes in line with the hold.
    Mend,
    /// Give back what is past its deadline.
    Sweep,
}

/// One difference, of one sku or one hold's units of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The kind.
    pub kind: Kind,
    /// The sku; empty where it is not known.
    pub sku: String,
    /// Units concerned.
    pub units: i64,
    /// The hold, where it is about one.
    pub hold_id: Option<Uuid>,
    /// The hold's order, as far as it is known.
    pub order_id: Option<Uuid>,
    /// In words, without times: what is the same on a second look reads the same.
    pub what: String,
    /// Units that are there for nobody because of it.
    pub stranded: i64,
    /// What would mend it.
    pub repair: Option<Repair>,
}

/// A difference of a sku, of no hold, that nothing would repair.
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
