//! Which orders of a batch are recorded, and how: a fold over the messages in the order of the stream.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Change, EndReason, Intake, OrderState, PlacedOrder, Unacceptable};

/// What the record says about everything that a batch touches, read under locks.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// Orders that are there already.
    pub known: HashMap<Uuid, Known>,
    /// Sales that exist.
    pub sales: HashMap<Uuid, SaleFacts>,
    /// Units that may still be claimed, by (sale, sku). What is missing here has none.
    pub left: HashMap<(Uuid, String), i64>,
}

/// An order that is in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Where it stands.
    pub state: OrderState,
    /// Whether the buyer asked to cancel it before.
    pub cancel_requested: bool,
}

/// A sale that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaleFacts {
    /// The epoch of its stock; `None` if none was ever loaded.
    pub epoch: Option<i64>,
}

/// An order that enters the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Birth {
    /// The order.
    pub order: PlacedOrder,
    /// Every state it takes at once with its cause, the last one being where it stands.
    pub path: Vec<(OrderState, &'static str)>,
    /// Why it is over already.
    pub end_reason: Option<EndReason>,
    /// When the buyer asked to cancel it.
    pub cancel_requested_at: Option<OffsetDateTime>,
}

impl Birth {
    /// Where it stands.
    pub fn state(&self) -> OrderState {
        self.path.last().map_or(OrderState::Claimed, |(state, _)| *state)
    }

    fn claimed(order: PlacedOrder) -> Self {
        let mut path = vec![(OrderState::Claimed, "claimed")];
        // The payment provider takes no empty payments, and nobody owes one.
        if order.total_minor == 0
            && let Ok(state) = OrderState::Claimed.after(&Change::NothingToPay)
        {
            path.push((state, "nothing_to_pay"));
        }
        Self { order, path, end_reason: None, cancel_requested_at: None }
    }

    fn cancelled(order: PlacedOrder, reason: EndReason) -> Self {
        Self {
            order,
            path: vec![(OrderState::Cancelled, reason.as_str())],
            end_reason: Some(reason),
            cancel_requested_at: None,
        }
    }
}

/// What a batch does to the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Orders that enter it, in the order of the stream.
    pub births: Vec<Birth>,
    /// Known open orders the buyer asks to cancel, with when.
    pub cancel_requests: Vec<(Uuid, OffsetDateTime)>,
    /// Messages that cannot go in: sequence number and why.
    pub dead: Vec<(u64, Unacceptable)>,
}

/// Decides over `messages` (sequence number and content, in the order of the stream).
///
/// An order that is there already is left alone: the message came again, or a cancellation was faster. Nothing is claimed beyond
/// what `books.left` leaves.
pub fn decide(messages: Vec<(u64, Intake)>, mut books: Books) -> Decision {
    let mut decision = Decision::default();
    let mut born: HashMap<Uuid, usize> = HashMap::new();
    let mut requested: HashSet<Uuid> = HashSet::new();
    for (seq, message) in messages {
        if let Err(problem) = message.order().check() {
            decision.dead.push((seq, problem));
            continue;
        }
        let order_id = message.order().order_id;
        match message {
            Intake::Place(order) => {
                if books.known.contains_key(&order_id) || born.contains_key(&order_id) {
                    continue;
                }
                let Some(sale) = books.sales.get(&order.sale_id) else {
                    decision.dead.push((seq, Unacceptable::SaleUnknown));
                    continue;
                };
                let birth = claim(order, *sale, &mut books.left);
                born.insert(order_id, decision.births.len());
                decision.births.push(birth);
            }
            Intake::Cancel { order, requested_at } => {
                if let Some(known) = books.known.get(&order_id) {
                    if known.state.is_open() && !known.cancel_requested && requested.insert(order_id)
                    {
                        decision.cancel_requests.push((order_id, requested_at));
                    }
                    continue;
                }
                match born.entry(order_id) {
                    Entry::Occupied(at) => {
                        let birth = &mut decision.births[*at.get()];
                        if birth.state().is_open() && birth.cancel_requested_at.is_none() {
                            birth.cancel_requested_at = Some(requested_at);
                        }
                    }
                    Entry::Vacant(place) => {
                        if !books.sales.contains_key(&order.sale_id) {
                            decision.dead.push((seq, Unacceptable::SaleUnknown));
                            continue;
                        }
                        let mut birth = Birth::cancelled(order, EndReason::Buyer);
                        birth.cancel_requested_at = Some(requested_at);
                        place.insert(decision.births.len());
                        decision.births.push(birth);
                    }
                }
            }
        }
    }
    decision
}

/// Every line or none.
fn claim(
    order: PlacedOrder,
    sale: SaleFacts,
    left: &mut HashMap<(Uuid, String), i64>,
) -> Birth {
    // The units of an older epoch are not in the current one's books. A rebuild that can take them anew by the hold's id
    // refines this; until there is one, such an order ends and the buyer is told.
    if sale.epoch.is_some_and(|epoch| order.epoch < epoch) {
        return Birth::cancelled(order, EndReason::StockRebuilt);
    }
    let fits = order.lines.iter().all(|line| {
        left.get(&(order.sale_id, line.sku.clone())).is_some_and(|units| *units >= line.quantity)
    });
    if !fits {
        return Birth::cancelled(order, EndReason::AllotmentExhausted);
    }
    for line in &order.lines {
        if let Some(units) = left.get_mut(&(order.sale_id, line.sku.clone())) {
            *units -= line.quantity;
        }
    }
    Birth::claimed(order)
}
