//! I5: available + held + placed + sold = allotted, and nothing is held longer than it may be.

use std::collections::{BTreeMap, BTreeSet};

use super::CLOCK_TOLERANCE_MS;
use crate::{
    findings::{Findings, Invariant::I5},
    read::{
        Facts,
        stock::{Books, HoldState},
    },
};

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    if let Some(epoch) = facts.record.epoch {
        findings.expect(I5, epoch == facts.stock.epoch, || {
            format!("Redis has epoch {}, Postgres {epoch}", facts.stock.epoch)
        });
    }
    counters(facts, findings);
    deadlines(facts, findings);
    pending(facts, findings);
    buyers(facts, findings);
    closed(facts, findings);
    if facts.at_rest {
        at_rest(facts, findings);
    }
}

/// Units that are neither on sale nor sold although everything has ended.
pub(crate) fn leaked_units(facts: &Facts) -> i64 {
    facts
        .record
        .allotments
        .iter()
        .map(|(sku, allotment)| {
            let none = Books::default();
            let books = facts.stock.skus.get(sku).unwrap_or(&none);
            let taken = if facts.at_rest {
                sold(facts, sku)
            } else {
                books.held + books.placed + books.sold
            };
            (allotment.allotted - books.available - taken).abs()
        })
        .sum()
}

/// Units of sold orders, by the record.
pub(crate) fn sold(facts: &Facts, sku: &str) -> i64 {
    let sold = facts.record.orders.values().filter(|order| order.is_sold());
    sold.map(|order| order.units(sku)).sum()
}

/// The counters against each other and against the holds.
fn counters(facts: &Facts, findings: &mut Findings) {
    let mut in_holds: BTreeMap<&str, [i64; 3]> = BTreeMap::new();
    for hold in facts.stock.holds.values() {
        let column = match hold.state {
            HoldState::Held => 0,
            HoldState::Placed => 1,
            HoldState::Sold => 2,
            HoldState::Released | HoldState::Expired => continue,
        };
        for line in &hold.lines {
            in_holds.entry(&line.sku).or_default()[column] += line.quantity;
        }
    }
    for (sku, books) in &facts.stock.skus {
        let sum = books.available + books.held + books.placed + books.sold;
        findings.expect(I5, sum == books.allotted, || {
            format!("{sku}: {sum} units accounted for, {} allotted", books.allotted)
        });
        let counted = in_holds.remove(sku.as_str()).unwrap_or_default();
        for (name, counter, units) in [
            ("held", books.held, counted[0]),
            ("placed", books.placed, counted[1]),
            ("sold", books.sold, counted[2]),
        ] {
            findings.expect(I5, counter == units, || {
                format!("{sku}: the books say {counter} {name}, the holds {units}")
            });
        }
    }
    for sku in in_holds.keys() {
        findings.broken(I5, format!("{sku}: in a hold, but not in the books"));
    }
}

fn deadlines(facts: &Facts, findings: &mut Findings) {
    let stock = &facts.stock;
    let held: BTreeMap<String, i64> = stock
        .holds
        .iter()
        .filter(|(_, hold)| hold.state == HoldState::Held)
        .map(|(id, hold)| (id.to_string(), hold.deadline_ms))
        .collect();
    for (id, deadline_ms) in &held {
        findings.expect(I5, stock.deadlines.get(id) == Some(deadline_ms), || {
            format!("hold {id}: held, but its deadline is not watched")
        });
        let late_ms = stock.now_ms - deadline_ms;
        findings.expect(I5, late_ms <= CLOCK_TOLERANCE_MS, || {
            format!("hold {id}: still held {} s after its deadline", late_ms / 1_000)
        });
    }
    for id in stock.deadlines.keys().filter(|id| !held.contains_key(*id)) {
        findings.broken(I5, format!("hold {id}: its deadline is watched, but it is not held"));
    }
}

fn pending(facts: &Facts, findings: &mut Findings) {
    let stock = &facts.stock;
    let placed: BTreeMap<String, bool> = stock
        .holds
        .iter()
        .filter(|(_, hold)| hold.state == HoldState::Placed)
        .map(|(id, hold)| {
            let order = hold.order.and_then(|order| facts.record.orders.get(&order));
            (id.to_string(), order.is_some())
        })
        .collect();
    for (id, _) in placed.iter().filter(|(_, recorded)| !**recorded) {
        findings.expect(I5, stock.pending.contains(id), || {
            format!("hold {id}: placed and not in the record, but not pending")
        });
    }
    for id in stock.pending.iter().filter(|id| !placed.contains_key(*id)) {
        findings.broken(I5, format!("hold {id}: pending, but not placed"));
    }
    for id in stock.pending.symmetric_difference(&stock.carried) {
        findings.broken(I5, format!("hold {id}: pending without its order, or the reverse"));
    }
}

/// The units of each buyer, against the holds and against the limit.
fn buyers(facts: &Facts, findings: &mut Findings) {
    let stock = &facts.stock;
    let mut units: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for hold in stock.holds.values().filter(|hold| hold.state.takes_units()) {
        for line in &hold.lines {
            *units.entry((&line.sku, &hold.buyer)).or_default() += line.quantity;
        }
    }
    let written = stock.buyers.keys().map(|(sku, buyer)| (sku.as_str(), buyer.as_str()));
    let all: BTreeSet<(&str, &str)> = units.keys().copied().chain(written).collect();
    for (sku, buyer) in all {
        let counted = units.get(&(sku, buyer)).copied().unwrap_or_default();
        let key = (sku.to_owned(), buyer.to_owned());
        let written = stock.buyers.get(&key).copied().unwrap_or_default();
        findings.expect(I5, counted == written, || {
            // A report has no personal data: a buyer is named by one of their holds.
            let whose = stock.holds.iter().find(|(_, hold)| hold.buyer == buyer);
            let whose = whose.map_or("a buyer without a hold".to_owned(), |(id, _)| {
                format!("the buyer of hold {id}")
            });
            format!("{sku}: {whose} is said to have {written}, the holds say {counted}")
        });
        // Where revisions of the prices may have lowered the limit, units taken before that stay.
        let limit = if facts.record.is_repriced(sku) {
            facts.record.loosest_limit(sku)
        } else {
            stock.skus.get(sku).map_or(0, |books| books.limit)
        };
        findings.expect(I5, limit == 0 || counted <= limit, || {
            format!("{sku}: a buyer has {counted}, the limit is {limit}")
        });
    }
    let mut claimed: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for order in facts.record.orders.values().filter(|order| order.is_claimed()) {
        for line in &order.lines {
            *claimed.entry((&line.sku, &order.buyer)).or_default() += line.quantity;
        }
    }
    for ((sku, _), units) in claimed {
        let limit = facts.record.loosest_limit(sku);
        findings.expect(I5, limit == 0 || units <= limit, || {
            format!("{sku}: a buyer has ordered {units}, the limit is {limit}")
        });
    }
}

/// An order and its hold end together. Redis was read first, so a hold may be behind its order, but
/// not ahead of it.
fn closed(facts: &Facts, findings: &mut Findings) {
    for (id, order) in &facts.record.orders {
        let Some(hold) = facts.stock.holds.get(&order.hold) else {
            // The holds of an older epoch are gone with it. A hold may also have come since Redis
            // was read.
            let gone = facts.at_rest && order.epoch == facts.stock.epoch;
            findings.expect(I5, !gone, || format!("order {id}: its hold {} is gone", order.hold));
            continue;
        };
        let fits = match hold.state {
            HoldState::Held => !facts.at_rest,
            HoldState::Placed => !(facts.at_rest && order.is_ended()),
            HoldState::Sold => order.is_sold(),
            HoldState::Released => !order.is_claimed(),
            HoldState::Expired => false,
        };
        findings.expect(I5, fits, || {
            format!("order {id}: {}, its hold {} is {:?}", order.state, order.hold, hold.state)
        });
    }
}

fn at_rest(facts: &Facts, findings: &mut Findings) {
    for (sku, books) in &facts.stock.skus {
        for (name, units) in [("held", books.held), ("placed", books.placed)] {
            findings.expect(I5, units == 0, || format!("{sku}: {units} units still {name}"));
        }
        let sold = sold(facts, sku);
        findings.expect(I5, books.sold == sold, || {
            format!("{sku}: {} sold in Redis, {sold} by the record", books.sold)
        });
        let allotted = facts.record.allotments.get(sku).map_or(0, |item| item.allotted);
        findings.expect(I5, books.available + sold == allotted, || {
            let available = books.available;
            format!("{sku}: {available} available and {sold} sold of {allotted} allotted")
        });
    }
    for id in &facts.stock.pending {
        findings.broken(I5, format!("hold {id}: still pending"));
    }
    for row in facts.record.outbox.iter().filter(|row| !row.done) {
        let (id, kind, about) = (row.order, &row.kind, &row.about);
        findings.broken(I5, format!("order {id}: {kind} of {about} is not carried out"));
    }
}
