//! What differs between the stock in Redis, the queue and the record, as a function of what was read of them.
//!
//! The stores are read one after the other and a large sale page by page, while it sells: so the sums over the holds are not exact but
//! between two bounds. A hold only moves forward, and never leaves: one that stands in the same state in a reading before the books and
//! in one after them stood there when they were read; any other may have stood anywhere.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::{HoldState, Outcome, SkuBooks};

mod holds;
mod units;

#[cfg(test)]
mod tests;

pub use holds::{of_holds, of_messages};
pub use units::{of_record, of_units};

/// How long an order may have ended before its hold has to have: closing it is on its way until then.
pub const SETTLE_GRACE_MS: i64 = 5_000;
/// How far past its deadline a hold may be before its units have to be back.
pub const SWEEP_GRACE_MS: i64 = 5_000;
/// How long a placed order may wait for the record before its message is looked for.
pub const MESSAGE_GRACE_MS: i64 = 60_000;

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

/// A hold as it stands in Redis, with its indexes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenHold {
    /// The buyer.
    pub buyer_id: String,
    /// Where it stood before the books were read; `None` if it was not there.
    pub before: Option<HoldState>,
    /// Where it stands, as it is stored.
    pub state: HoldState,
    /// When it expires.
    pub deadline_ms: i64,
    /// Units by sku.
    pub lines: Vec<(String, i64)>,
    /// The order, once placed.
    pub order_id: Option<Uuid>,
    /// When it was placed.
    pub placed_ms: Option<i64>,
    /// Whether `deadlines` has it.
    pub in_deadlines: bool,
    /// Whether `pending` has it.
    pub pending: bool,
    /// Whether it carries its order's details.
    pub details: bool,
}

/// Where an order stands, as far as its units are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStanding {
    /// Its message could not be recorded: a person decides, and its hold has the units until then.
    Waiting,
    /// Its end is to come.
    Live,
    /// It was paid; also if the money went back, for its units did not.
    Sold,
    /// It ended without the units.
    Ended,
}

impl OrderStanding {
    /// The standing of an order in this state.
    pub fn parse(state: &str) -> Option<Self> {
        match state {
            "DEAD_LETTER" => Some(Self::Waiting),
            "CLAIMED" | "PAYING" | "ACTION_REQUIRED" => Some(Self::Live),
            "CONFIRMED" | "REFUNDED" => Some(Self::Sold),
            "DECLINED" | "CANCELLED" => Some(Self::Ended),
            _ => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Waiting => "is a dead letter",
            Self::Live => "is open",
            Self::Sold => "is paid",
            Self::Ended => "ended without the units",
        }
    }
}

/// An order as it stands in Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenOrder {
    /// The order.
    pub order_id: Uuid,
    /// Where it stands.
    pub standing: OrderStanding,
    /// The epoch it was placed in.
    pub epoch: i64,
    /// Since it last changed.
    pub age_ms: i64,
    /// Units by sku.
    pub lines: Vec<(String, i64)>,
}

/// What Postgres says of a sku.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkuRecord {
    /// The sku.
    pub sku: String,
    /// Units the sale may sell.
    pub allotted: i64,
    /// Units counted as claimed.
    pub claimed: i64,
    /// Units in the lines of orders that have them.
    pub ordered: i64,
}

/// The units of all skus.
#[derive(Debug, Clone, Default)]
pub struct Units {
    /// The books in Redis, as of one instant.
    pub books: Vec<SkuBooks>,
    /// The record's, as of one instant.
    pub record: Vec<SkuRecord>,
    /// Units by sku and buyer, in Redis.
    pub buyers: HashMap<(String, String), i64>,
}

/// Holds, with their orders.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    /// The epoch in Redis.
    pub epoch: i64,
    /// The store's clock.
    pub now_ms: i64,
    /// By id.
    pub holds: HashMap<Uuid, SeenHold>,
    /// Entries of `deadlines` that have no hold.
    pub strays: Vec<Uuid>,
    /// By the hold they name.
    pub orders: HashMap<Uuid, SeenOrder>,
}

impl Holds {
    /// How long the oldest hold is past its deadline with its units not given back.
    pub fn oldest_expired_ms(&self) -> i64 {
        let held = self.holds.values().filter(|hold| hold.state == HoldState::Held);
        held.map(|hold| self.now_ms - hold.deadline_ms).max().unwrap_or(0).max(0)
    }

    /// Placed orders that the record should have by now: hold id and order id.
    pub fn overdue(&self) -> Vec<(Uuid, Uuid)> {
        let overdue = |id: &Uuid, hold: &SeenHold| {
            let waited = hold.placed_ms.map(|placed| self.now_ms - placed)?;
            let waits = hold.state == HoldState::Placed
                && hold.pending
                && waited > MESSAGE_GRACE_MS
                && !self.orders.contains_key(id);
            hold.order_id.filter(|_| waits)
        };
        self.holds.iter().filter_map(|(id, hold)| Some((*id, overdue(id, hold)?))).collect()
    }
}

/// What differs. `holds` has every hold of the sale.
pub fn differences(units: &Units, holds: &Holds) -> Vec<Difference> {
    let mut found = of_units(units, &holds.holds);
    found.extend(of_record(units));
    found.extend(of_holds(holds));
    found
}

/// What is promised beyond what is allotted, sku by sku, by whichever view is worst.
pub fn oversold(units: &Units) -> i64 {
    let mut worst: BTreeMap<&str, i64> = BTreeMap::new();
    for sku in &units.books {
        let beyond = sku.held + sku.placed + sku.sold - sku.allotted;
        let worst = worst.entry(&sku.sku).or_default();
        *worst = beyond.max(*worst);
    }
    for sku in &units.record {
        let beyond = sku.claimed.max(sku.ordered) - sku.allotted;
        let worst = worst.entry(&sku.sku).or_default();
        *worst = beyond.max(*worst);
    }
    worst.values().sum()
}

fn of_sku(kind: Kind, sku: &str, units: i64, what: String) -> Difference {
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
