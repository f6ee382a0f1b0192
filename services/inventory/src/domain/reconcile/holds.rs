//! Comparing the holds with their orders, their indexes and the queue.

use uuid::Uuid;

use super::{
    difference::{Difference, Kind, Repair, of_sku},
    seen::{Holds, OrderStanding, SeenHold, SeenOrder},
};
use crate::domain::{HoldState, Outcome};

/// How long after an order ended its hold may still be placed: the message that settles it is on
/// its way until then.
pub const SETTLE_GRACE_MS: i64 = 5_000;
/// How long after its deadline a hold's units may still be out of sale.
pub const SWEEP_GRACE_MS: i64 = 5_000;

/// Compares holds with their orders and their indexes.
pub fn of_holds(seen: &Holds) -> Vec<Difference> {
    let mut found = Vec::new();
    for (id, hold) in &seen.holds {
        // A cancelled order may name the hold, too, if its buyer reserved and ordered again.
        let own = |order: &&SeenOrder| hold.order_id.is_none_or(|id| id == order.order_id);
        let order = seen.orders.get(id).filter(own);
        let mut add = |kind, what: String, stranded: bool, repair| {
            for (sku, quantity) in &hold.lines {
                found.push(Difference {
                    kind,
                    sku: sku.clone(),
                    units: *quantity,
                    hold_id: Some(*id),
                    order_id: hold.order_id.or_else(|| order.map(|order| order.order_id)),
                    what: what.clone(),
                    stranded: if stranded { *quantity } else { 0 },
                    repair,
                });
            }
        };
        of_indexes(hold, seen.now_ms, &mut add);
        match order {
            Some(order) => of_order(hold, order, &mut add),
            None if hold.state == HoldState::Placed && !hold.pending => {
                let what = "a placed hold has no order and waits for none";
                let repair = hold.details.then_some(Repair::Mend);
                add(Kind::PlacedWithoutOrder, what.to_owned(), true, repair);
            }
            None => {}
        }
    }
    for id in &seen.strays {
        found.push(Difference {
            hold_id: Some(*id),
            repair: Some(Repair::Mend),
            ..of_sku(Kind::DeadlineStray, "", 0, "a deadline has no hold".to_owned())
        });
    }
    // Orders of this epoch whose hold is missing; those of earlier ones are not compared.
    for (hold_id, order) in &seen.orders {
        if seen.holds.contains_key(hold_id) || order.epoch != seen.epoch {
            continue;
        }
        let kind = match order.standing {
            OrderStanding::Live => Kind::OrderWithoutHold,
            OrderStanding::Sold => Kind::HoldContradictsOrder,
            // A rebuild does not count what is not claimed.
            OrderStanding::Waiting | OrderStanding::Ended => continue,
        };
        for (sku, quantity) in &order.lines {
            let what = format!("there is no hold, and its order {}", order.standing.words());
            found.push(Difference {
                hold_id: Some(*hold_id),
                order_id: Some(order.order_id),
                ..of_sku(kind, sku, *quantity, what)
            });
        }
    }
    found
}

fn of_indexes(
    hold: &SeenHold,
    now_ms: i64,
    add: &mut impl FnMut(Kind, String, bool, Option<Repair>),
) {
    let held = hold.state == HoldState::Held;
    if held && !hold.in_deadlines {
        let what = "a held hold is not among the deadlines: nobody would give it back";
        add(Kind::DeadlineMissing, what.to_owned(), false, Some(Repair::Mend));
    }
    if !held && hold.in_deadlines {
        let what = format!("a hold that is {} has a deadline", hold.state.as_str());
        add(Kind::DeadlineStray, what, false, Some(Repair::Mend));
    }
    if held && now_ms - hold.deadline_ms > SWEEP_GRACE_MS {
        let what = "a held hold is past its deadline and its units are not back";
        add(Kind::ExpiredNotReturned, what.to_owned(), false, Some(Repair::Sweep));
    }
}

fn of_order(
    hold: &SeenHold,
    order: &SeenOrder,
    add: &mut impl FnMut(Kind, String, bool, Option<Repair>),
) {
    match (hold.state, order.standing) {
        (HoldState::Placed, OrderStanding::Waiting | OrderStanding::Live)
        | (HoldState::Sold, OrderStanding::Sold)
        | (HoldState::Released | HoldState::Expired, OrderStanding::Ended) => {}
        (HoldState::Placed, OrderStanding::Sold | OrderStanding::Ended) => {
            if order.age_ms > SETTLE_GRACE_MS {
                let paid = order.standing == OrderStanding::Sold;
                let outcome = if paid { Outcome::Sold } else { Outcome::Released };
                let what = format!("a hold is PLACED and its order {}", order.standing.words());
                add(Kind::HoldBehindOrder, what, !paid, Some(Repair::Settle(outcome)));
            }
        }
        (state, standing) => {
            let what = format!("a hold is {} and its order {}", state.as_str(), standing.words());
            add(Kind::HoldContradictsOrder, what, false, None);
        }
    }
}

/// Placed orders that are neither in the record nor in the queue; `in_queue` is `None` where the
/// queue could not be read to its end.
pub fn of_messages(
    seen: &Holds,
    overdue: &[(Uuid, Uuid)],
    in_queue: impl Fn(Uuid) -> Option<bool>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for (hold_id, order_id) in overdue {
        let (kind, what) = match in_queue(*order_id) {
            Some(true) => continue,
            Some(false) => (
                Kind::MessageVanished,
                "an order waits to be recorded and its message is not in the queue; the relay publishes it again",
            ),
            None => (
                Kind::MessageUnknown,
                "an order waits to be recorded; the queue could not be read far enough to tell whether its message is there",
            ),
        };
        let Some(hold) = seen.holds.get(hold_id) else { continue };
        for (sku, quantity) in &hold.lines {
            found.push(Difference {
                hold_id: Some(*hold_id),
                order_id: Some(*order_id),
                ..of_sku(kind, sku, *quantity, what.to_owned())
            });
        }
    }
    found
}
