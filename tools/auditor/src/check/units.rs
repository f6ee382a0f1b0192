//! I1: sold + placed + held ≤ allotted, counted in every way the stores allow.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::ledger;
use crate::{
    findings::{Findings, Invariant::I1},
    read::{Facts, Line, stock::HoldState},
};

/// Subtracted from the recorded end of an order when it stands for the end of its hold, because the
/// comparison of the clocks is not exact.
const SLACK_MS: i64 = 1_000;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let skus: BTreeSet<&String> =
        facts.stock.skus.keys().chain(facts.record.allotments.keys()).collect();
    let captured = captured(facts);
    let refused = refused(facts, findings);
    for sku in skus {
        let excess = sku_excess(facts, sku, &captured, &refused, findings);
        findings.oversold += excess;
    }
}

/// Checks one sku and returns the units beyond the allotment by the worst way of counting.
fn sku_excess(
    facts: &Facts,
    sku: &str,
    captured: &[Uuid],
    refused: &[Uuid],
    findings: &mut Findings,
) -> i64 {
    let allotment = facts.record.allotments.get(sku);
    let allotted = allotment.map_or(0, |allotment| allotment.allotted);
    // An oversell may show in one store and not in the other: every way of counting is held against
    // the allotment by itself.
    let mut ways = Vec::new();
    match facts.stock.skus.get(sku) {
        Some(books) => {
            for (name, units) in [
                ("allotted", books.allotted),
                ("available", books.available),
                ("held", books.held),
                ("placed", books.placed),
                ("sold", books.sold),
            ] {
                findings.expect(I1, units >= 0, || format!("{sku}: {units} units {name} in Redis"));
            }
            findings.expect(I1, books.allotted == allotted, || {
                format!("{sku}: Redis says {} units allotted, Postgres {allotted}", books.allotted)
            });
            ways.push(("held, placed and sold in Redis", books.held + books.placed + books.sold));
        }
        None => findings.broken(I1, format!("{sku}: allotted in Postgres, unknown in Redis")),
    }
    let in_holds: i64 = facts
        .stock
        .holds
        .values()
        .filter(|hold| hold.state.takes_units())
        .map(|hold| units(&hold.lines, sku))
        .sum();
    ways.push(("in Redis's holds", in_holds));

    let orders = facts.record.orders.values();
    let of_orders: i64 =
        orders.clone().filter(|order| order.is_claimed()).map(|order| order.units(sku)).sum();
    let claimed = allotment.map_or(0, |allotment| allotment.claimed);
    findings.expect(I1, claimed == of_orders, || {
        format!("{sku}: {claimed} units claimed in Postgres, its orders hold {of_orders}")
    });
    let sold: i64 = orders.filter(|order| order.is_sold()).map(|order| order.units(sku)).sum();
    ways.push(("claimed in Postgres", claimed));
    ways.push(("of open and sold orders", of_orders));
    ways.push(("of sold orders", sold));
    let paid = captured.iter().map(|order| units(lines_of(facts, *order), sku)).sum();
    ways.push(("the provider captured money for", paid));

    let mut worst = 0;
    for (name, units) in ways {
        findings.expect(I1, units <= allotted, || {
            format!("{sku}: {units} units {name}, {allotted} allotted")
        });
        worst = worst.max(units - allotted);
    }
    // The stock may have been lowered since, but never below what was taken.
    let most = allotted.max(allotment.map_or(0, |allotment| allotment.at_first));
    let peak = peak(facts, sku);
    findings.expect(I1, peak <= most, || {
        format!("{sku}: at one moment {peak} units were taken, {most} allotted")
    });
    let refused: i64 = refused.iter().map(|order| units(lines_of(facts, *order), sku)).sum();
    worst.max(peak - most).max(refused)
}

/// Orders that Redis had units for and the record had not. Both count the same units and Redis
/// returns them last, so within an epoch this happens only if more was handed out than there is.
fn refused(facts: &Facts, findings: &mut Findings) -> Vec<Uuid> {
    let refused: Vec<Uuid> = facts
        .record
        .orders
        .iter()
        .filter(|(_, order)| order.end_reason.as_deref() == Some("allotment_exhausted"))
        .filter(|(_, order)| Some(order.epoch) == facts.record.epoch)
        .map(|(id, _)| *id)
        .collect();
    for id in &refused {
        findings.broken(I1, format!("order {id}: accepted, but Postgres had no units left for it"));
    }
    refused
}

/// Orders that keep their units because their money was captured.
fn captured(facts: &Facts) -> Vec<Uuid> {
    ledger(facts)
        .orders
        .iter()
        .filter(|(id, money)| {
            let order = facts.record.orders.get(*id);
            let ended_unpaid = order.is_some_and(|order| !order.is_claimed());
            let given_back = ended_unpaid && money.refunded() >= money.captured();
            !money.captures.is_empty() && !given_back
        })
        .map(|(id, _)| *id)
        .collect()
}

/// The lines of an order, from the record, else the queue, else its hold.
fn lines_of(facts: &Facts, order: Uuid) -> &[Line] {
    if let Some(row) = facts.record.orders.get(&order) {
        return &row.lines;
    }
    let messages = &facts.queue.messages;
    if let Some(message) = messages.iter().find(|message| message.body.order_id == order) {
        return &message.body.lines;
    }
    let hold = facts.stock.holds.values().find(|hold| hold.order == Some(order));
    hold.map_or(&[], |hold| &hold.lines)
}

fn units(lines: &[Line], sku: &str) -> i64 {
    lines.iter().filter(|line| line.sku == sku).map(|line| line.quantity).sum()
}

/// The most units that one epoch certainly had out of sale at one moment, by the clock of its
/// server: an expired hold from its taking to its deadline, one whose order ended unpaid until the
/// record said so, one that is still there until now.
///
/// Times of two epochs are never compared: each epoch has the clock of its own server, and a later
/// one has retaken what it holds.
fn peak(facts: &Facts, sku: &str) -> i64 {
    let skew_ms = facts.record.ahead_ms - facts.stock.ahead_ms;
    let mut epochs: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    for (id, hold) in &facts.stock.holds {
        let taken = units(&hold.lines, sku);
        let until_ms = match hold.state {
            HoldState::Held | HoldState::Placed | HoldState::Sold => i64::MAX,
            HoldState::Expired => hold.deadline_ms,
            // No store has the time of its release.
            HoldState::Released if facts.is_given_back(id, hold) => hold.taken_ms,
            // The offset of the record's clock is known only against the server that was read.
            HoldState::Released if hold.epoch != facts.stock.epoch => hold.taken_ms,
            HoldState::Released => {
                let order = hold.order.and_then(|order| facts.record.orders.get(&order));
                let end = order.and_then(|order| order.path.last());
                end.map_or(hold.taken_ms, |end| end.at_ms - skew_ms - SLACK_MS)
            }
        };
        if taken > 0 && until_ms > hold.taken_ms {
            let changes = epochs.entry(hold.epoch).or_default();
            changes.extend([(hold.taken_ms, taken), (until_ms, -taken)]);
        }
    }
    epochs.into_values().map(most_at_once).max().unwrap_or(0)
}

/// The highest running sum of (time, change).
fn most_at_once(mut changes: Vec<(i64, i64)>) -> i64 {
    // Units returned in a millisecond may be taken again within it: the smaller change goes first.
    changes.sort_unstable();
    let mut now = 0;
    changes.into_iter().fold(0, |most, (_, change)| {
        now += change;
        most.max(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returned_units_are_not_counted() {
        assert_eq!(most_at_once(vec![]), 0);
        assert_eq!(most_at_once(vec![(1, 2), (3, -2), (3, 2), (5, -2)]), 2);
        assert_eq!(most_at_once(vec![(1, 2), (4, -2), (3, 2), (5, -2)]), 4);
    }
}
