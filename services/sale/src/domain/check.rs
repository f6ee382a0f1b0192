//! What would make a sale go wrong: a rule for each check, over facts that were gathered before.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Sale, SaleState};

/// Clocks that are further apart than this are noted: windows and deadlines are compared across
/// them.
const CLOCK_WARN: time::Duration = time::Duration::seconds(1);
/// What the platform is built to stand.
const CLOCK_FAIL: time::Duration = time::Duration::seconds(5);

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is nothing to do.
    Pass,
    /// The sale can go on, but not as its shop may expect.
    Warn,
    /// The sale goes wrong if nothing is done.
    Fail,
    /// The facts cannot be had now.
    Unknown,
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, for programs.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found, or why it is not known.
    pub value: String,
    /// What that was held against.
    pub bound: String,
    /// What to do; empty if it passed.
    pub remedy: &'static str,
}

/// A fact that another service has, or why it did not say.
pub type Known<T> = Result<T, String>;

/// Another sale that offers skus of the checked one at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The other sale; `None` if the caller does not reach it.
    pub sale_id: Option<Uuid>,
    /// The first sku that both offer.
    pub sku: String,
    /// How many skus both offer.
    pub skus: i64,
}

/// Skus that cost more in the sale than outside of it, now or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AboveRegular {
    /// The first of them.
    pub first: Vec<String>,
    /// All of them.
    pub skus: i64,
}

/// How what is on sale differs from the file that the sale was imported from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Items that were in the file.
    pub items: i64,
    /// Those of which more units are on sale than it had.
    pub more_units: i64,
    /// Those whose regular price is another than it said.
    pub other_prices: i64,
    /// The first of either.
    pub first: Option<String>,
}

/// What is known of a sale when it is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The sale, without its items.
    pub sale: Sale,
    /// When the record was read, by its own clock.
    pub now: OffsetDateTime,
    /// Units that the sale may sell.
    pub units: i64,
    /// Other sales that offer the same, the earliest first, and how many there are.
    pub conflicts: Vec<Conflict>,
    /// All of them, listed or not.
    pub conflicting: i64,
    /// What costs more than outside of the sale; `None` if the shop has given no regular price.
    pub above_regular: Option<AboveRegular>,
    /// How it differs from its file; `None` if it was not imported.
    pub drift: Option<Drift>,
    /// Payments a second that the budgets of the provider allow.
    pub payments_per_s: Known<f64>,
    /// How far the record's clock is ahead of this process'.
    pub record_ahead: time::Duration,
    /// How far the clock of the stock's store is ahead; `None` before the stock is loaded.
    pub stock_ahead: Option<Known<time::Duration>>,
}

/// What the deployment is configured to serve a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Buyers who join a waiting room.
    pub join: i64,
    /// Reservations.
    pub reserve: i64,
    /// Orders.
    pub place_order: i64,
}

/// What sales are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long before its start a scheduled sale is prepared.
    pub lead: Duration,
    /// What can be served.
    pub capacity: Capacity,
}

/// How far another clock is ahead of ours, if it showed `shown` at some moment between `asked` and
/// `answered` of ours: the least that it can be, and negative if it is behind.
pub fn ahead(
    asked: OffsetDateTime,
    shown: OffsetDateTime,
    answered: OffsetDateTime,
) -> time::Duration {
    if shown < asked {
        shown - asked
    } else if shown > answered {
        shown - answered
    } else {
        time::Duration::ZERO
    }
}

/// Checks a sale. What does not apply to it is left out.
pub fn checks(facts: &Facts, bounds: &Bounds) -> Vec<Check> {
    let plan = [
        prepared(facts, bounds.lead),
        is_ahead_of_its_end(facts.sale.state).then(|| conflicts(facts)),
        room(facts),
        payments(facts),
        peak(facts, bounds.capacity),
        regular_prices(facts),
        source_drift(facts),
    ];
    let record = Ok(facts.record_ahead);
    let clocks = [
        Some(clock("record_clock", "Postgres' clock against that of the sale service", &record)),
        facts.stock_ahead.as_ref().map(|ahead| {
            clock("stock_clock", "the clock of the stock's store against ours", ahead)
        }),
    ];
    plan.into_iter().chain(clocks).flatten().collect()
}

/// Whether something of the sale can still be changed for the better.
const fn is_ahead_of_its_end(state: SaleState) -> bool {
    match state {
        SaleState::Draft
        | SaleState::Scheduled
        | SaleState::Prepared
        | SaleState::Open
        | SaleState::Paused => true,
        SaleState::Ended | SaleState::Cancelled => false,
    }
}

/// Whether the sale opens when it should: it is scheduled and prepared in time, and the other
/// services know it as it is.
fn prepared(facts: &Facts, lead: Duration) -> Option<Check> {
    let (sale, now) = (&facts.sale, facts.now);
    let (starts_at, ends_at) = (sale.settings.starts_at, sale.settings.ends_at);
    let lead = sale.settings.lead(lead);
    let is_due = starts_at <= now + lead;
    let (verdict, remedy) = match sale.state {
        SaleState::Draft if ends_at <= now => {
            (Verdict::Fail, "its window has passed: give it a later one")
        }
        SaleState::Draft if is_due => {
            (Verdict::Warn, "a draft does not open by itself: schedule it, or start it by hand")
        }
        SaleState::Scheduled if starts_at <= now => (
            Verdict::Fail,
            "it opens once it is prepared: see in the log of the sale service what it waits for",
        ),
        SaleState::Scheduled if is_due => {
            (Verdict::Warn, "look again in a minute; if it stays, see the log of the sale service")
        }
        SaleState::Prepared | SaleState::Open | SaleState::Paused if !sale.is_propagated() => (
            Verdict::Fail,
            "inventory or the waiting room do not know this version: see whether they are up",
        ),
        SaleState::Draft
        | SaleState::Scheduled
        | SaleState::Prepared
        | SaleState::Open
        | SaleState::Paused => (Verdict::Pass, ""),
        SaleState::Ended | SaleState::Cancelled => return None,
    };
    let told = if sale.is_propagated() { "" } else { ", the others are not told yet" };
    let starts = match starts_at - now {
        left if left.is_positive() => format!("starts in {} s", left.whole_seconds()),
        past => format!("was to start {} s ago", past.whole_seconds().saturating_abs()),
    };
    Some(Check {
        id: "prepared",
        title: "the sale is prepared in time",
        verdict,
        value: format!("{}, {starts}{told}", sale.state.as_str()),
        bound: format!("prepared {} s before its start", lead.as_secs()),
        remedy,
    })
}

/// Whether another sale offers the same. A draft that does is refused when it is scheduled; a sale
/// that was let through may share its skus on purpose.
fn conflicts(facts: &Facts) -> Check {
    let (verdict, remedy) = if facts.conflicting == 0 {
        (Verdict::Pass, "")
    } else if facts.sale.state == SaleState::Draft {
        (Verdict::Fail, "move its window, leave the skus out, or allow it when you schedule it")
    } else {
        (Verdict::Warn, "each sale sells its own units: see that the shop has them for all of them")
    };
    let mut others: Vec<String> = facts.conflicts.iter().map(described).collect();
    let listed = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if facts.conflicting > listed {
        others.push(format!("{} more sales", facts.conflicting - listed));
    }
    Check {
        id: "conflicts",
        title: "no other sale offers the same at the same time",
        verdict,
        value: if others.is_empty() { "none".to_owned() } else { others.join("; ") },
        bound: "none until the holds of either have ended".to_owned(),
        remedy,
    }
}

fn described(conflict: &Conflict) -> String {
    let more = match conflict.skus {
        ..=1 => String::new(),
        skus => format!(" and {} more", skus - 1),
    };
    match conflict.sale_id {
        Some(sale_id) => format!("{}{more} in the sale {sale_id}", conflict.sku),
        None => format!("{}{more} in a sale of another shop", conflict.sku),
    }
}

/// Whether as many buyers are admitted within the window as there are units. Each is taken to buy
/// one; where they buy more, fewer are needed.
fn room(facts: &Facts) -> Option<Check> {
    let settings = &facts.sale.settings;
    let room = settings.room.filter(|_| is_ahead_of_its_end(facts.sale.state))?;
    let window = (settings.ends_at - settings.starts_at).as_seconds_f64();
    let admitted = room.rate * window;
    let enough = admitted >= number(facts.units);
    Some(Check {
        id: "room",
        title: "the line admits a buyer for each unit",
        verdict: if enough { Verdict::Pass } else { Verdict::Warn },
        value: format!("{admitted:.0} buyers, {} a second for {window:.0} s", room.rate),
        bound: format!("{} units", facts.units),
        remedy: if enough {
            ""
        } else {
            "admit more buyers a second, or end later; buyers of several units need fewer"
        },
    })
}

/// Whether the payments of all units, one each, are taken within the length of a hold and the
/// buyers' patience. Orders come as fast as the room admits, and all at once without one: the last
/// one waits for as long as the payments take less the time in which the orders come.
fn payments(facts: &Facts) -> Option<Check> {
    let settings = &facts.sale.settings;
    if !is_ahead_of_its_end(facts.sale.state) {
        return None;
    }
    let (bound, what) = match settings.payment_patience {
        Some(patience) if patience < settings.hold => (patience, "the buyers' patience"),
        Some(_) | None => (settings.hold, "the length of a hold"),
    };
    let (verdict, value, remedy) = match &facts.payments_per_s {
        Err(why) => (Verdict::Unknown, why.clone(), "bring payment back, and look again"),
        Ok(per_s) => {
            let units = number(facts.units);
            let takes = units / per_s;
            let comes = settings.room.map_or(0.0, |room| units / room.rate);
            let waits = (takes - comes).max(0.0);
            let value = format!("{waits:.0} s for the last of {} at {per_s} a second", facts.units);
            if waits <= bound.as_secs_f64() {
                (Verdict::Pass, value, "")
            } else {
                let remedy = "admit fewer buyers a second, or have the provider raise its limit \
                              and then payment's budgets; orders wait meanwhile, and none is lost";
                (Verdict::Warn, value, remedy)
            }
        }
    };
    Some(Check {
        id: "payments",
        title: "payments are taken while buyers wait",
        verdict,
        value,
        bound: format!("{} s, {what}", bound.as_secs_f64()),
        remedy,
    })
}

/// Whether as many buyers can be served as the shop expects: with a room all of them join it, and
/// without one each reserves units and places an order.
fn peak(facts: &Facts, capacity: Capacity) -> Option<Check> {
    let settings = &facts.sale.settings;
    let expected = settings.expected_peak.filter(|_| is_ahead_of_its_end(facts.sale.state))?;
    let (call, most) = if settings.room.is_some() {
        ("Join", capacity.join)
    } else if capacity.reserve < capacity.place_order {
        ("Reserve", capacity.reserve)
    } else {
        ("PlaceOrder", capacity.place_order)
    };
    let (verdict, remedy) = if expected <= most {
        (Verdict::Pass, "")
    } else {
        let remedy = "put a waiting room in front if there is none, or more instances, and raise \
                      doctor.capacity to what was measured with them";
        (Verdict::Fail, remedy)
    };
    Some(Check {
        id: "peak",
        title: "as many buyers can be served as are expected",
        verdict,
        value: format!("{expected} buyers a second"),
        bound: format!("{most} calls of {call} a second"),
        remedy,
    })
}

/// Whether all that is on sale costs less in the sale than outside of it, or as much.
fn regular_prices(facts: &Facts) -> Option<Check> {
    let above = facts.above_regular.as_ref().filter(|_| is_ahead_of_its_end(facts.sale.state))?;
    let mut named = above.first.clone();
    let more = above.skus - i64::try_from(named.len()).unwrap_or(i64::MAX);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    Some(Check {
        id: "regular_prices",
        title: "nothing costs more in the sale than outside of it",
        verdict: if above.skus == 0 { Verdict::Pass } else { Verdict::Warn },
        value: match above.skus {
            0 => "none is above its regular price".to_owned(),
            1 => format!("1 sku is above its regular price: {}", named.join(", ")),
            skus => format!("{skus} skus are above their regular prices: {}", named.join(", ")),
        },
        bound: "the regular price, for each revision of the prices".to_owned(),
        remedy: if above.skus == 0 {
            ""
        } else {
            "lower the sale's price, or correct the regular one: flashsale sale update --price, \
             --regular-price"
        },
    })
}

/// Whether what is on sale is what the file said that there is.
fn source_drift(facts: &Facts) -> Option<Check> {
    let drift = facts.drift.as_ref().filter(|_| is_ahead_of_its_end(facts.sale.state))?;
    let same = drift.more_units == 0 && drift.other_prices == 0;
    let first = drift.first.as_deref().unwrap_or_default();
    Some(Check {
        id: "source_drift",
        title: "what is on sale is what the imported file had",
        verdict: if same { Verdict::Pass } else { Verdict::Warn },
        value: if same {
            "no more units, and the same regular prices".to_owned()
        } else {
            format!(
                "more units than the file had: {}; another regular price: {}; the first is {first}",
                drift.more_units, drift.other_prices
            )
        },
        bound: format!("{} items of the file", drift.items),
        remedy: if same {
            ""
        } else {
            "see that the shop has the units, and withdraw the others with flashsale stock adjust; \
             correct regular prices with flashsale sale update --regular-price"
        },
    })
}

/// Whether a clock agrees with ours.
fn clock(id: &'static str, title: &'static str, ahead: &Known<time::Duration>) -> Check {
    let (verdict, value) = match ahead {
        Err(why) => (Verdict::Unknown, why.clone()),
        Ok(ahead) => {
            let verdict = match ahead.abs() {
                apart if apart > CLOCK_FAIL => Verdict::Fail,
                apart if apart > CLOCK_WARN => Verdict::Warn,
                _ => Verdict::Pass,
            };
            let way = if ahead.is_negative() { "behind" } else { "ahead" };
            (verdict, format!("{:.3} s {way}", ahead.abs().as_seconds_f64()))
        }
    };
    Check {
        id,
        title,
        verdict,
        value,
        bound: format!(
            "{} s, and never {} s",
            CLOCK_WARN.whole_seconds(),
            CLOCK_FAIL.whole_seconds()
        ),
        remedy: match verdict {
            Verdict::Pass => "",
            Verdict::Warn | Verdict::Fail => "have both machines keep time by NTP",
            Verdict::Unknown => "bring inventory back, and look again",
        },
    }
}

#[allow(clippy::cast_precision_loss)]
fn number(units: i64) -> f64 {
    units as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use iso_currency::Currency;
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;
    use crate::domain::{Room, Settings};

    const STARTS: OffsetDateTime = datetime!(2026-11-27 10:00 UTC);
    const LEAD: time::Duration = time::Duration::minutes(10);
    const BOUNDS: Bounds = Bounds {
        lead: Duration::from_secs(600),
        capacity: Capacity { join: 3_000, reserve: 2_000, place_order: 1_000 },
    };

    /// 1,000 units of a sale of one hour, a day before its start.
    fn facts(state: SaleState) -> Facts {
        Facts {
            sale: Sale {
                id: Uuid::from_u128(1),
                settings: Settings {
                    name: "Spring drop".to_owned(),
                    currency: Currency::EUR,
                    starts_at: STARTS,
                    ends_at: STARTS + time::Duration::HOUR,
                    hold: Duration::from_secs(600),
                    payment_patience: None,
                    room: None,
                    expected_peak: None,
                },
                state,
                cancel_requested: false,
                allow_shared_skus: false,
                items: Vec::new(),
                revisions: Vec::new(),
                version: 1,
                propagated_version: 1,
                final_at: None,
                created_at: STARTS,
                updated_at: STARTS,
            },
            now: STARTS - time::Duration::DAY,
            units: 1_000,
            conflicts: Vec::new(),
            conflicting: 0,
            above_regular: None,
            drift: None,
            payments_per_s: Ok(25.0),
            record_ahead: time::Duration::ZERO,
            stock_ahead: None,
        }
    }

    fn admitting(rate: f64) -> Option<Room> {
        Some(Room { rate, admission: Duration::from_secs(300), pre_queue: Duration::ZERO })
    }

    fn found(facts: &Facts, id: &str) -> Option<Verdict> {
        checks(facts, &BOUNDS).into_iter().find(|check| check.id == id).map(|check| check.verdict)
    }

    #[test]
    fn a_good_plan_passes() {
        let mut facts = facts(SaleState::Scheduled);
        facts.sale.settings.room = admitting(10.0);
        facts.sale.settings.expected_peak = Some(3_000);
        facts.stock_ahead = Some(Ok(time::Duration::ZERO));
        let checks = checks(&facts, &BOUNDS);
        let ids: Vec<&str> = checks.iter().map(|check| check.id).collect();
        assert_eq!(
            ids,
            ["prepared", "conflicts", "room", "payments", "peak", "record_clock", "stock_clock"]
        );
        for check in checks {
            assert_eq!((check.verdict, check.remedy), (Verdict::Pass, ""), "{check:?}");
        }
    }

    #[test]
    fn a_price_above_the_regular_one_is_told() {
        let mut facts = facts(SaleState::Scheduled);
        assert_eq!(found(&facts, "regular_prices"), None);
        for (skus, verdict, value) in [
            (0, Verdict::Pass, "none is above its regular price"),
            (1, Verdict::Warn, "1 sku is above its regular price: CAP"),
            (3, Verdict::Warn, "3 skus are above their regular prices: CAP, 2 more"),
        ] {
            let first = if skus == 0 { Vec::new() } else { vec!["CAP".to_owned()] };
            facts.above_regular = Some(AboveRegular { first, skus });
            let check = checks(&facts, &BOUNDS).into_iter().find(|check| check.value == value);
            assert_eq!(check.map(|check| check.verdict), Some(verdict), "{skus}");
        }
    }

    #[test]
    fn drift_from_the_file_is_told() {
        let mut facts = facts(SaleState::Open);
        assert_eq!(found(&facts, "source_drift"), None);
        for (more_units, other_prices, verdict) in
            [(0, 0, Verdict::Pass), (2, 0, Verdict::Warn), (0, 1, Verdict::Warn)]
        {
            let first = (verdict == Verdict::Warn).then(|| "CAP".to_owned());
            facts.drift = Some(Drift { items: 5, more_units, other_prices, first });
            assert_eq!(found(&facts, "source_drift"), Some(verdict));
        }
        let checks = checks(&facts, &BOUNDS);
        let check = checks.iter().find(|check| check.id == "source_drift").unwrap();
        assert!(check.value.ends_with("another regular price: 1; the first is CAP"), "{check:?}");
    }

    #[test]
    fn a_sale_that_is_over_has_clocks_only() {
        for state in [SaleState::Ended, SaleState::Cancelled] {
            let mut facts = facts(state);
            facts.above_regular = Some(AboveRegular { first: Vec::new(), skus: 0 });
            facts.drift = Some(Drift { items: 1, more_units: 1, other_prices: 0, first: None });
            let checks = checks(&facts, &BOUNDS);
            assert_eq!(checks.iter().map(|check| check.id).collect::<Vec<_>>(), ["record_clock"]);
        }
    }

    #[test]
    fn a_sale_is_prepared_in_time() {
        use SaleState::{Draft, Open, Paused, Prepared, Scheduled};
        use Verdict::{Fail, Pass, Warn};
        let early = LEAD + time::Duration::SECOND;
        let late = time::Duration::seconds(-1);
        let over = -time::Duration::HOUR;
        for (state, left, is_told, verdict) in [
            (Draft, early, true, Pass),
            (Draft, LEAD, true, Warn),
            (Draft, late, true, Warn),
            (Draft, over, true, Fail),
            (Scheduled, early, true, Pass),
            (Scheduled, LEAD, true, Warn),
            (Scheduled, time::Duration::ZERO, true, Fail),
            (Prepared, LEAD, true, Pass),
            (Prepared, LEAD, false, Fail),
            (Open, late, true, Pass),
            (Open, late, false, Fail),
            (Paused, late, true, Pass),
            (Paused, late, false, Fail),
        ] {
            let mut facts = facts(state);
            facts.now = STARTS - left;
            facts.sale.propagated_version = i64::from(is_told);
            assert_eq!(found(&facts, "prepared"), Some(verdict), "{state:?} {left} {is_told}");
        }
    }

    #[test]
    fn a_conflict_stops_a_draft() {
        let conflict = |sale_id, skus| Conflict { sale_id, sku: "TEE-M".to_owned(), skus };
        for (state, verdict) in
            [(SaleState::Draft, Verdict::Fail), (SaleState::Scheduled, Verdict::Warn)]
        {
            let mut facts = facts(state);
            facts.conflicts = vec![conflict(Some(Uuid::nil()), 1), conflict(None, 3)];
            facts.conflicting = 4;
            let checks = checks(&facts, &BOUNDS);
            let check = checks.iter().find(|check| check.id == "conflicts").unwrap();
            assert_eq!(check.verdict, verdict);
            assert_eq!(
                check.value,
                "TEE-M in the sale 00000000-0000-0000-0000-000000000000; \
                 TEE-M and 2 more in a sale of another shop; 2 more sales"
            );
        }
    }

    #[test]
    fn a_line_admits_a_buyer_for_each_unit() {
        let mut facts = facts(SaleState::Scheduled);
        assert_eq!(found(&facts, "room"), None);
        for (rate, units, verdict) in [
            (1.0, 3_600, Verdict::Pass),
            (1.0, 3_601, Verdict::Warn),
            (0.1, 360, Verdict::Pass),
            (0.1, 361, Verdict::Warn),
        ] {
            facts.sale.settings.room = admitting(rate);
            facts.units = units;
            assert_eq!(found(&facts, "room"), Some(verdict), "{rate} {units}");
        }
    }

    #[test]
    fn payments_are_taken_within_hold_and_patience() {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        for (units, room, patience, verdict) in [
            (15_000, None, None, Verdict::Pass),
            (15_001, None, None, Verdict::Warn),
            (15_000, None, minutes(20), Verdict::Pass),
            (7_500, None, minutes(5), Verdict::Pass),
            (7_501, None, minutes(5), Verdict::Warn),
            // As fast as they are taken, or slower, they never wait.
            (10_000_000, admitting(25.0), None, Verdict::Pass),
            (10_000_000, admitting(1.0), None, Verdict::Pass),
            // 60,000 come in 1,200 s and take 2,400 s.
            (60_000, admitting(50.0), minutes(20), Verdict::Warn),
            (30_000, admitting(50.0), None, Verdict::Pass),
        ] {
            let mut facts = facts(SaleState::Scheduled);
            facts.units = units;
            facts.sale.settings.room = room;
            facts.sale.settings.payment_patience = patience;
            assert_eq!(found(&facts, "payments"), Some(verdict), "{units} {room:?} {patience:?}");
        }
    }

    #[test]
    fn more_buyers_than_can_be_served_are_told() {
        let orders_first = Capacity { join: 3_000, reserve: 1_000, place_order: 2_000 };
        for (room, capacity, expected, verdict) in [
            (None, BOUNDS.capacity, None, None),
            (None, BOUNDS.capacity, Some(1_000), Some(Verdict::Pass)),
            (None, BOUNDS.capacity, Some(1_001), Some(Verdict::Fail)),
            (None, orders_first, Some(1_000), Some(Verdict::Pass)),
            (None, orders_first, Some(1_001), Some(Verdict::Fail)),
            (admitting(1.0), BOUNDS.capacity, Some(3_000), Some(Verdict::Pass)),
            (admitting(1.0), BOUNDS.capacity, Some(3_001), Some(Verdict::Fail)),
        ] {
            let mut facts = facts(SaleState::Scheduled);
            facts.sale.settings.room = room;
            facts.sale.settings.expected_peak = expected;
            let checks = checks(&facts, &Bounds { capacity, ..BOUNDS });
            let found = checks.iter().find(|check| check.id == "peak");
            assert_eq!(found.map(|check| check.verdict), verdict, "{expected:?} {capacity:?}");
        }
    }

    #[test]
    fn what_is_not_known_does_not_pass() {
        let mut facts = facts(SaleState::Open);
        facts.payments_per_s = Err("payment is away".to_owned());
        facts.stock_ahead = Some(Err("inventory is away".to_owned()));
        for (id, value) in [("payments", "payment is away"), ("stock_clock", "inventory is away")] {
            let checks = checks(&facts, &BOUNDS);
            let check = checks.iter().find(|check| check.id == id).unwrap();
            assert_eq!((check.verdict, check.value.as_str()), (Verdict::Unknown, value));
        }
        assert_eq!(found(&facts, "prepared"), Some(Verdict::Pass));
    }

    #[test]
    fn clocks_that_differ_are_told() {
        for (ms, verdict) in [
            (0, Verdict::Pass),
            (1_000, Verdict::Pass),
            (1_001, Verdict::Warn),
            (5_000, Verdict::Warn),
            (5_001, Verdict::Fail),
        ] {
            for apart in [time::Duration::milliseconds(ms), time::Duration::milliseconds(-ms)] {
                let mut facts = facts(SaleState::Ended);
                facts.record_ahead = apart;
                facts.stock_ahead = Some(Ok(apart));
                assert_eq!(found(&facts, "record_clock"), Some(verdict), "{apart}");
                assert_eq!(found(&facts, "stock_clock"), Some(verdict), "{apart}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_clock_is_never_blamed_for_the_way(
            offset in -10_000_i64..10_000,
            there in 0_i64..10_000,
            back in 0_i64..10_000,
        ) {
            let offset = time::Duration::milliseconds(offset);
            let moment = STARTS + time::Duration::milliseconds(there);
            let seen = ahead(STARTS, moment + offset, moment + time::Duration::milliseconds(back));
            prop_assert!(seen.abs() <= offset.abs());
            prop_assert!(seen.is_zero() || seen.is_negative() == offset.is_negative());
            // What the way cannot explain is seen.
            let way = time::Duration::milliseconds(there.max(back));
            prop_assert!(seen.abs() >= offset.abs() - way);
        }

        #[test]
        fn more_units_are_never_better(
            units in 1_i64..100_000_000,
            more in 0_i64..100_000_000,
            rate in 0.1_f64..100_000.0,
            per_s in 0.1_f64..10_000.0,
            has_room: bool,
        ) {
            let mut few = facts(SaleState::Scheduled);
            few.units = units;
            few.payments_per_s = Ok(per_s);
            few.sale.settings.room = admitting(rate).filter(|_| has_room);
            let many = Facts { units: units + more, ..few.clone() };
            for id in ["room", "payments"] {
                if found(&many, id) == Some(Verdict::Pass) {
                    prop_assert_eq!(found(&few, id), Some(Verdict::Pass), "{}", id);
                }
            }
        }

        #[test]
        fn each_verdict_but_pass_has_a_remedy(
            state in prop::sample::select(SaleState::ALL.to_vec()),
            left in -200_000_i64..200_000,
            version in 1_i64..3,
            units in 1_i64..1_000_000,
            conflicting in 0_i64..3,
            expected in 1_i64..10_000,
            known: bool,
            apart in -10_000_i64..10_000,
        ) {
            let mut facts = facts(state);
            facts.now = STARTS - time::Duration::seconds(left);
            facts.sale.version = version;
            facts.units = units;
            facts.conflicting = conflicting;
            facts.sale.settings.room = admitting(10.0);
            facts.sale.settings.expected_peak = Some(expected);
            if !known {
                facts.payments_per_s = Err("payment is away".to_owned());
            }
            facts.record_ahead = time::Duration::milliseconds(apart);
            for check in checks(&facts, &BOUNDS) {
                let is_pass = check.verdict == Verdict::Pass;
                prop_assert_eq!(check.remedy.is_empty(), is_pass, "{:?}", check);
                prop_assert!(!check.value.is_empty() && !check.bound.is_empty(), "{:?}", check);
            }
        }
    }
}
