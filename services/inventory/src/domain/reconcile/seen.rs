//! What was read of the stores.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::{HoldState, SkuBooks};

/// How long a placed order may wait for the record before its message is looked for.
pub const MESSAGE_GRACE_MS: i64 = 60_000;

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

    pub(super) fn words(self) -> &'static str {
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
pub struct UnitTotals {
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
