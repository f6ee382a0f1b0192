//! What was read of the stores.

use std::collections::HashMap;

use flashsale_record::OrderState;
use uuid::Uuid;

use crate::domain::{HoldState, SkuBooks};

/// How long a placed order may be missing in the record before its message is searched for.
pub const MESSAGE_GRACE_MS: i64 = 60_000;

/// A hold in Redis, with its index entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenHold {
    pub buyer_id: String,
    /// Its state before the books were read; `None` if it was not there.
    pub before: Option<HoldState>,
    /// Its state as stored.
    pub state: HoldState,
    pub deadline_ms: i64,
    /// Units by sku.
    pub lines: Vec<(String, i64)>,
    pub order_id: Option<Uuid>,
    pub placed_ms: Option<i64>,
    /// Whether it is in `deadlines`.
    pub in_deadlines: bool,
    /// Whether it is in `pending`.
    pub pending: bool,
    /// Whether it carries its order's details.
    pub details: bool,
}

/// The state of an order, as far as its units are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderStanding {
    /// A dead letter: an operator decides, and until then its hold has the units.
    Waiting,
    /// Not ended yet.
    Live,
    /// Paid, even if the money was refunded: its units were not returned.
    Sold,
    /// Ended without the units.
    Ended,
}

impl OrderStanding {
    /// The standing of an order in this state.
    pub const fn of(state: OrderState) -> Self {
        match state {
            OrderState::DeadLetter => Self::Waiting,
            OrderState::Claimed | OrderState::Paying | OrderState::ActionRequired => Self::Live,
            OrderState::Confirmed | OrderState::Refunded => Self::Sold,
            OrderState::Declined | OrderState::Cancelled => Self::Ended,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Waiting => "is a dead letter",
            Self::Live => "is open",
            Self::Sold => "is paid",
            Self::Ended => "ended without the units",
        }
    }
}

/// An order in Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenOrder {
    pub order_id: Uuid,
    pub standing: OrderStanding,
    /// The epoch it was placed in.
    pub epoch: i64,
    /// How long ago it last changed.
    pub age_ms: i64,
    /// Units by sku.
    pub lines: Vec<(String, i64)>,
}

/// The units of a sku in Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkuRecord {
    pub sku: String,
    /// Units the sale may sell.
    pub allotted: i64,
    /// Units counted as claimed.
    pub claimed: i64,
    /// Units in the lines of orders that have units.
    pub ordered: i64,
}

/// The units of all skus.
#[derive(Debug, Clone, Default)]
pub struct UnitTotals {
    /// The books in Redis, as of one instant.
    pub books: Vec<SkuBooks>,
    /// The record's units, as of one instant.
    pub record: Vec<SkuRecord>,
    /// Units by sku and buyer, in Redis.
    pub buyers: HashMap<(String, String), i64>,
}

/// Holds, with their orders.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    /// The epoch in Redis.
    pub epoch: i64,
    /// The store's time.
    pub now_ms: i64,
    pub holds: HashMap<Uuid, SeenHold>,
    /// Entries of `deadlines` without a hold.
    pub strays: Vec<Uuid>,
    /// By the hold they name.
    pub orders: HashMap<Uuid, SeenOrder>,
}

impl Holds {
    /// How long the oldest held hold is past its deadline.
    pub fn oldest_expired_ms(&self) -> i64 {
        let held = self.holds.values().filter(|hold| hold.state == HoldState::Held);
        held.map(|hold| self.now_ms - hold.deadline_ms).max().unwrap_or(0).max(0)
    }

    /// Orders that are placed for so long that the record should have them: hold id and order id.
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
