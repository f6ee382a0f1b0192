//! How a sale goes or went.

use time::OffsetDateTime;

use super::Sale;

/// How one item sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemReport {
    pub sku: String,
    /// What the buyer reads.
    pub title: String,
    /// Units the sale may sell.
    pub allotted: i64,
    /// Units in confirmed orders.
    pub sold: i64,
    /// Units in recorded orders that have no end yet.
    pub open: i64,
    /// What the confirmed orders pay for these units.
    pub gross_minor: i64,
}

/// Orders, money and what is under way, as of one moment of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// When the record was read.
    pub read_at: OffsetDateTime,
    /// Recorded orders without an end.
    pub orders_open: i64,
    /// Orders that could not be recorded as they are.
    pub dead_letters: i64,
    /// Orders by their end.
    pub confirmed: i64,
    /// Orders by their end.
    pub declined: i64,
    /// Orders by their end.
    pub cancelled: i64,
    /// Orders by their end.
    pub refunded: i64,
    /// Taken from buyers, before refunds.
    pub captured_minor: i64,
    /// Payments that are neither taken nor given up.
    pub payments_open: i64,
    /// Paid back.
    pub refunded_minor: i64,
    /// To be paid back.
    pub refund_due_minor: i64,
    /// Refunds to be made.
    pub refunds_due: i64,
    /// Consequences to be carried out.
    pub consequences_due: i64,
    /// Those among them that move units or money, orders that have yet to follow their payments or
    /// whose units are to be taken again, and unfinished adjustments of the stock.
    pub unsettled: i64,
    /// The stock was rebuilt so recently that an order of an older epoch may still come out of the
    /// queue.
    pub rebuilt_lately: bool,
}

/// Units that the record does not know of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitsOut {
    /// In holds with a deadline.
    pub held: i64,
    /// In accepted orders that are not settled.
    pub placed: i64,
}

impl UnitsOut {
    /// Nothing is held or placed.
    pub const NONE: Self = Self { held: 0, placed: 0 };
}

/// How a sale goes or went.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The sale, as it stood before anything else of this was read.
    pub sale: Sale,
    /// Units that are held or placed, read before the record; `None` if inventory did not answer.
    pub units: Option<UnitsOut>,
    /// Each item, by sku.
    pub items: Vec<ItemReport>,
    /// Everything else.
    pub totals: Totals,
}

impl Report {
    /// Whether the sale was found to be settled, which is written once and stays.
    pub fn is_final(&self) -> bool {
        self.sale.final_at.is_some()
    }

    /// Whether no figure can change any more, apart from consequences that only announce something.
    ///
    /// Nothing can change between this check and recording that the sale is final, because nothing
    /// is left that could begin anything:
    ///
    /// - The sale is over and inventory knows, so no hold is taken. No units are held, so none
    ///   can be placed.
    /// - An order on its way into the queue has a placed hold until it is recorded and has ended.
    ///   No units are placed, and every recorded order has ended, as have its payment, its refund
    ///   and everything that moves units or money because of it. Inventory is asked first: what it
    ///   settles meanwhile is in the record that is read afterwards.
    /// - Only an order of an older epoch has no hold in the rebuilt stock. It is in the queue
    ///   behind the rebuild's marker, where no such order is published long after the rebuild, or
    ///   among the parked orders. Neither is the case: the rebuild is not recent, and no order is
    ///   parked.
    ///
    /// What remains is a claimer that was stuck for all of that time with such an order in front of
    /// it. It finds the sale final, which gives the order no units: it ends as cancelled and
    /// changes only that count.
    pub fn is_settled(&self) -> bool {
        let totals = &self.totals;
        let moving = [
            totals.orders_open,
            totals.dead_letters,
            totals.payments_open,
            totals.refunds_due,
            totals.unsettled,
        ];
        self.sale.state.is_over()
            && self.sale.is_propagated()
            && self.units == Some(UnitsOut::NONE)
            && !totals.rebuilt_lately
            && moving.iter().all(|count| *count == 0)
    }
}
