//! I9: every order's price is the one its sale had for that sku when its units were taken.
//!
//! A sale has revisions of its prices, and none is ever forgotten: each line names the one that its
//! units were taken at, and what that says of its sku is exactly one row of the record. Which of
//! them units were taken at is decided by the clock of the Redis that had them, and no two of its
//! epochs share one. The money has to follow: a payment and each capture are over what an order of
//! the record costs, by the means that the order names.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound::{Excluded, Unbounded},
};

use uuid::Uuid;

use super::money::{Capture, Ledger, ledger};
use crate::{
    findings::{Findings, Invariant::I9},
    read::{
        FIRST_REVISION, Facts, Line,
        record::{Order, Payment},
        stock::Hold,
    },
};

/// The epoch of a sale's first stock: what was placed in it was placed in no other one.
const FIRST_EPOCH: i64 = 1;
/// How many lengths a hold may be extended to from its taking.
const HOLD_LENGTHS: i64 = 3;
/// How much longer the claims take an order at a price that was replaced, in ms.
const GRACE_MS: i64 = 60_000;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    for (id, order) in &facts.record.orders {
        prices(facts, *id, order, findings);
    }
    for (id, hold) in &facts.stock.holds {
        for line in &hold.lines {
            priced(facts, &Whose::Hold(*id), line, findings);
        }
    }
    in_stock(facts, findings);
    to_come(facts, findings);
    in_turn(facts, findings);
    for (id, payment) in &facts.record.payments {
        paid(*id, facts.record.orders.get(id), payment, findings);
    }
    if facts.provider.is_some() {
        captured(facts, &ledger(facts), findings);
    }
}

/// What has a price.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Order(Uuid),
    Hold(Uuid),
    Stock,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(id) => write!(f, "order {id}"),
            Self::Hold(id) => write!(f, "hold {id}"),
            Self::Stock => f.write_str("the stock"),
        }
    }
}

/// Each line costs what its revision says of the sku, and the order what its lines cost.
fn prices(facts: &Facts, id: Uuid, order: &Order, findings: &mut Findings) {
    // What is left of a broken message has no lines, and no currency perhaps.
    if order.is_bare() {
        return;
    }
    let mut cost = 0_i64;
    for line in &order.lines {
        cost = cost.saturating_add(line.quantity.saturating_mul(line.unit_price_minor));
        priced(facts, &Whose::Order(id), line, findings);
    }
    findings.expect(I9, cost == order.total_minor, || {
        format!("order {id}: its total is {}, its lines cost {cost}", order.total_minor)
    });
    findings.expect(I9, order.currency == facts.record.currency, || {
        format!("order {id}: priced in {}, the sale in {}", order.currency, facts.record.currency)
    });
}

/// Redis is told of a revision after the record has it, and was read before the record: there is no
/// moment at which one of the two could be behind.
fn priced(facts: &Facts, whose: &Whose, line: &Line, findings: &mut Findings) {
    let (sku, paid, revision) = (&line.sku, line.unit_price_minor, line.price_revision);
    match facts.record.price(sku, revision) {
        Some(price) => findings.expect(I9, price.minor == paid, || {
            let price = price.minor;
            format!("{whose}: {sku} at {paid}, the sale's price of revision {revision} is {price}")
        }),
        None => findings.broken(
            I9,
            format!("{whose}: {sku} at {paid}, the sale has none of revision {revision}"),
        ),
    }
}

/// What units are taken at now is what the revisions say that the stock names.
fn in_stock(facts: &Facts, findings: &mut Findings) {
    for (sku, books) in &facts.stock.skus {
        match books.price {
            Some((unit_price_minor, price_revision)) => {
                let sku = sku.clone();
                let line = Line { sku, quantity: 0, unit_price_minor, price_revision };
                priced(facts, &Whose::Stock, &line, findings);
            }
            None => findings.broken(I9, format!("the stock: {sku} without a price")),
        }
    }
    let revisions = &facts.record.price_revisions;
    let next = facts.stock.next_prices.as_ref().map(|next| next.revision);
    for revision in std::iter::once(facts.stock.price_revision).chain(next) {
        let known = revision == FIRST_REVISION || revisions.contains_key(&revision);
        findings.expect(I9, known, || {
            format!("the stock: at revision {revision}, which the record does not have")
        });
    }
}

/// What stands beside the stock is what the record says of it, and a revision that has its time has
/// all of its skus: there, or promoted already.
fn to_come(facts: &Facts, findings: &mut Findings) {
    let stock = &facts.stock;
    for ((under, sku), (staged, revision)) in &stock.staged {
        let price = facts.record.price(sku, *revision);
        findings.expect(I9, price == Some(staged) && revision <= under, || {
            let price = price.map_or("nothing".to_owned(), ToString::to_string);
            format!(
                "the stock: {sku} is {staged} in revision {revision}, under {under}, the record \
                 says {price}"
            )
        });
    }
    let Some(next) = stock.next_prices.as_ref().filter(|next| next.switches_ms.is_some()) else {
        return;
    };
    let revision = next.revision;
    for (sku, prices) in &facts.record.prices {
        let promoted = stock.skus.get(sku).and_then(|books| books.price);
        let there = stock.staged.contains_key(&(revision, sku.clone()))
            || promoted.is_some_and(|(_, promoted)| promoted >= revision);
        findings.expect(I9, there || !prices.contains_key(&revision), || {
            format!("the stock: revision {revision} has its time, but not its price of {sku}")
        });
    }
}

/// Units that were certainly taken in an epoch, by the clock of its server.
#[derive(Debug)]
struct Taken<'a> {
    epoch: i64,
    whose: Whose,
    line: &'a Line,
    /// No earlier than when they were taken.
    at_ms: i64,
    /// How much later than that it may be.
    may_be_late_ms: i64,
}

/// Within an epoch, prices follow one another in the order of their revisions.
///
/// A server's clock says nothing of another one's, so that times are compared within an epoch only.
/// Where the record has the time of an order, that is provable of the first epoch: an order of a
/// later one may have been placed before it, and its units retaken. It was placed no later after
/// its units were taken than a hold lasts. Of the epoch that was read, the holds say when units
/// were taken, to the millisecond.
///
/// That a revision has taken effect in an epoch shows in the units that were taken at it there. Of
/// the first epoch the record has its time, too, as long as no other one has come: it does not say
/// which epoch that is of. Of the one that was read, Redis has the time of its next one. That
/// nothing was taken at a revision before its time is provable of the first epoch alone: a later
/// one may have been loaded with a revision that had been in effect before, whatever its own clock
/// shows. A revision that was replaced is left out as one that replaces others: whether it took
/// effect is known once the record says when, and what was taken at it says that as well.
fn in_turn(facts: &Facts, findings: &mut Findings) {
    let taken: Vec<Taken<'_>> = placed_in_first(facts).chain(taken_in_present(facts)).collect();
    let switches = switches_of_first(facts);
    // By epoch and sku: when a revision was in effect at the latest.
    let mut in_effect: BTreeMap<(i64, &str), BTreeMap<i64, i64>> = BTreeMap::new();
    let mut note = |epoch: i64, sku, revision: i64, at_ms: i64| {
        let revisions = in_effect.entry((epoch, sku)).or_default();
        let known_ms = revisions.entry(revision).or_insert(at_ms);
        *known_ms = at_ms.min(*known_ms);
    };
    for it in &taken {
        note(it.epoch, it.line.sku.as_str(), it.line.price_revision, it.at_ms);
    }
    for (sku, prices) in &facts.record.prices {
        for (revision, at_ms) in &switches {
            if prices.contains_key(revision) {
                note(FIRST_EPOCH, sku.as_str(), *revision, *at_ms);
            }
        }
        if let Some((revision, at_ms)) = has_come(facts)
            && prices.contains_key(&revision)
        {
            note(facts.stock.epoch, sku.as_str(), revision, at_ms);
        }
    }
    for it in &taken {
        let (whose, sku, revision) = (it.whose, &it.line.sku, it.line.price_revision);
        let revisions = in_effect.get(&(it.epoch, sku.as_str()));
        let later = revisions.into_iter().flat_map(|of| of.range((Excluded(revision), Unbounded)));
        if let Some((by, at_ms)) = later.min_by_key(|(_, at_ms)| **at_ms) {
            let late_ms = it.at_ms.saturating_sub(*at_ms);
            findings.expect(I9, late_ms <= it.may_be_late_ms, || {
                format!("{whose}: {sku} at revision {revision}, {late_ms} ms after revision {by}")
            });
        }
        if let Some(at_ms) = switches.get(&revision).filter(|_| it.epoch == FIRST_EPOCH) {
            let early_ms = at_ms.saturating_sub(it.at_ms);
            findings.expect(I9, early_ms <= 0, || {
                format!("{whose}: {sku} at revision {revision}, {early_ms} ms before its time")
            });
        }
    }
}

/// The orders of the first epoch, by the time of their placing.
fn placed_in_first(facts: &Facts) -> impl Iterator<Item = Taken<'_>> {
    let holds_ms = facts.record.longest_hold_ms.saturating_mul(HOLD_LENGTHS);
    let orders = facts.record.orders.iter().filter(|(_, order)| order.epoch == FIRST_EPOCH);
    orders.flat_map(move |(id, order)| {
        order.lines.iter().map(move |line| Taken {
            epoch: FIRST_EPOCH,
            whose: Whose::Order(*id),
            line,
            at_ms: order.placed_ms,
            may_be_late_ms: holds_ms.saturating_add(GRACE_MS),
        })
    })
}

/// The holds whose units the epoch that was read took itself.
fn taken_in_present(facts: &Facts) -> impl Iterator<Item = Taken<'_>> {
    let epoch = facts.stock.epoch;
    let own = facts.stock.holds.iter().filter(move |(id, hold)| is_own(facts, id, hold));
    own.flat_map(move |(id, hold)| {
        hold.lines.iter().map(move |line| Taken {
            epoch,
            whose: Whose::Hold(*id),
            line,
            at_ms: hold.taken_ms,
            may_be_late_ms: 0,
        })
    })
}

/// Whether the epoch that was read took a hold's units at their price itself. It may have retaken
/// those of an order of an older one, at the price of their first taking: such an order is another
/// epoch's, or its hold was placed before it was taken, or, where the older server's clock was
/// ahead, has the time of its placing for a deadline.
fn is_own(facts: &Facts, id: &Uuid, hold: &Hold) -> bool {
    let epoch = facts.stock.epoch;
    let is_placed_here = |order: Uuid| {
        let row = facts.record.orders.get(&order);
        row.is_some_and(|row| row.hold == *id && row.epoch == epoch)
            && hold.placed_ms.is_some_and(|ms| ms >= hold.taken_ms && ms != hold.deadline_ms)
    };
    hold.epoch == epoch && hold.order.is_none_or(is_placed_here)
}

/// From when on revisions are in effect, by the clock of the first epoch; empty if there was
/// another one.
fn switches_of_first(facts: &Facts) -> BTreeMap<i64, i64> {
    let revisions = &facts.record.price_revisions;
    let is_only = facts.record.epoch == Some(FIRST_EPOCH);
    let in_effect = revisions.iter().filter(|(_, it)| is_only && !it.is_replaced);
    in_effect.filter_map(|(revision, it)| Some((*revision, it.switches_ms?))).collect()
}

/// The next revision of the epoch that was read, and its time, if that has come.
fn has_come(facts: &Facts) -> Option<(i64, i64)> {
    let next = facts.stock.next_prices.as_ref()?;
    let switches_ms = next.switches_ms.filter(|ms| *ms <= facts.stock.now_ms)?;
    Some((next.revision, switches_ms))
}

/// A payment is over what its order costs, and by the order's means of payment.
fn paid(id: Uuid, order: Option<&Order>, payment: &Payment, findings: &mut Findings) {
    let Some(order) = order else {
        findings.broken(I9, format!("order {id}: a payment of no order of the sale"));
        return;
    };
    let same = payment.amount_minor == order.total_minor && payment.currency == order.currency;
    findings.expect(I9, same, || {
        let (amount, total) = (payment.amount_minor, order.total_minor);
        format!("order {id}: its payment is over {amount}, its price is {total}")
    });
    // A payment that was cancelled before it was begun names no means. One whose card was refused has
    // the last one that its buyer named.
    let begun = !payment.method.is_empty() || payment.captured_minor > 0;
    let own = payment.method == order.payment_method || payment.was_retried;
    findings.expect(I9, !begun || own, || {
        format!("order {id}: its payment is by other means than it names")
    });
}

/// The provider captured what an order of the record costs, by the means that it names.
fn captured(facts: &Facts, ledger: &Ledger, findings: &mut Findings) {
    for intent in &ledger.homeless {
        findings.broken(I9, format!("{intent}: captured, the price of no order"));
    }
    for (id, money) in &ledger.orders {
        for capture in &money.captures {
            let Some(order) = facts.record.orders.get(id) else {
                findings.broken(
                    I9,
                    format!("order {id}: {} captured for no order of the record", capture.amount),
                );
                continue;
            };
            // After a refusal the buyer may have named another card, also to the provider itself.
            let payment = facts.record.payments.get(id);
            let other_card = payment.is_some_and(|payment| payment.was_refused);
            charged(*id, order, capture, other_card, findings);
        }
    }
}

fn charged(id: Uuid, order: &Order, capture: &Capture, other_card: bool, findings: &mut Findings) {
    let same = capture.amount == order.total_minor && capture.currency == order.currency;
    findings.expect(I9, same, || {
        let (amount, total) = (capture.amount, order.total_minor);
        format!(
            "order {id}: {amount} {} captured, its price is {total} {}",
            capture.currency, order.currency
        )
    });
    let own = |method: &String| other_card || *method == order.payment_method;
    findings.expect(I9, capture.method.as_ref().is_some_and(own), || {
        format!("order {id}: captured by other means than it names")
    });
}
