//! Revisions of a sale's prices, and how they come to stand beside its stock.

use std::collections::HashMap;

/// A revision of a sale's prices after the first, as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub revision: i64,
    /// From when on it was asked for, in milliseconds since 1970.
    pub effective_ms: i64,
    /// From when on units are taken at it, as far as the record knows.
    pub switches_ms: Option<i64>,
    /// A later one is to take its place, if it has not taken effect.
    pub replaced: bool,
}

/// What a revision says of a sku.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    pub sku: String,
    /// The revision that says it.
    pub revision: i64,
    /// The price of one unit, in minor units.
    pub price_minor: i64,
    /// The price of one unit outside the sale, in minor units.
    pub regular_minor: Option<i64>,
    /// The most units of one buyer; 0 means any number.
    pub per_buyer_limit: i64,
}

/// Prices by sku and revision, in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Priced(HashMap<(String, i64), i64>);

impl Priced {
    /// What one unit of the sku costs in the revision; `None` if it has no price in it.
    pub fn of(&self, sku: &str, revision: i64) -> Option<i64> {
        self.0.get(&(sku.to_owned(), revision)).copied()
    }
}

impl FromIterator<((String, i64), i64)> for Priced {
    fn from_iter<T: IntoIterator<Item = ((String, i64), i64)>>(prices: T) -> Self {
        Self(prices.into_iter().collect())
    }
}

/// The revisions that stand beside a stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingPrices {
    /// The present one; 1 is the first.
    pub revision: i64,
    /// From when on units were taken at it; `None` for the first.
    pub since_ms: Option<i64>,
    /// The one that comes next.
    pub next: Option<StandingNext>,
    /// The store's clock, in milliseconds since 1970.
    pub now_ms: i64,
}

/// A revision that is armed: it takes effect by the store's clock alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandingNext {
    pub revision: i64,
    /// From when on units are taken at it, in milliseconds of the store's clock.
    pub at_ms: i64,
    /// That time has come.
    pub switched: bool,
}

/// When a revision takes effect, by the store's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    pub revision: i64,
    /// In milliseconds since 1970.
    pub at_ms: i64,
}

/// What has to be done for the prices beside a stock to follow the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PriceStep {
    /// Put these there, to take effect together under the number of the last, from this time on.
    Stage { revisions: Vec<i64>, effective_ms: i64 },
    /// Take this one back, unless it has taken effect.
    Withdraw { revision: i64 },
    /// Make this one, which has taken effect, the present one: another waits for its place.
    Promote { revision: i64 },
    /// Nothing, for now.
    Done,
}

impl StandingPrices {
    /// What has to be done next, for the `recorded` revisions in the order of their numbers.
    ///
    /// Those whose time is past take effect together: one after the other, what a later one takes
    /// back would be seen.
    pub fn next_step(&self, recorded: &[Revision]) -> PriceStep {
        let wanted = |after: i64| {
            let wanted = move |known: &&Revision| !known.replaced && known.revision > after;
            recorded.iter().filter(wanted)
        };
        match self.next {
            Some(StandingNext { revision, switched: true, .. }) => match wanted(revision).next() {
                Some(_) => PriceStep::Promote { revision },
                None => PriceStep::Done,
            },
            Some(StandingNext { revision, switched: false, .. }) => {
                let replaced = |known: &Revision| known.revision == revision && known.replaced;
                if recorded.iter().any(replaced) {
                    PriceStep::Withdraw { revision }
                } else {
                    PriceStep::Done
                }
            }
            None => {
                let past = wanted(self.revision).take_while(|due| due.effective_ms <= self.now_ms);
                let past: Vec<&Revision> = past.collect();
                let staged =
                    if past.is_empty() { wanted(self.revision).take(1).collect() } else { past };
                match staged.last() {
                    Some(last) => PriceStep::Stage {
                        revisions: staged.iter().map(|revision| revision.revision).collect(),
                        effective_ms: last.effective_ms,
                    },
                    None => PriceStep::Done,
                }
            }
        }
    }

    /// When the present revision took effect, unless it is the first, and when the next one does.
    pub fn switches(&self) -> Vec<Switch> {
        let present = self.since_ms.map(|at_ms| Switch { revision: self.revision, at_ms });
        let next = self.next.map(|next| Switch { revision: next.revision, at_ms: next.at_ms });
        present.into_iter().chain(next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(revisions: &[(i64, bool)]) -> Vec<Revision> {
        revisions
            .iter()
            .map(|(revision, replaced)| Revision {
                revision: *revision,
                effective_ms: revision * 1_000,
                switches_ms: None,
                replaced: *replaced,
            })
            .collect()
    }

    fn standing(revision: i64, next: Option<(i64, bool)>) -> StandingPrices {
        let next = next.map(|(revision, switched)| StandingNext { revision, at_ms: 5, switched });
        StandingPrices { revision, since_ms: (revision > 1).then_some(3), next, now_ms: 0 }
    }

    #[test]
    fn one_revision_at_a_time_comes_beside_the_stock() {
        let stage = |revision| PriceStep::Stage {
            revisions: vec![revision],
            effective_ms: revision * 1_000,
        };
        for (present, next, record, step) in [
            (1, None, &[][..], PriceStep::Done),
            (1, None, &[(2, false), (3, false)], stage(2)),
            // The third waits for the second.
            (1, Some((2, false)), &[(2, false), (3, false)], PriceStep::Done),
            (1, Some((2, true)), &[(2, false), (3, false)], PriceStep::Promote { revision: 2 }),
            // Nothing wants its place.
            (1, Some((2, true)), &[(2, false)], PriceStep::Done),
            (2, None, &[(2, false), (3, false)], stage(3)),
            (2, None, &[(2, false), (3, true), (4, false)], stage(4)),
            (1, Some((2, false)), &[(2, true), (3, false)], PriceStep::Withdraw { revision: 2 }),
            // What has taken effect is not taken back.
            (1, Some((2, true)), &[(2, true), (3, false)], PriceStep::Promote { revision: 2 }),
            (3, None, &[(2, false), (3, true)], PriceStep::Done),
        ] {
            let standing = standing(present, next);
            assert_eq!(standing.next_step(&recorded(record)), step, "{standing:?} {record:?}");
        }
    }

    #[test]
    fn what_is_late_takes_effect_together() {
        let record = recorded(&[(2, false), (3, true), (4, false), (5, false)]);
        for (now_ms, due, effective_ms) in
            [(1_999, vec![2], 2_000), (2_000, vec![2], 2_000), (4_000, vec![2, 4], 4_000)]
        {
            let standing = StandingPrices { now_ms, ..standing(1, None) };
            let stage = PriceStep::Stage { revisions: due, effective_ms };
            assert_eq!(standing.next_step(&record), stage, "{now_ms}");
        }
    }

    #[test]
    fn switches_are_those_that_stand_there() {
        let switch = |revision, at_ms| Switch { revision, at_ms };
        assert_eq!(standing(1, None).switches(), []);
        assert_eq!(standing(1, Some((2, false))).switches(), [switch(2, 5)]);
        assert_eq!(standing(2, Some((3, true))).switches(), [switch(2, 3), switch(3, 5)]);
    }
}
