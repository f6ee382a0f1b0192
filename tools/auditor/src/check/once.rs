//! I7: one effect per request id, however often the request was sent.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use uuid::Uuid;

use crate::{
    findings::{Findings, Invariant::I7},
    read::{Facts, logs::Seen, queue::Kind},
};

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    history(facts, findings);
    rows(facts, findings);
    queue(facts, findings);
    stock(facts, findings);
    adjustments(facts, findings);
    mails(facts, findings);
}

/// The order id that a request of a buyer leads to.
fn order_of(sale: Uuid, buyer: &str, request: Uuid) -> Uuid {
    Uuid::new_v5(&sale, format!("{buyer}\u{1f}{}", request.as_hyphenated()).as_bytes())
}

fn history(facts: &Facts, findings: &mut Findings) {
    let mut answers: BTreeMap<(&str, Uuid), BTreeSet<&str>> = BTreeMap::new();
    for seen in facts.history.iter().flatten() {
        if let Seen::Placed { buyer, request_id, order_id } = seen {
            answers.entry((buyer, *request_id)).or_default().insert(order_id);
        }
    }
    for ((buyer, request), orders) in answers {
        findings.expect(I7, orders.len() == 1, || {
            format!("request {request}: answered with {} orders", orders.len())
        });
        let derived = order_of(facts.sale, buyer, request);
        for order in orders {
            findings.expect(I7, order.parse() == Ok(derived), || {
                format!("request {request}: answered with order {order}, it places {derived}")
            });
        }
    }
}

fn rows(facts: &Facts, findings: &mut Findings) {
    let mut requests: BTreeMap<(&str, Uuid), Uuid> = BTreeMap::new();
    let mut holds: BTreeMap<Uuid, Uuid> = BTreeMap::new();
    for (id, order) in &facts.record.orders {
        let derived = order_of(facts.sale, &order.buyer, order.request);
        // Of a broken message the request id may be among the fields that could not be read.
        let unread = order.is_bare() && order.request.is_nil();
        findings.expect(I7, derived == *id || unread, || {
            format!("order {id}: its request {} places {derived}", order.request)
        });
        if let Some(other) = requests.insert((&order.buyer, order.request), *id) {
            let request = order.request;
            findings.broken(I7, format!("orders {other} and {id}: both of request {request}"));
        }
        if let Some(other) = holds.insert(order.hold, *id) {
            findings.broken(I7, format!("orders {other} and {id}: both of hold {}", order.hold));
        }
    }
}

fn queue(facts: &Facts, findings: &mut Findings) {
    let mut placed = BTreeMap::new();
    for message in &facts.queue.messages {
        let (body, seq) = (&message.body, message.seq);
        let id = body.order_id;
        let derived = order_of(facts.sale, &body.buyer_id, body.request_id);
        // The cancellation of a recorded order names no request id: the record has it.
        let unnamed = body.kind == Kind::Cancel && body.request_id.is_nil();
        findings.expect(I7, derived == id || unnamed, || {
            format!("order {id}: the request of message {seq} places {derived}")
        });
        let expected = match body.kind {
            Kind::Place => id.to_string(),
            Kind::Cancel => format!("{id}/cancel"),
        };
        findings.expect(I7, message.message_id.as_ref() == Some(&expected), || {
            format!("order {id}: message {seq} has another message id")
        });
        if body.kind == Kind::Place {
            let content = (body.hold_id, &body.lines, body.total_minor);
            let same = *placed.entry(id).or_insert(content) == content;
            findings
                .expect(I7, same, || format!("order {id}: message {seq} places something else"));
        }
    }
}

/// The requests that Redis remembers, against the holds.
fn stock(facts: &Facts, findings: &mut Findings) {
    let stock = &facts.stock;
    for (key, request) in &stock.requests {
        let hold = request.hold.parse().ok().and_then(|id: Uuid| stock.holds.get(&id));
        let Some(hold) = hold else {
            findings.broken(I7, format!("request {key}: its hold {} is unknown", request.hold));
            continue;
        };
        if request.operation == "place" {
            let placed = hold.order.is_some_and(|order| order.to_string() == *key);
            findings.expect(
                I7,
                placed && hold.request_hash.as_ref() == Some(&request.hash),
                || format!("request {key}: hold {} was placed by another one", request.hold),
            );
        }
    }
    let mut orders: BTreeMap<Uuid, Uuid> = BTreeMap::new();
    for (id, hold) in &stock.holds {
        let Some(order) = hold.order else { continue };
        let derived = hold.request.map(|request| order_of(facts.sale, &hold.buyer, request));
        findings.expect(I7, derived == Some(order), || {
            format!("order {order}: hold {id} was placed by a request that places another")
        });
        if facts.is_given_back(id, hold) {
            continue;
        }
        if let Some(other) = orders.insert(order, *id) {
            findings.broken(I7, format!("order {order}: holds {other} and {id} carry it"));
        }
        let remembered = stock.requests.get(&order.to_string());
        // A request that both took and placed the units is keyed by the hold's id.
        let itself = order == *id;
        findings.expect(
            I7,
            itself || remembered.is_some_and(|request| request.hold == id.to_string()),
            || format!("order {order}: its request is not remembered for hold {id}"),
        );
    }
}

/// The adjustments that Redis remembers, against their journal, where each is written before it is
/// applied to the stock.
fn adjustments(facts: &Facts, findings: &mut Findings) {
    for (request, adjusted) in &facts.stock.adjusted {
        let row = request.parse().ok().and_then(|id: Uuid| facts.record.adjustments.get(&id));
        let same = row.filter(|row| row.sku == adjusted.sku && row.units == adjusted.units);
        let Some(row) = same else {
            let (units, sku) = (adjusted.units, &adjusted.sku);
            let what = format!("{units} units of {sku} in Redis, the journal knows nothing of it");
            findings.broken(I7, format!("adjustment {request}: {what}"));
            continue;
        };
        let (there, otherwise) =
            if adjusted.done { ("done", "REFUSED") } else { ("refused", "DONE") };
        findings.expect(I7, row.state != otherwise, || {
            format!("adjustment {request}: {there} in Redis, {} in the journal", row.state)
        });
    }
}

/// One mail for each outcome to be told. The same message sent twice counts as one.
fn mails(facts: &Facts, findings: &mut Findings) {
    let Some(mails) = &facts.mails else { return };
    let mut written: BTreeMap<(Uuid, &str), BTreeSet<&str>> = BTreeMap::new();
    for mail in mails {
        let (Some(order), Some(about)) = (mail.order(), mail.headers.about.as_deref()) else {
            continue;
        };
        let id = mail.message_id.as_deref().unwrap_or_default();
        findings.expect(I7, !id.is_empty(), || format!("order {order}: a mail has no Message-ID"));
        written.entry((order, about)).or_default().insert(id);
    }
    for ((order, about), ids) in &written {
        let ours = facts.record.orders.contains_key(order);
        findings.expect(I7, !ours || ids.len() == 1, || {
            format!("order {order}: {} different mails about {about}", ids.len())
        });
    }
    let mails = || facts.record.outbox.iter().filter(|row| row.kind == "mail");
    // The version before knew one refund of an order, and wrote of it when the order was REFUNDED.
    let as_before: BTreeSet<Uuid> =
        mails().filter(|row| row.about == "REFUNDED").map(|row| row.order).collect();
    for (order, about) in written.keys() {
        let twice = *about == "REFUNDED" && !as_before.contains(order);
        findings.expect(I7, !(twice && facts.record.orders.contains_key(order)), || {
            format!("order {order}: a mail about {about} beside those about its refunds")
        });
    }
    if !facts.at_rest {
        return;
    }
    let mut owed: BTreeSet<(Uuid, Cow<'_, str>)> = BTreeSet::new();
    for (id, order) in facts.record.orders.iter().filter(|(_, order)| order.is_ended()) {
        let ended = if order.is_sold() { "CONFIRMED" } else { order.state.as_str() };
        owed.insert((*id, ended.into()));
        if as_before.contains(id) {
            owed.insert((*id, "REFUNDED".into()));
        } else if order.is_sold() {
            let refunds = facts.record.refunds_of(id).iter();
            let told = refunds.filter(|refund| refund.is_done() && refund.amount_minor > 0);
            owed.extend(told.map(|refund| (*id, format!("REFUND.{}", refund.id).into())));
        }
    }
    // A mail that the recipient's server refuses is not a broken promise.
    for row in mails().filter(|row| row.done && row.failed) {
        owed.remove(&(row.order, row.about.as_str().into()));
    }
    for (order, about) in owed {
        findings.expect(I7, written.contains_key(&(order, &*about)), || {
            format!("order {order}: {about}, but no mail says so")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_id_depends_on_all_three() {
        let id =
            |sale, buyer, request| order_of(Uuid::from_u128(sale), buyer, Uuid::from_u128(request));
        assert_eq!(id(1, "a", 2), id(1, "a", 2));
        for other in [id(3, "a", 2), id(1, "b", 2), id(1, "a", 3)] {
            assert_ne!(id(1, "a", 2), other);
        }
        assert_eq!(id(1, "a", 2).get_version_num(), 5);
    }
}
