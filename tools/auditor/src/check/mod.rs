//! The invariants, each decided on its own.

mod money;
mod once;
mod orders;
mod price;
mod room;
mod stock;
mod units;

use crate::{findings::Findings, read::Facts};

pub(crate) use money::{Ledger, ledger};
pub(crate) use stock::{leaked_units, sold};

/// The largest clock difference that the promises allow for, in ms.
const CLOCK_TOLERANCE_MS: i64 = 5_000;

pub(crate) fn all(facts: &Facts) -> Findings {
    let mut findings = Findings::default();
    units::check(facts, &mut findings);
    orders::check(facts, &mut findings);
    money::check(facts, &mut findings);
    stock::check(facts, &mut findings);
    room::check(facts, &mut findings);
    once::check(facts, &mut findings);
    price::check(facts, &mut findings);
    for (given, what) in [
        (
            facts.provider.is_some(),
            "the payment provider's log (--stripe-log): I3, I4 and I9 were checked against the record alone",
        ),
        (facts.mails.is_some(), "the mails (--mail-log): I2 and I7 were checked without them"),
        (
            facts.history.is_some(),
            "what the buyers saw (--history): I2, I6 and I7 were checked without it",
        ),
        (
            facts.at_rest,
            "what holds only at rest (--at-rest): ends of orders, sums of money, mails, leaked units",
        ),
    ] {
        if !given {
            findings.not_checked.push(what.to_owned());
        }
    }
    findings
}
