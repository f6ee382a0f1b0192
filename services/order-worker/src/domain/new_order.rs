//! Orders that enter the record.

use std::collections::HashMap;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Change, EndReason, OrderState, PlacedOrder};

/// An order that enters the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    pub order: PlacedOrder,
    /// The states it passes through in this batch, each with its cause; the last one is its state.
    pub path: Vec<(OrderState, &'static str)>,
    /// Why it ended, if it ends in this batch.
    pub end_reason: Option<EndReason>,
    /// When the buyer asked to cancel it.
    pub cancel_requested_at: Option<OffsetDateTime>,
    /// Whether it takes over a row that it already has as a dead letter.
    pub reinstates: bool,
}

impl NewOrder {
    /// Its state once the batch is recorded.
    pub fn state(&self) -> OrderState {
        // A path is never empty.
        self.path.last().map_or(OrderState::Claimed, |(state, _)| *state)
    }

    /// Claims every line or none: an order that `left` cannot cover as a whole ends CANCELLED.
    /// Lowers `left` by what is claimed.
    pub(super) fn claim(order: PlacedOrder, left: &mut HashMap<(Uuid, String), i64>) -> Self {
        let fits = order.lines.iter().all(|line| {
            left.get(&(order.sale_id, line.sku.clone()))
                .is_some_and(|units| *units >= line.quantity)
        });
        if !fits {
            return Self::cancelled(order, EndReason::AllotmentExhausted);
        }
        for line in &order.lines {
            if let Some(units) = left.get_mut(&(order.sale_id, line.sku.clone())) {
                *units -= line.quantity;
            }
        }
        Self::claimed(order)
    }

    fn claimed(order: PlacedOrder) -> Self {
        let mut path = vec![(OrderState::Claimed, "claimed")];
        // The payment provider accepts no payment of zero, and no payment is owed.
        if order.total_minor == 0
            && let Ok(state) = Change::NothingToPay.after(OrderState::Claimed)
        {
            path.push((state, "nothing_to_pay"));
        }
        Self { order, path, end_reason: None, cancel_requested_at: None, reinstates: false }
    }

    /// A row that waits for an operator's decision; `None` if the message does not say whose order
    /// it is.
    pub(super) fn dead_letter(order: &PlacedOrder, cause: &'static str) -> Option<Self> {
        let path = vec![(OrderState::DeadLetter, cause)];
        let order = order.salvage()?;
        Some(Self { order, path, end_reason: None, cancel_requested_at: None, reinstates: false })
    }

    pub(super) fn cancelled(order: PlacedOrder, reason: EndReason) -> Self {
        Self {
            order,
            path: vec![(OrderState::Cancelled, reason.as_str())],
            end_reason: Some(reason),
            cancel_requested_at: None,
            reinstates: false,
        }
    }

    pub(super) fn is_dead_letter(&self) -> bool {
        self.state() == OrderState::DeadLetter
    }

    /// Replaces a dead letter of this batch by the same order as it was placed, and keeps the
    /// history.
    pub(super) fn reinstate(&mut self, placed: Self) {
        self.path.extend(placed.path);
        *self =
            Self { path: std::mem::take(&mut self.path), reinstates: self.reinstates, ..placed };
    }

    /// Notes that its buyer asks to cancel it. Ends a dead letter; has no effect on an order that
    /// has ended.
    pub(super) fn cancel(&mut self, requested_at: OffsetDateTime) {
        let was_open = self.state().is_open();
        if self.is_dead_letter() {
            // A dead letter is never charged, so there is no payment to wait for.
            self.path.push((OrderState::Cancelled, EndReason::Buyer.as_str()));
            self.end_reason = Some(EndReason::Buyer);
        }
        if was_open {
            self.cancel_requested_at.get_or_insert(requested_at);
        }
    }
}
