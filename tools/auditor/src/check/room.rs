//! I6: admission follows the order of the room within its bound.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
};

use sha1::{Digest as _, Sha1};
use uuid::Uuid;

use super::CLOCK_TOLERANCE_MS;
use crate::{
    findings::{Findings, Invariant::I6},
    read::{Facts, logs::Seen, record::RoomRow, stock::Room},
};

/// Generations of each era that are tried for an admission whose buyer has a newer one by now.
const GENERATIONS: i64 = 8;
/// How many generations an era of the room has.
const PER_ERA: i64 = 65_536;
/// The most admission ids that are computed in a search.
const SEARCH: i64 = 20_000_000;

pub(super) fn check(facts: &Facts, findings: &mut Findings) {
    let needed = facts.record.room_rate.is_some();
    findings.expect(I6, needed == facts.stock.room_needed, || {
        "the sale and its stock disagree on whether there is a room".to_owned()
    });
    if !needed {
        for (admission, hold) in &facts.stock.spent {
            findings.broken(
                I6,
                format!("hold {hold}: spent admission {admission}, but there is no room"),
            );
        }
        return;
    }
    let (Some(room), Some(row)) = (&facts.stock.room, &facts.record.room) else {
        findings.broken(I6, "the sale has a room, but it is not in Redis and Postgres");
        return;
    };
    numbers(room, row, findings);
    pace(facts, room, row, findings);
    spent(facts, room, findings);
    seen(facts, room, findings);
}

fn numbers(room: &Room, row: &RoomRow, findings: &mut Findings) {
    for (low, low_is, high, high_is) in [
        (room.head, "the head", room.next, "the numbers handed out"),
        (room.next, "the numbers handed out", room.upto, "the numbers granted"),
        (room.upto, "the numbers granted", row.reserved_upto, "the numbers reserved in Postgres"),
        (room.head, "the head", row.head, "the head in Postgres"),
    ] {
        findings
            .expect(I6, low <= high, || format!("{low_is} ({low}) went beyond {high_is} ({high})"));
    }
    let mut holders: BTreeMap<i64, usize> = BTreeMap::new();
    for (number, _) in room.buyers.values() {
        *holders.entry(*number).or_default() += 1;
    }
    for (number, times) in holders {
        findings.expect(I6, times == 1, || format!("number {number}: {times} buyers have it"));
        findings.expect(I6, number <= room.next, || {
            format!("number {number}: a buyer has it, only {} were handed out", room.next)
        });
    }
}

/// The head moves forward, and no faster than the rate and one burst allow.
fn pace(facts: &Facts, room: &Room, row: &RoomRow, findings: &mut Findings) {
    let rate = facts.record.room_rate.unwrap_or_default().max(row.rate).max(room.rate);
    let allowed = |elapsed_ms: i64| rate * as_f64(elapsed_ms.max(0)) / 1_000.0 + rate + 1.0;
    // When a tick that was lost with Redis was, is not known.
    let timed: Vec<(i64, i64)> = room.ticks.iter().copied().filter(|(_, ms)| *ms > 0).collect();
    for pair in timed.windows(2) {
        let ((head, ms), (next, next_ms)) = (pair[0], pair[1]);
        findings.expect(I6, ms <= next_ms, || {
            format!("number {next} was passed {} ms before number {head}", ms - next_ms)
        });
    }
    // The bound holds between any two ticks. It is tested against the earlier tick that leaves the
    // least to admit.
    let least = |(head, ms): (i64, i64)| as_f64(head) - rate * as_f64(ms) / 1_000.0;
    let mut from: Option<(i64, i64)> = None;
    for &(head, ms) in &timed {
        if let Some((before, before_ms)) = from {
            let (admitted, elapsed_ms) = (head - before, ms - before_ms);
            findings.expect(I6, as_f64(admitted) <= allowed(elapsed_ms), || {
                format!("{admitted} were admitted within {elapsed_ms} ms, up to number {head}, at {rate}/s")
            });
        }
        let skew_ms = facts.record.ahead_ms - facts.stock.ahead_ms;
        let open_ms = ms - (row.created_ms - skew_ms) + CLOCK_TOLERANCE_MS;
        findings.expect(I6, as_f64(head) <= allowed(open_ms), || {
            format!("{head} were admitted within {open_ms} ms of the room's making, at {rate}/s")
        });
        if from.is_none_or(|from| least((head, ms)) < least(from)) {
            from = Some((head, ms));
        }
    }
    let last = room.ticks.last().map_or(0, |(head, _)| *head);
    findings.expect(I6, last == room.head, || {
        format!("the head is {}, its last tick {last}", room.head)
    });
}

/// When the head passed a number; `None` if that is no longer known. A room that was lost, or
/// became very old, restarts its ticks, with a first one that passes more numbers than a step ever
/// can.
fn passed_ms(facts: &Facts, room: &Room, number: i64) -> Option<i64> {
    let at = room.ticks.partition_point(|(head, _)| *head < number);
    let (head, ms) = *room.ticks.get(at)?;
    let rate = facts.record.room_rate.unwrap_or_default().max(room.rate);
    (ms > 0 && (at > 0 || as_f64(head) <= rate + 1.0)).then_some(ms)
}

/// Each admission was spent once, by the hold of the buyer it was for, and not before its turn.
fn spent(facts: &Facts, room: &Room, findings: &mut Findings) {
    let stock = &facts.stock;
    let mut used: BTreeMap<&str, BTreeSet<Uuid>> = BTreeMap::new();
    for (id, hold) in &stock.holds {
        match &hold.admission {
            Some(_) if facts.is_given_back(id, hold) => {}
            Some(admission) => {
                used.entry(admission).or_default().insert(*id);
            }
            None => findings.broken(I6, format!("hold {id}: taken without an admission")),
        }
    }
    for (admission, holds) in &used {
        for hold in holds {
            let spent = stock.spent.get(*admission);
            findings.expect(I6, spent == Some(&hold.to_string()), || {
                format!("hold {hold}: its admission {admission} is not spent by it")
            });
        }
    }
    let mut ordered: BTreeMap<&str, Uuid> = BTreeMap::new();
    for (id, order) in &facts.record.orders {
        let Some(admission) = &order.admission else {
            findings.broken(I6, format!("order {id}: placed without an admission"));
            continue;
        };
        if let Some(other) = ordered.insert(admission, *id) {
            findings.broken(I6, format!("orders {other} and {id}: placed with one admission"));
        }
        let hold = stock.holds.get(&order.hold);
        findings.expect(
            I6,
            hold.is_none_or(|hold| hold.admission.as_ref() == Some(admission)),
            || format!("order {id}: its admission is not that of its hold {}", order.hold),
        );
    }

    let ids: BTreeSet<&str> = stock
        .spent
        .keys()
        .map(String::as_str)
        .chain(used.keys().copied())
        // Until the sale rests, the record may know of admissions that came after Redis was read.
        .chain(ordered.keys().copied().filter(|_| facts.at_rest))
        .collect();
    let holders: BTreeMap<i64, &str> =
        room.buyers.iter().map(|(buyer, (number, _))| (*number, buyer.as_str())).collect();
    let numbers = resolve(facts.sale, room, ids.iter().copied(), findings);
    for admission in ids {
        let Some(&number) = numbers.get(admission) else {
            findings.broken(I6, format!("admission {admission}: of no number that was handed out"));
            continue;
        };
        findings.expect(I6, number <= room.head, || {
            format!("number {number}: its admission was spent, the head is {}", room.head)
        });
        let hold = stock.spent.get(admission).and_then(|id| id.parse().ok());
        let Some((id, hold)) = hold.and_then(|id: Uuid| Some((id, stock.holds.get(&id)?))) else {
            continue;
        };
        findings.expect(I6, holders.get(&number).is_none_or(|buyer| *buyer == hold.buyer), || {
            format!(
                "hold {id}: its buyer spent the admission of number {number}, which is not theirs"
            )
        });
        if let Some(passed_ms) = passed_ms(facts, room, number) {
            // A retaken hold spent its admission when it was placed.
            let spent_ms = hold.placed_ms.map_or(hold.taken_ms, |placed| placed.min(hold.taken_ms));
            let early_ms = passed_ms - spent_ms;
            findings.expect(I6, early_ms <= CLOCK_TOLERANCE_MS, || {
                format!("hold {id}: taken {early_ms} ms before number {number} was passed")
            });
        }
    }
}

/// The numbers behind admission ids: first those of places in the room, then by trying every number
/// and generation.
fn resolve<'a>(
    sale: Uuid,
    room: &Room,
    ids: impl Iterator<Item = &'a str>,
    findings: &mut Findings,
) -> HashMap<String, i64> {
    let mut open: BTreeSet<&str> = ids.collect();
    let mut numbers = HashMap::new();
    for (number, generation) in room.buyers.values() {
        let id = admission_id(sale, *number, *generation);
        if open.remove(id.as_str()) {
            numbers.insert(id, *number);
        }
    }
    let newest = |of: fn(i64) -> i64| {
        room.buyers.values().map(|(_, generation)| of(*generation)).max().unwrap_or(0)
    };
    let eras = newest(|generation| generation / PER_ERA).max(room.era);
    let of_each = newest(|generation| generation % PER_ERA).max(GENERATIONS);
    let searched = room.next.saturating_mul(of_each + 1).saturating_mul(eras + 1);
    if !open.is_empty() && searched > SEARCH {
        findings
            .not_checked
            .push(format!("{} old admissions: the room is too large to search", open.len()));
        // Beyond the bound of the search: number 0 counts as passed from the start.
        numbers.extend(open.into_iter().map(|id| (id.to_owned(), 0)));
        return numbers;
    }
    'search: for number in 1..=room.next {
        for era in 0..=eras {
            for generation in 0..=of_each {
                if open.is_empty() {
                    break 'search;
                }
                let id = admission_id(sale, number, era * PER_ERA + generation);
                if open.remove(id.as_str()) {
                    numbers.insert(id, number);
                }
            }
        }
    }
    numbers
}

fn admission_id(sale: Uuid, number: i64, generation: i64) -> String {
    let digest = Sha1::digest(format!("{sale}:{number}:{generation}"));
    digest.iter().fold(String::with_capacity(40), |mut id, byte| {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// The places and admissions that buyers saw, against the room.
fn seen(facts: &Facts, room: &Room, findings: &mut Findings) {
    let mut joined: BTreeMap<i64, &str> = BTreeMap::new();
    for seen in facts.history.iter().flatten() {
        match seen {
            Seen::Joined { buyer, number } => {
                let other = joined.insert(*number, buyer).is_some_and(|other| other != buyer);
                findings.expect(I6, !other, || format!("number {number}: given to two buyers"));
                findings.expect(I6, *number <= room.next, || {
                    format!("number {number}: given to a buyer, only {} were handed out", room.next)
                });
            }
            Seen::Admitted { ts_ms, buyer, number } => {
                findings.expect(
                    I6,
                    joined.get(number).is_none_or(|holder| holder == buyer),
                    || format!("number {number}: admitted for another buyer than it was given to"),
                );
                findings.expect(I6, *number <= room.head, || {
                    format!("number {number}: told to be admitted, the head is {}", room.head)
                });
                if let Some(passed_ms) = passed_ms(facts, room, *number) {
                    // Both by this machine's clock: the buyers were simulated on it.
                    let early_ms = passed_ms - facts.stock.ahead_ms - ts_ms;
                    findings.expect(I6, early_ms <= CLOCK_TOLERANCE_MS, || {
                        format!("number {number}: told {early_ms} ms before it was passed")
                    });
                }
            }
            Seen::Placed { .. } | Seen::Ended { .. } | Seen::Other => {}
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn as_f64(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn audited_admission_id_matches_redis() {
        // redis-cli EVAL "return redis.sha1hex('0195c1d2-0000-7000-8000-000000000001:42:3')" 0
        let sale = "0195c1d2-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(admission_id(sale, 42, 3), "6424bc56a63133fb1b1b1781e6df277411e1e136");
    }
}
