//! Which orders of a batch are recorded, and how: a fold over the messages in stream order.

use std::collections::{BTreeMap, HashMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Books, CancelTarget, EndReason, Message, NewOrder, OrderState, PlacedOrder, Unacceptable,
};

/// An order of an older epoch behind the marker of a rebuild: the rebuilt stock does not count its
/// units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Straggler {
    /// The sequence number of its message.
    pub seq: u64,
    pub order_id: Uuid,
    pub sale_id: Uuid,
}

/// What a batch does to the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Orders that enter it, in stream order.
    pub new_orders: Vec<NewOrder>,
    /// Recorded open orders whose buyers ask to cancel them, and when they asked.
    pub cancel_requests: Vec<(Uuid, OffsetDateTime)>,
    /// Recorded dead letters that end because their buyers cancel them.
    pub cancelled: Vec<Uuid>,
    /// Messages that cannot be recorded, by sequence number, and why. Those that say whose order
    /// they place are also among `new_orders`, as dead letters.
    pub dead: Vec<(u64, Unacceptable)>,
    /// By sale: the epoch of the latest rebuild whose marker this batch passes.
    pub fences: BTreeMap<Uuid, i64>,
    /// Stragglers to be parked, in stream order.
    pub parked: Vec<Straggler>,
    /// Orders that were parked before this batch and that it decides.
    pub unparked: Vec<Uuid>,
}

/// Decides over `messages`: sequence number and content, in stream order.
///
/// An order that already has a row is left unchanged: the message was delivered again, or a
/// cancellation overtook it. The exception is a dead letter, which is claimed when its order comes
/// again in recordable form. No more is claimed than `books.left` has. A straggler is parked, so
/// that no message behind it waits; it is no longer parked once its buyer cancels it, or places it
/// again in an epoch whose stock has its units. The decision about a message depends only on the
/// messages before it.
pub fn decide(messages: Vec<(u64, Message)>, books: Books) -> Decision {
    let mut deciding = Deciding { books, ..Deciding::default() };
    for (seq, message) in messages {
        match message {
            Message::Fence { sale_id, epoch } => deciding.fence(seq, sale_id, epoch),
            Message::Closing { .. } => {}
            Message::Place(order) => deciding.place(seq, order),
            Message::Unrecordable { order, cause } => deciding.dead_letter(&order, cause),
            Message::Cancel { target, requested_at } => deciding.cancel(seq, target, requested_at),
        }
    }
    deciding.decision
}

/// The fold's accumulator: what has been decided about the messages so far.
#[derive(Default)]
struct Deciding {
    books: Books,
    decision: Decision,
    /// Orders that enter the record in this batch: their index in `decision.new_orders`.
    entered: HashMap<Uuid, usize>,
    /// Recorded orders whose cancellation this batch asks for.
    requested: HashSet<Uuid>,
}

impl Deciding {
    fn fence(&mut self, seq: u64, sale_id: Uuid, epoch: i64) {
        match self.books.sales.get_mut(&sale_id) {
            // The record hands an epoch out before its marker is published. A marker with an epoch
            // that the record does not know would turn every order of the sale into a straggler,
            // waiting for a stock that will never exist.
            Some(sale) if epoch > 0 && sale.epoch.is_some_and(|recorded| epoch <= recorded) => {
                sale.fence = sale.fence.max(Some(epoch));
                self.decision.fences.extend(sale.fence.map(|fence| (sale_id, fence)));
            }
            Some(_) => self.decision.dead.push((seq, Unacceptable::Epoch)),
            None => self.decision.dead.push((seq, Unacceptable::SaleUnknown)),
        }
    }

    fn place(&mut self, seq: u64, order: PlacedOrder) {
        let id = order.order_id;
        let known = self.books.known.get(&id);
        let reinstates = known.is_some_and(|known| known.state == OrderState::DeadLetter);
        // A dead letter of this same batch: a recordable copy of the order behind it counts.
        let dead_letter = self
            .entered
            .get(&id)
            .copied()
            .filter(|at| self.decision.new_orders[*at].is_dead_letter());
        let entered = self.entered.contains_key(&id) && dead_letter.is_none();
        let settled = known.is_some() && !reinstates || self.requested.contains(&id);
        if settled || entered {
            return;
        }
        // Only an order that is about to get a row has to be complete.
        if let Err(problem) = self.check(&order) {
            self.decision.dead.push((seq, problem));
            self.dead_letter(&order, problem.as_str());
            return;
        }
        let fence = self.books.sales.get(&order.sale_id).and_then(|sale| sale.fence);
        if fence.is_some_and(|fence| order.epoch < fence) {
            if !self.is_parked(id) {
                let straggler = Straggler { seq, order_id: id, sale_id: order.sale_id };
                self.decision.parked.push(straggler);
            }
            return;
        }
        // This includes a parked order: placed again, it has its units in the stock of its new
        // epoch, and that stock counts this claim.
        self.unpark(id);
        let new_order = NewOrder::claim(order, &mut self.books.left);
        match dead_letter {
            Some(at) => self.decision.new_orders[at].reinstate(new_order),
            None => self.insert(NewOrder { reinstates, ..new_order }),
        }
    }

    /// Gives an order that cannot be recorded as it is a row all the same, so that it is not lost
    /// and its buyer can be told. A row, or a parked order, that exists already takes precedence.
    fn dead_letter(&mut self, order: &PlacedOrder, cause: &'static str) {
        let id = order.order_id;
        let exists = self.books.known.contains_key(&id)
            || self.entered.contains_key(&id)
            || self.is_parked(id);
        if !exists
            && self.books.sales.contains_key(&order.sale_id)
            && let Some(new_order) = NewOrder::dead_letter(order, cause)
        {
            self.insert(new_order);
        }
    }

    fn cancel(&mut self, seq: u64, target: CancelTarget, requested_at: OffsetDateTime) {
        let id = target.order_id();
        if let Some(at) = self.entered.get(&id).copied() {
            self.decision.new_orders[at].cancel(requested_at);
            self.unpark(id);
            return;
        }
        if let Some(known) = self.books.known.get(&id) {
            // A row is cancelled by its id, also where the message carries the whole order, which
            // is not checked then.
            if known.state == OrderState::DeadLetter && self.requested.insert(id) {
                self.decision.cancelled.push(id);
                self.unpark(id);
            } else if known.state.awaits_payment()
                && !known.cancel_requested
                && self.requested.insert(id)
            {
                self.decision.cancel_requests.push((id, requested_at));
            }
            return;
        }
        let order = match target {
            CancelTarget::Placed(order) => *order,
            // The record has lost it since: the message does not say enough to write a row, not
            // even which stock has its units.
            CancelTarget::Recorded { .. } => {
                self.decision.dead.push((seq, Unacceptable::Epoch));
                return;
            }
        };
        if let Err(problem) = self.check(&order) {
            self.decision.dead.push((seq, problem));
            return;
        }
        self.unpark(id);
        let new_order = NewOrder::cancelled(order, EndReason::Buyer);
        self.insert(NewOrder { cancel_requested_at: Some(requested_at), ..new_order });
    }

    /// Whether an order can get a row: by the rules that checkout keeps, and at the prices that the
    /// record has for its sale, whatever the message says that its units cost.
    fn check(&self, order: &PlacedOrder) -> Result<(), Unacceptable> {
        order.check()?;
        let sale = self.books.sales.get(&order.sale_id).ok_or(Unacceptable::SaleUnknown)?;
        sale.prices.check(order)
    }

    fn is_parked(&self, id: Uuid) -> bool {
        self.books.parked.contains(&id)
            || self.decision.parked.iter().any(|straggler| straggler.order_id == id)
    }

    /// An order that is decided is no longer parked.
    fn unpark(&mut self, id: Uuid) {
        self.decision.parked.retain(|straggler| straggler.order_id != id);
        if self.books.parked.remove(&id) {
            self.decision.unparked.push(id);
        }
    }

    fn insert(&mut self, new_order: NewOrder) {
        self.entered.insert(new_order.order.order_id, self.decision.new_orders.len());
        self.decision.new_orders.push(new_order);
    }
}

#[cfg(test)]
mod tests;
