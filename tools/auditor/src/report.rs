//! The auditor's report, as JSON and as a table. `docs/report.md` describes the fields.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    check::{Ledger, leaked_units, ledger, sold},
    findings::{Findings, Invariant},
    read::{
        Facts,
        logs::{Seen, refund_of},
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Held,
    /// At least one invariant was broken.
    Broken,
    /// Something could not be read: nothing is decided.
    Unread,
}

/// The result of an audit. Displays as a table.
#[derive(Debug)]
pub struct Report {
    pub verdict: Verdict,
    /// The report's JSON.
    pub value: Value,
}

impl Report {
    /// The report of an audit that could not read all its sources.
    pub(crate) fn unread(sale: Uuid, unread: Vec<String>) -> Self {
        let undecided: Map<String, Value> =
            Invariant::ALL.iter().map(|it| (it.name().to_owned(), Value::Null)).collect();
        let value = json!({
            "sale_id": sale,
            "invariants": undecided,
            "violations": {},
            "not_checked": unread,
        });
        Self { verdict: Verdict::Unread, value }
    }

    /// Whether an invariant held; `None` if it was not decided.
    pub fn held(&self, invariant: Invariant) -> Option<bool> {
        self.value["invariants"][invariant.name()].as_bool()
    }

    /// The listed violations of an invariant.
    pub fn violations(&self, invariant: Invariant) -> Vec<&str> {
        texts(&self.value["violations"][invariant.name()])
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for invariant in Invariant::ALL {
            let mark = match self.held(invariant) {
                Some(true) => '✓',
                Some(false) => '✗',
                None => '?',
            };
            writeln!(f, "{}  {mark}  {}", invariant.name(), invariant.words())?;
            for violation in self.violations(invariant) {
                writeln!(f, "       {violation}")?;
            }
        }
        for what in texts(&self.value["not_checked"]) {
            writeln!(f, "not checked: {what}")?;
        }
        Ok(())
    }
}

/// The report of these findings, with the figures.
pub(crate) fn of(facts: &Facts, findings: &Findings) -> Report {
    let mut invariants = Map::new();
    let mut violations = Map::new();
    for invariant in Invariant::ALL {
        let lines = findings.of(invariant);
        invariants.insert(invariant.name().to_owned(), Value::from(lines.is_empty()));
        if !lines.is_empty() {
            violations.insert(invariant.name().to_owned(), Value::from(lines));
        }
    }
    let held = violations.is_empty();
    let ledger = ledger(facts);
    let sum = |units: fn(&Facts, &str) -> i64| -> i64 {
        facts.record.allotments.keys().map(|sku| units(facts, sku)).sum()
    };
    let allotted: i64 = facts.record.allotments.values().map(|item| item.allotted).sum();
    let available: i64 = facts.stock.skus.values().map(|books| books.available).sum();
    let value = json!({
        "sale_id": facts.sale,
        "at_rest": facts.at_rest,
        "allotted": allotted,
        "available": available,
        "sold": sum(sold),
        "oversold": findings.oversold,
        "leaked_units": leaked_units(facts),
        "orders": orders(facts),
        "payments": payments(facts, &ledger),
        "mails": mails(facts),
        "invariants": invariants,
        "violations": violations,
        "checked": {
            "skus": facts.stock.skus.len(),
            "holds": facts.stock.holds.len(),
            // Each hold stands for the request that took it.
            "requests": facts.stock.requests.len() + facts.stock.holds.len(),
            "admissions": facts.stock.spent.len(),
            "ticks": facts.stock.room.as_ref().map_or(0, |room| room.ticks.len()),
            "orders": facts.record.orders.len(),
            "payments": facts.record.payments.len(),
            "captures": ledger.orders.values().map(|money| money.captures.len()).sum::<usize>(),
            "refunds": facts.record.refunds.values().map(Vec::len).sum::<usize>(),
            "moves": facts.record.moves.values().map(Vec::len).sum::<usize>(),
            "messages": facts.queue.messages.len(),
            "provider_lines": facts.provider.as_ref().map_or(0, Vec::len),
            "mail_lines": facts.mails.as_ref().map_or(0, Vec::len),
            "history_lines": facts.history.as_ref().map_or(0, Vec::len),
        },
        "not_checked": findings.not_checked,
    });
    Report { verdict: if held { Verdict::Held } else { Verdict::Broken }, value }
}

fn orders(facts: &Facts) -> Value {
    let count = |states: &[&str]| {
        let orders = facts.record.orders.values();
        orders.filter(|order| states.contains(&order.state.as_str())).count()
    };
    let accepted: Option<BTreeSet<&str>> = facts.history.as_ref().map(|history| {
        let ids = history.iter().filter_map(|seen| match seen {
            Seen::Placed { order_id, .. } => Some(order_id.as_str()),
            Seen::Joined { .. } | Seen::Admitted { .. } | Seen::Ended { .. } | Seen::Other => None,
        });
        ids.collect()
    });
    json!({
        "accepted": accepted.map_or(facts.record.orders.len(), |accepted| accepted.len()),
        "confirmed": count(&["CONFIRMED"]),
        "declined": count(&["DECLINED"]),
        "cancelled": count(&["CANCELLED"]),
        "refunded": count(&["REFUNDED"]),
        "open": count(&["DEAD_LETTER", "CLAIMED", "PAYING", "ACTION_REQUIRED"]),
    })
}

/// From the provider's log, or from the record where there is none.
fn payments(facts: &Facts, ledger: &Ledger) -> Value {
    let currency = &facts.record.currency;
    if facts.provider.is_some() {
        let money = || ledger.orders.values();
        return json!({
            "captures": money().map(|it| it.captures.len()).sum::<usize>(),
            "captured_minor": money().map(|it| it.captured()).sum::<i64>(),
            "currency": currency,
            "refunds": money().map(|it| it.refunds()).sum::<usize>(),
            "refunded_minor": money().map(|it| it.refunded()).sum::<i64>(),
            "double_captures": money().map(|it| it.captures.len().saturating_sub(1)).sum::<usize>(),
            "intents": money().map(|it| it.intents.len()).sum::<usize>(),
            "declines": money().map(|it| it.declines).sum::<usize>(),
        });
    }
    let rows = || facts.record.payments.values();
    let refunds = || facts.record.refunds.values().flatten().filter(|refund| refund.is_done());
    json!({
        "captures": rows().filter(|payment| payment.captured_minor > 0).count(),
        "captured_minor": rows().map(|payment| payment.captured_minor).sum::<i64>(),
        "currency": currency,
        "refunds": refunds().count(),
        "refunded_minor": refunds().map(|refund| refund.amount_minor).sum::<i64>(),
        "double_captures": 0,
        "intents": rows().filter(|payment| payment.intent.is_some()).count(),
        "declines": rows().filter(|payment| payment.state == "FAILED").count(),
    })
}

fn mails(facts: &Facts) -> Value {
    let mut copies: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for mail in facts.mails.iter().flatten() {
        let ours = mail.order().is_some_and(|order| facts.record.orders.contains_key(&order));
        if let (true, Some(about), Some(id)) = (ours, &mail.headers.about, &mail.message_id) {
            *copies.entry((about, id)).or_default() += 1;
        }
    }
    let count = |abouts: &[&str]| copies.keys().filter(|(about, _)| abouts.contains(about)).count();
    let of_refunds = copies.keys().filter(|(about, _)| refund_of(about).is_some()).count();
    json!({
        "confirmation": count(&["CONFIRMED"]),
        "failure": count(&["DECLINED", "CANCELLED"]),
        "refund": of_refunds + count(&["REFUNDED"]),
        "repeated": copies.values().map(|times| times - 1).sum::<usize>(),
    })
}
