//! I2: every accepted order reaches exactly one end; none is lost.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::{
    findings::{Findings, Invariant::I2},
    read::{
        Facts,
        logs::{Seen, refund_of},
        queue::{Kind, Message},
        record::Order,
        stock::{Hold, HoldState},
    },
};

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    history(facts, findings);
    queue(facts, findings);
    holds(facts, findings);
    rows(facts, findings);
    mails(facts, findings);
    for letter in &facts.record.dead_letters {
        findings.expect(
            I2,
            !letter.waits || letter.sale.is_some_and(|sale| sale != facts.sale),
            || format!("message {} of ORDERS waits for a decision: {}", letter.seq, letter.reason),
        );
    }
}

/// Whether the claims have passed a message. A position in an earlier stream of the same name says
/// nothing.
fn is_passed(facts: &Facts, message: &Message) -> bool {
    facts.record.position.is_some_and(|(created_us, seq)| {
        created_us == facts.queue.created_us
            && i64::try_from(message.seq).is_ok_and(|number| number <= seq)
    })
}

fn history(facts: &Facts, findings: &mut Findings) {
    let mut on_its_way: BTreeSet<Uuid> = BTreeSet::new();
    if !facts.at_rest {
        let held = facts.stock.holds.values().filter(|hold| hold.state == HoldState::Placed);
        on_its_way.extend(held.filter_map(|hold| hold.order));
        let queued = facts.queue.messages.iter().filter(|message| !is_passed(facts, message));
        on_its_way.extend(queued.map(|message| message.body.order_id));
    }
    let mut accepted: BTreeSet<&str> = BTreeSet::new();
    let mut ended: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for seen in facts.history.iter().flatten() {
        match seen {
            Seen::Placed { order_id, .. } => {
                accepted.insert(order_id);
            }
            Seen::Ended { order_id, state } => {
                accepted.insert(order_id);
                ended.entry(order_id).or_default().insert(state);
            }
            Seen::Joined { .. } | Seen::Admitted { .. } | Seen::Other => {}
        }
    }
    for id in accepted {
        let Ok(order) = id.parse::<Uuid>() else {
            findings.broken(I2, format!("a buyer was told the order id {id:?}"));
            continue;
        };
        let known = facts.record.orders.contains_key(&order) || on_its_way.contains(&order);
        findings
            .expect(I2, known, || format!("order {id}: a buyer was told of it, no store has it"));
    }
    for (id, states) in ended {
        let Some(order) = id.parse().ok().and_then(|id| facts.record.orders.get(&id)) else {
            continue;
        };
        for state in states {
            let refunded_since = state == "CONFIRMED" && order.state == "REFUNDED";
            let passed = !facts.at_rest && order.path.iter().any(|step| step.to == state);
            findings.expect(I2, state == order.state || refunded_since || passed, || {
                format!("order {id}: its buyer saw it end {state}, the record says {}", order.state)
            });
        }
    }
}

/// Whether a message became a dead letter, which says what came of it, as does its order.
fn is_dead_letter(facts: &Facts, seq: u64) -> bool {
    facts.record.dead_letters.iter().any(|letter| {
        letter.stream_us == facts.queue.created_us && u64::try_from(letter.seq) == Ok(seq)
    })
}

fn queue(facts: &Facts, findings: &mut Findings) {
    for seq in facts.queue.unreadable.iter().filter(|seq| !is_dead_letter(facts, **seq)) {
        findings.broken(I2, format!("message {seq} of ORDERS cannot be read"));
    }
    for message in facts.queue.messages.iter().filter(|message| !is_dead_letter(facts, message.seq))
    {
        let body = &message.body;
        let Some(order) = facts.record.orders.get(&body.order_id) else {
            if facts.at_rest || is_passed(facts, message) {
                let id = body.order_id;
                findings
                    .broken(I2, format!("order {id}: message {} has no order row", message.seq));
            }
            continue;
        };
        let priced = order.lines == body.lines
            && order.total_minor == body.total_minor
            && order.currency == body.currency;
        let same = (priced || order.is_bare())
            && order.hold == body.hold_id
            && order.buyer == body.buyer_id;
        findings.expect(I2, same || body.kind == Kind::Cancel, || {
            format!("order {}: the row differs from message {}", body.order_id, message.seq)
        });
    }
}

/// Redis was read before Postgres: what only the record can have decided has to be found there, at
/// rest or not.
fn holds(facts: &Facts, findings: &mut Findings) {
    for (id, hold) in &facts.stock.holds {
        let row = hold.order.and_then(|order| facts.record.orders.get(&order));
        match (hold.state, hold.order) {
            (HoldState::Placed | HoldState::Sold, None) => {
                findings.broken(I2, format!("hold {id}: {:?} without an order", hold.state));
            }
            (HoldState::Placed, Some(order)) if facts.at_rest => {
                findings.expect(I2, row.is_some(), || {
                    format!("order {order}: placed in Redis, no order row")
                });
            }
            (HoldState::Sold | HoldState::Released | HoldState::Expired, Some(order)) => {
                let how = hold.state;
                findings.expect(I2, row.is_some(), || {
                    format!("order {order}: its hold {id} is {how:?}, but it has no order row")
                });
            }
            (HoldState::Held | HoldState::Placed, Some(_))
            | (HoldState::Held | HoldState::Released | HoldState::Expired, None) => {}
        }
        if let (Some(row), Some(order)) = (row, hold.order) {
            findings.expect(I2, agrees(row, *id, hold) || facts.is_given_back(id, hold), || {
                format!("order {order}: the row differs from what hold {id} has placed")
            });
        }
    }
}

fn agrees(row: &Order, id: Uuid, hold: &Hold) -> bool {
    row.hold == id && row.buyer == hold.buyer && (row.lines == hold.lines || row.is_bare())
}

fn rows(facts: &Facts, findings: &mut Findings) {
    for (id, order) in &facts.record.orders {
        findings.expect(I2, !facts.at_rest || order.is_ended(), || {
            format!("order {id}: still {}", order.state)
        });
        let mut before = None;
        for step in &order.path {
            findings.expect(I2, step.from.as_deref() == before, || {
                let from = step.from.as_deref().unwrap_or("nothing");
                format!("order {id}: went from {from} to {} when it was not there", step.to)
            });
            findings.expect(I2, is_legal(step.from.as_deref(), &step.to), || {
                let from = step.from.as_deref().unwrap_or("nothing");
                format!("order {id}: no way leads from {from} to {}", step.to)
            });
            before = Some(&step.to);
        }
        findings.expect(I2, before == Some(order.state.as_str()), || {
            let last = before.unwrap_or("nothing");
            format!("order {id}: its history ends with {last}, it is {}", order.state)
        });
    }
    for (id, payment) in &facts.record.payments {
        let open = matches!(payment.state.as_str(), "DUE" | "PROCESSING" | "REQUIRES_ACTION");
        findings.expect(I2, !(facts.at_rest && open), || {
            format!("order {id}: its payment is still {}", payment.state)
        });
    }
}

/// The transitions of an order. `CANCELLED` can be its first state: cancelled before it was
/// claimed, or refused by the record. So can `DEAD_LETTER`: its message could not be recorded.
fn is_legal(from: Option<&str>, to: &str) -> bool {
    match from {
        None => matches!(to, "CLAIMED" | "CANCELLED" | "DEAD_LETTER"),
        Some("DEAD_LETTER") => matches!(to, "CLAIMED" | "CANCELLED"),
        Some("CLAIMED") => matches!(to, "PAYING" | "CONFIRMED" | "DECLINED" | "CANCELLED"),
        Some("PAYING") => matches!(to, "ACTION_REQUIRED" | "CONFIRMED" | "DECLINED" | "CANCELLED"),
        Some("ACTION_REQUIRED") => matches!(to, "PAYING" | "CONFIRMED" | "DECLINED" | "CANCELLED"),
        Some("CONFIRMED") => to == "REFUNDED",
        Some(_) => false,
    }
}

/// No mail tells a buyer of an end that the order never had.
fn mails(facts: &Facts, findings: &mut Findings) {
    for mail in facts.mails.iter().flatten() {
        let Some(id) = mail.order() else {
            findings.broken(I2, "a mail names no order");
            continue;
        };
        let about = mail.headers.about.as_deref().unwrap_or("nothing");
        match facts.record.orders.get(&id) {
            Some(order) => {
                let was = |state: &str| order.path.iter().any(|step| step.to == state);
                match refund_of(about) {
                    Some(refund) => {
                        findings.expect(I2, was("CONFIRMED") && is_done(facts, &id, refund), || {
                            format!(
                                "order {id}: a mail tells of refund {refund}, which it never had"
                            )
                        })
                    }
                    None => findings.expect(I2, was(about), || {
                        format!("order {id}: a mail says {about}, which it never was")
                    }),
                }
            }
            None => {
                findings.expect(I2, facts.record.strangers.contains(&id), || {
                    format!("order {id}: a mail about an order that the record does not have")
                });
            }
        }
    }
}

/// Whether a refund of an order is done, or was before one of them failed.
fn is_done(facts: &Facts, order: &Uuid, refund: &str) -> bool {
    let mut refunds = facts.record.refunds_of(order).iter();
    let found = refunds.find(|found| found.id.to_string() == refund);
    found.is_some_and(|found| found.is_done() || facts.record.undone_ms(order).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refund_leaves_an_end() {
        for from in ["CONFIRMED", "DECLINED", "CANCELLED", "REFUNDED"] {
            for to in ["CLAIMED", "PAYING", "CONFIRMED", "DECLINED", "CANCELLED", "REFUNDED"] {
                let refund = (from, to) == ("CONFIRMED", "REFUNDED");
                assert_eq!(is_legal(Some(from), to), refund, "{from} to {to}");
            }
        }
        assert!(!is_legal(None, "CONFIRMED"));
    }
}
