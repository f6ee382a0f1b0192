//! I9: every order's price is the one its sale had for that sku when its units were taken.
//!
//! A price never changes once its sale is started, so that the record's prices are those of the
//! moment. The money has to follow: a payment and each capture are over what an order of the record
//! costs, by the means that the order names.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::money::{Capture, Ledger, ledger};
use crate::{
    findings::{Findings, Invariant::I9},
    read::{
        Facts,
        record::{Order, Payment},
    },
};

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    for (id, order) in &facts.record.orders {
        prices(facts, *id, order, findings);
    }
    for (id, payment) in &facts.record.payments {
        paid(*id, facts.record.orders.get(id), payment, findings);
    }
    if facts.provider.is_some() {
        captured(facts, &ledger(facts), findings);
    }
}

/// Each line costs what the sale's item costs, and the order what its lines cost.
fn prices(facts: &Facts, id: Uuid, order: &Order, findings: &mut Findings) {
    // What is left of a broken message has no lines, and no currency perhaps.
    if order.is_bare() {
        return;
    }
    let of_the_sale: &BTreeMap<String, i64> = &facts.record.prices;
    let mut cost = 0_i64;
    for line in &order.lines {
        let (sku, paid) = (&line.sku, line.unit_price_minor);
        cost = cost.saturating_add(line.quantity.saturating_mul(paid));
        match of_the_sale.get(sku) {
            Some(price) => findings.expect(I9, *price == paid, || {
                format!("order {id}: {sku} at {paid}, the sale's price is {price}")
            }),
            None => findings.broken(I9, format!("order {id}: {sku} at {paid}, the sale has none")),
        }
    }
    findings.expect(I9, cost == order.total_minor, || {
        format!("order {id}: its total is {}, its lines cost {cost}", order.total_minor)
    });
    findings.expect(I9, order.currency == facts.record.currency, || {
        format!("order {id}: priced in {}, the sale in {}", order.currency, facts.record.currency)
    });
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
