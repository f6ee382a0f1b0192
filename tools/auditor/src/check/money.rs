//! I3: at most one capture per order, and the sums agree. I4: no money without units.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::{
    findings::{
        Findings,
        Invariant::{I3, I4},
    },
    read::{
        Facts,
        logs::ProviderLine,
        record::{self, Order, Payment},
    },
};

/// How soon money without units has to be refunded, counted from the provider's answer.
const REFUND_WITHIN_MS: i64 = 5 * 60 * 1_000;

/// The provider's log, grouped by order.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) orders: BTreeMap<Uuid, Money>,
    /// Captures of the sale that name no order.
    pub(super) homeless: Vec<String>,
}

/// What the provider did for one order.
#[derive(Debug, Default)]
pub(crate) struct Money {
    pub(crate) intents: BTreeSet<String>,
    pub(crate) captures: Vec<Capture>,
    refunds: Vec<Refund>,
    /// Refunds that failed later and that it never made.
    unmade: Vec<String>,
    /// Disputes as (kind in the record's ledger, the provider's id, amount).
    disputes: Vec<(&'static str, String, i64)>,
    pub(crate) declines: usize,
}

/// Money that the provider gave back.
#[derive(Debug)]
struct Refund {
    /// Its id; empty if the log names none.
    id: String,
    amount: i64,
    at_ms: i64,
    /// When it failed after all, which undid it.
    failed_ms: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) intent: String,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    /// The means of payment, if the log names it.
    pub(super) method: Option<String>,
    pub(crate) at_ms: i64,
}

impl Money {
    /// In minor units.
    pub(crate) fn captured(&self) -> i64 {
        self.captures.iter().map(|capture| capture.amount).sum()
    }

    /// Refunds that did not fail later.
    fn standing(&self) -> impl Iterator<Item = &Refund> {
        self.refunds.iter().filter(|refund| refund.failed_ms.is_none())
    }

    /// How many refunds there were, without those that failed later.
    pub(crate) fn refunds(&self) -> usize {
        self.standing().count()
    }

    /// What went back and did not fail later, in minor units.
    pub(crate) fn refunded(&self) -> i64 {
        self.standing().map(|refund| refund.amount).sum()
    }

    /// When refunds had reached this amount; `None` if they have not.
    fn refunded_by_ms(&self, amount: i64) -> Option<i64> {
        let mut back = 0;
        let mut refunds: Vec<&Refund> = self.standing().collect();
        refunds.sort_by_key(|refund| refund.at_ms);
        refunds.into_iter().find_map(|refund| {
            back += refund.amount;
            (back >= amount).then_some(refund.at_ms)
        })
    }

    /// When a refund failed after all, the last time.
    fn undone_ms(&self) -> Option<i64> {
        self.refunds.iter().filter_map(|refund| refund.failed_ms).max()
    }

    /// What the record's ledger has to have of it, by kind and the provider's id, with amounts.
    fn moves(&self) -> BTreeMap<(&str, &str), i64> {
        let captured = |capture: &Capture| -> i64 {
            let same = self.captures.iter().filter(|other| other.intent == capture.intent);
            same.map(|capture| capture.amount).sum()
        };
        let captures =
            self.captures.iter().map(|it| (("CAPTURED", it.intent.as_str()), captured(it)));
        let refunds = self.refunds.iter().map(|it| (("REFUNDED", it.id.as_str()), it.amount));
        let failed = self.refunds.iter().filter(|it| it.failed_ms.is_some());
        let failed = failed.map(|it| (("REFUND_FAILED", it.id.as_str()), it.amount));
        let disputes =
            self.disputes.iter().map(|(kind, id, amount)| ((*kind, id.as_str()), *amount));
        captures.chain(refunds).chain(failed).chain(disputes).collect()
    }
}

/// Groups the provider's log by order, without the lines of other sales; empty if there is no log.
pub(crate) fn ledger(facts: &Facts) -> Ledger {
    let mut ledger = Ledger::default();
    for line in facts.provider.iter().flatten() {
        let order: Option<Uuid> = line.order_id.as_deref().and_then(|id| id.parse().ok());
        let ours = match line.sale_id.as_deref() {
            Some(sale) => sale.parse() == Ok(facts.sale),
            None => order.is_none_or(|order| facts.record.orders.contains_key(&order)),
        };
        if !ours {
            continue;
        }
        match order {
            Some(order) => ledger.orders.entry(order).or_default().add(line),
            None if line.kind == "payment_intent.captured" => {
                ledger.homeless.push(line.payment_intent.clone());
            }
            None => {}
        }
    }
    ledger
}

/// The provider's amount in the ISO 4217 minor units that the record counts in. The provider keeps
/// two decimals for two currencies that have none, and none for one that has two
/// (docs.stripe.com/currencies, "Special cases").
fn in_minor_units(amount: i64, currency: &str) -> i64 {
    match currency {
        // An amount that does not divide cannot be one of ours: it stays as it is and will not
        // match.
        "ISK" | "UGX" if amount % 100 == 0 => amount / 100,
        "MGA" => amount.saturating_mul(100),
        _ => amount,
    }
}

impl Money {
    fn add(&mut self, line: &ProviderLine) {
        let currency = line.currency.to_ascii_uppercase();
        let amount = in_minor_units(line.amount, &currency);
        match line.kind.as_str() {
            "payment_intent.created" => {
                self.intents.insert(line.payment_intent.clone());
            }
            "payment_intent.captured" => self.captures.push(Capture {
                intent: line.payment_intent.clone(),
                amount,
                currency,
                method: line.payment_method.clone(),
                at_ms: line.ts_ms,
            }),
            "payment_intent.declined" => self.declines += 1,
            "payment_intent.refunded" => self.refunds.push(Refund {
                id: line.refund.clone().unwrap_or_default(),
                amount,
                at_ms: line.ts_ms,
                failed_ms: None,
            }),
            "payment_intent.refund_failed" => {
                let id = line.refund.clone().unwrap_or_default();
                let mut made = self.refunds.iter_mut();
                match made.find(|refund| refund.id == id && refund.failed_ms.is_none()) {
                    Some(refund) => refund.failed_ms = Some(line.ts_ms),
                    None => self.unmade.push(id),
                }
            }
            "payment_intent.disputed" => self.dispute("DISPUTED", line, amount),
            "payment_intent.dispute_won" => self.dispute("DISPUTE_WON", line, amount),
            _ => {}
        }
    }

    fn dispute(&mut self, kind: &'static str, line: &ProviderLine, amount: i64) {
        self.disputes.push((kind, line.dispute.clone().unwrap_or_default(), amount));
    }
}

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    for (id, order) in &facts.record.orders {
        amounts(facts, *id, order, findings);
    }
    payments(facts, findings);
    moves(facts, findings);
    if facts.provider.is_some() {
        let ledger = ledger(facts);
        once(&ledger, findings);
        books(facts, &ledger, findings);
        moved(facts, &ledger, findings);
        sums(facts, &ledger, findings);
        without_units(facts, &ledger, findings);
    } else {
        sums_of_the_record(facts, findings);
        without_units_in_the_record(facts, findings);
    }
}

/// An order's total is the sum of its lines, and its payment is over that total.
fn amounts(facts: &Facts, id: Uuid, order: &Order, findings: &mut Findings) {
    let of_lines: i64 = order.lines.iter().map(|line| line.quantity * line.unit_price_minor).sum();
    findings.expect(I3, of_lines == order.total_minor, || {
        format!("order {id}: costs {}, its lines cost {of_lines}", order.total_minor)
    });
    // Of a broken message the currency may be among the fields that could not be read.
    findings.expect(I3, order.currency == facts.record.currency || order.is_bare(), || {
        format!("order {id}: in {}, the sale is in {}", order.currency, facts.record.currency)
    });
    let Some(payment) = facts.record.payments.get(&id) else {
        findings.expect(I3, !order.is_sold() || order.total_minor == 0, || {
            format!("order {id}: {} without a payment", order.state)
        });
        return;
    };
    let same = payment.amount_minor == order.total_minor && payment.currency == order.currency;
    findings.expect(I3, same, || {
        let (amount, total) = (payment.amount_minor, order.total_minor);
        format!("order {id}: its payment is over {amount}, it costs {total}")
    });
    // A confirmed order may be on its way to REFUNDED while its payment is refunded already. Where a
    // refund failed after that, the payment may be back at SUCCEEDED, and the order stays.
    let fits = match order.state.as_str() {
        "CONFIRMED" if facts.at_rest => payment.state == "SUCCEEDED",
        "CONFIRMED" => matches!(payment.state.as_str(), "SUCCEEDED" | "REFUNDED"),
        "REFUNDED" if facts.record.undone_ms(&id).is_some() => {
            matches!(payment.state.as_str(), "SUCCEEDED" | "REFUNDED")
        }
        "REFUNDED" => payment.state == "REFUNDED",
        _ => true,
    };
    findings
        .expect(I3, fits, || format!("order {id}: {}, its payment {}", order.state, payment.state));
}

fn payments(facts: &Facts, findings: &mut Findings) {
    for (id, payment) in &facts.record.payments {
        findings.expect(I3, facts.record.orders.contains_key(id), || {
            format!("order {id}: has a payment, but no order row")
        });
        let captured = payment.captured_minor;
        let fits = match payment.state.as_str() {
            "SUCCEEDED" | "REFUNDED" => captured == payment.amount_minor,
            // Another amount than was asked for, which has to go back: I4 sees to that.
            "CANCELLED" => captured != payment.amount_minor,
            _ => captured == 0,
        };
        findings.expect(I3, fits, || {
            let (state, amount) = (&payment.state, payment.amount_minor);
            format!("order {id}: its payment is {state} with {captured} of {amount} captured")
        });
        given_back(facts, id, payment, findings);
    }
}

/// What is back of a payment is what its refunds say, never more than was captured, and all of it
/// exactly where it is REFUNDED.
fn given_back(facts: &Facts, id: &Uuid, payment: &Payment, findings: &mut Findings) {
    let (captured, back) = (payment.captured_minor, payment.refunded_minor);
    let by_refunds = facts.record.refunded(id);
    findings.expect(I3, by_refunds <= captured, || {
        format!("order {id}: {by_refunds} refunded of {captured} captured")
    });
    findings.expect(I3, by_refunds == back, || {
        format!("order {id}: {by_refunds} refunded by its refunds, its payment says {back}")
    });
    let fits = match payment.state.as_str() {
        "REFUNDED" => back == captured || facts.record.undone_ms(id).is_some(),
        "SUCCEEDED" => back < captured || captured == 0,
        _ => true,
    };
    findings.expect(I3, fits, || {
        format!("order {id}: its payment is {} with {back} of {captured} given back", payment.state)
    });
}

/// The record's ledger and its payments say the same.
fn moves(facts: &Facts, findings: &mut Findings) {
    for (id, rows) in &facts.record.moves {
        findings.expect(I3, facts.record.payments.contains_key(id), || {
            format!("order {id}: in the ledger, no payment row")
        });
        let refunded: BTreeSet<&str> =
            rows.iter().filter(|row| row.kind == "REFUNDED").map(|row| &*row.reference).collect();
        for row in rows {
            let (kind, reference) = (&row.kind, &row.reference);
            let made = kind != "REFUND_FAILED" || refunded.contains(&**reference);
            findings.expect(I3, made, || {
                format!("order {id}: {kind} {reference} in the ledger, which was never refunded")
            });
            findings.expect(I3, row.currency == facts.record.currency, || {
                let (currency, sale) = (&row.currency, &facts.record.currency);
                format!("order {id}: {kind} {reference} in {currency}, the sale is in {sale}")
            });
        }
    }
    for (id, payment) in &facts.record.payments {
        let of = |kind: &str| -> i64 {
            let rows = facts.record.moves_of(id).iter().filter(|row| row.kind == kind);
            rows.map(|row| row.amount_minor).sum()
        };
        let (captured, back) = (of("CAPTURED"), of("REFUNDED") - of("REFUND_FAILED"));
        findings.expect(I3, captured == payment.captured_minor, || {
            let recorded = payment.captured_minor;
            format!("order {id}: {captured} captured by the ledger, its payment says {recorded}")
        });
        findings.expect(I3, back == payment.refunded_minor, || {
            let recorded = payment.refunded_minor;
            format!("order {id}: {back} refunded by the ledger, its payment says {recorded}")
        });
    }
}

/// At rest the record's ledger has each move that the provider made, and no other one.
fn moved(facts: &Facts, ledger: &Ledger, findings: &mut Findings) {
    for (id, money) in &ledger.orders {
        for refund in &money.unmade {
            findings.broken(I3, format!("order {id}: {refund} failed, but was never refunded"));
        }
    }
    if !facts.at_rest {
        return;
    }
    let none = Money::default();
    let orders: BTreeSet<&Uuid> = ledger.orders.keys().chain(facts.record.moves.keys()).collect();
    for id in orders {
        let made = ledger.orders.get(id).unwrap_or(&none).moves();
        let rows = facts.record.moves_of(id).iter();
        let rows: BTreeMap<(&str, &str), i64> =
            rows.map(|row| ((&*row.kind, &*row.reference), row.amount_minor)).collect();
        for ((kind, reference), amount) in &rows {
            match made.get(&(*kind, *reference)) {
                Some(made) => findings.expect(I3, made == amount, || {
                    format!("order {id}: {kind} {reference} of {made}, the ledger says {amount}")
                }),
                None => findings.broken(
                    I3,
                    format!("order {id}: {kind} {reference} in the ledger, not at the provider"),
                ),
            }
        }
        for (kind, reference) in made.keys().filter(|made| !rows.contains_key(*made)) {
            // A refund that failed before the provider called it done has moved nothing.
            let cancelled = matches!(*kind, "REFUNDED" | "REFUND_FAILED")
                && made.contains_key(&("REFUND_FAILED", *reference))
                && !rows.contains_key(&("REFUNDED", *reference))
                && !rows.contains_key(&("REFUND_FAILED", *reference));
            findings.expect(I3, cancelled, || {
                format!("order {id}: {kind} {reference} at the provider, not in the ledger")
            });
        }
    }
}

/// At most one intent and one capture per order.
fn once(ledger: &Ledger, findings: &mut Findings) {
    let mut of_intents: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, money) in &ledger.orders {
        findings.expect(I3, money.intents.len() <= 1, || {
            let intents: Vec<_> = money.intents.iter().map(String::as_str).collect();
            format!("order {id}: has {} PaymentIntents: {}", intents.len(), intents.join(", "))
        });
        findings.expect(I3, money.captures.len() <= 1, || {
            format!("order {id}: captured {} times", money.captures.len())
        });
        for capture in &money.captures {
            *of_intents.entry(&capture.intent).or_default() += 1;
        }
    }
    for (intent, times) in of_intents {
        findings.expect(I3, times <= 1, || format!("{intent}: captured {times} times"));
    }
}

/// The record and the provider agree on each order.
fn books(facts: &Facts, ledger: &Ledger, findings: &mut Findings) {
    for (id, money) in &ledger.orders {
        let row = facts.record.orders.get(id);
        for capture in &money.captures {
            // Another amount is right for a payment alone that was cancelled for it, and goes back:
            // I4.
            let payment = facts.record.payments.get(id);
            let cancelled = payment.is_some_and(|payment| payment.state == "CANCELLED");
            let total = row.filter(|_| !cancelled).map(|order| order.total_minor);
            findings.expect(I3, total.is_none_or(|total| total == capture.amount), || {
                let total = total.unwrap_or_default();
                format!("order {id}: {} captured, it costs {total}", capture.amount)
            });
            findings.expect(I3, capture.currency == facts.record.currency, || {
                let (taken, sale) = (&capture.currency, &facts.record.currency);
                format!("order {id}: captured in {taken}, the sale is in {sale}")
            });
        }
        findings.expect(I3, money.refunded() <= money.captured(), || {
            let (back, taken) = (money.refunded(), money.captured());
            format!("order {id}: {back} refunded of {taken} captured")
        });
        match facts.record.payments.get(id) {
            None => {
                findings.broken(I3, format!("order {id}: known to the provider, no payment row"))
            }
            Some(payment) => {
                let known = match &payment.intent {
                    Some(intent) => money.intents.contains(intent),
                    None => !facts.at_rest || money.intents.is_empty(),
                };
                findings.expect(I3, known, || {
                    let recorded = payment.intent.as_deref().unwrap_or("no PaymentIntent");
                    let made: Vec<_> = money.intents.iter().map(String::as_str).collect();
                    format!(
                        "order {id}: the record names {recorded}, the provider made {}",
                        made.join(", ")
                    )
                });
            }
        }
    }
    let none = Money::default();
    for (id, payment) in facts.record.payments.iter().filter(|_| facts.at_rest) {
        let money = ledger.orders.get(id).unwrap_or(&none);
        let captured = money.captured();
        findings.expect(I3, captured == payment.captured_minor, || {
            format!("order {id}: {captured} captured, the record says {}", payment.captured_minor)
        });
        let recorded = facts.record.refunded(id);
        findings.expect(I3, money.refunded() == recorded, || {
            format!("order {id}: {} refunded, the record says {recorded}", money.refunded())
        });
    }
}

/// The totals. Money for orders that ended unpaid is left to I4; all other money has to be for sold
/// orders.
fn sums(facts: &Facts, ledger: &Ledger, findings: &mut Findings) {
    if !facts.at_rest {
        return;
    }
    let captured: i64 = ledger.orders.values().map(Money::captured).sum();
    let kept = ledger.orders.iter().filter(|(id, _)| !ended_unpaid(facts, id));
    let kept: i64 = kept.map(|(_, money)| money.captured()).sum();
    let (recorded, due) = (recorded(facts), due(facts));
    findings.expect(I3, captured == recorded, || {
        format!("in all: {captured} captured, the record says {recorded}")
    });
    findings.expect(I3, kept == due, || {
        format!("in all: {kept} captured and kept, sold orders cost {due}")
    });
}

fn sums_of_the_record(facts: &Facts, findings: &mut Findings) {
    if !facts.at_rest {
        return;
    }
    let kept = facts.record.payments.iter().filter(|(id, _)| !ended_unpaid(facts, id));
    let kept: i64 = kept.map(|(_, payment)| payment.captured_minor).sum();
    let due = due(facts);
    findings.expect(I3, kept == due, || {
        format!("in all: {kept} captured and kept by the record, sold orders cost {due}")
    });
}

fn ended_unpaid(facts: &Facts, order: &Uuid) -> bool {
    facts.record.orders.get(order).is_some_and(|order| !order.is_claimed())
}

/// The captured amount according to the record.
fn recorded(facts: &Facts) -> i64 {
    facts.record.payments.values().map(|payment| payment.captured_minor).sum()
}

/// What sold orders cost.
fn due(facts: &Facts) -> i64 {
    let sold = facts.record.orders.values().filter(|order| order.is_sold());
    sold.map(|order| order.total_minor).sum()
}

fn without_units(facts: &Facts, ledger: &Ledger, findings: &mut Findings) {
    for intent in &ledger.homeless {
        findings.broken(I4, format!("{intent}: captured for no order"));
    }
    for (id, money) in &ledger.orders {
        let Some(first) = money.captures.first() else { continue };
        let captured = money.captured();
        let back_by_ms = money.refunded_by_ms(captured);
        let state = facts.record.orders.get(id).map_or("unknown", |order| order.state.as_str());
        match state {
            "CONFIRMED" => {}
            // It had its units, so its refund has no deadline.
            "REFUNDED" => findings.expect(I4, back_by_ms.is_some(), || {
                format!("order {id}: REFUNDED, {} of {captured} went back", money.refunded())
            }),
            _ => {
                // A refund that fails is made once more, and has its time from then on.
                let since_ms =
                    money.undone_ms().map_or(first.at_ms, |at_ms| at_ms.max(first.at_ms));
                let late_ms = since_ms + REFUND_WITHIN_MS;
                let in_time = match back_by_ms {
                    Some(at_ms) => at_ms <= late_ms,
                    None => !facts.at_rest && facts.record.now_ms <= late_ms,
                };
                findings.expect(I4, in_time, || {
                    let back = back_by_ms.map_or("never went back".to_owned(), |at_ms| {
                        format!("went back after {} s", (at_ms - first.at_ms) / 1_000)
                    });
                    format!("order {id}: {state}, but {captured} was captured and {back}")
                });
            }
        }
    }
}

fn without_units_in_the_record(facts: &Facts, findings: &mut Findings) {
    for (id, payment) in &facts.record.payments {
        let order = facts.record.orders.get(id);
        let kept_its_units = order.is_some_and(|order| order.state == "CONFIRMED");
        // An open order may not have followed its payment yet: it may still keep the money.
        let open = !facts.at_rest && order.is_some_and(|order| !order.is_ended());
        if payment.captured_minor == 0 || kept_its_units || open {
            continue;
        }
        let state = order.map_or("unknown", |order| order.state.as_str());
        let refunds = facts.record.refunds_of(id);
        let undone_ms = facts.record.undone_ms(id);
        // A refund that fails is made once more, and has its time from then on.
        let is_soon = |refund: &record::Refund, at_ms: i64| {
            let since_ms =
                undone_ms.map_or(refund.created_ms, |undone| undone.max(refund.created_ms));
            at_ms - since_ms <= REFUND_WITHIN_MS
        };
        let in_time = if facts.record.refunded(id) == payment.captured_minor {
            let mut done = refunds.iter().filter(|refund| refund.is_done());
            state == "REFUNDED"
                || done.all(|refund| refund.done_ms.is_some_and(|at_ms| is_soon(refund, at_ms)))
        } else {
            let mut open = refunds.iter().filter(|it| matches!(&*it.state, "DUE" | "PENDING"));
            !facts.at_rest && open.any(|refund| is_soon(refund, facts.record.now_ms))
        };
        findings.expect(I4, in_time, || {
            format!("order {id}: {state}, but {} was captured and kept", payment.captured_minor)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::in_minor_units;

    #[test]
    fn provider_amounts_are_minor_units() {
        let cases = [
            (1_999, "EUR", 1_999),
            (500, "JPY", 500),
            (70_000, "ISK", 700),
            (70_050, "ISK", 70_050),
            (50_000, "UGX", 500),
            (5, "MGA", 500),
            (5_120, "KWD", 5_120),
        ];
        for (amount, currency, minor) in cases {
            assert_eq!(in_minor_units(amount, currency), minor, "{amount} {currency}");
        }
    }
}
