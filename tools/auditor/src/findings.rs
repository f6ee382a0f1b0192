//! The violations found, by invariant.

use std::collections::BTreeMap;

/// Violations that are listed per invariant; the rest is counted.
const NAMED: usize = 20;

/// A promise of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// sold + placed + held ≤ allotted.
    I1,
    /// Every accepted order reaches exactly one end.
    I2,
    /// At most one capture per order; the sums agree.
    I3,
    /// No money without units.
    I4,
    /// available + held + placed + sold = allotted.
    I5,
    /// Admission follows the order of the room.
    I6,
    /// One effect per request id.
    I7,
    /// Every order's price is the sale's own. I8, that failures are typed, is for tests to keep.
    I9,
}

impl Invariant {
    pub const ALL: [Self; 8] =
        [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5, Self::I6, Self::I7, Self::I9];

    pub const fn name(self) -> &'static str {
        match self {
            Self::I1 => "I1",
            Self::I2 => "I2",
            Self::I3 => "I3",
            Self::I4 => "I4",
            Self::I5 => "I5",
            Self::I6 => "I6",
            Self::I7 => "I7",
            Self::I9 => "I9",
        }
    }

    /// The promise in words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::I1 => "nothing was oversold",
            Self::I2 => "no order was lost, each reached one end",
            Self::I3 => "nobody was charged twice, the sums agree",
            Self::I4 => "no money was kept without units",
            Self::I5 => "no unit has leaked",
            Self::I6 => "admission followed the order of the room",
            Self::I7 => "each request had one effect",
            Self::I9 => "each order cost what its sale asked",
        }
    }
}

/// The violations found so far, and what could not be checked.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    broken: BTreeMap<Invariant, (Vec<String>, usize)>,
    /// Checks that could not be made, each with its reason.
    pub(crate) not_checked: Vec<String>,
    /// Units beyond the allotment, by the worst way of counting, summed over skus.
    pub(crate) oversold: i64,
}

impl Findings {
    pub(crate) fn broken(&mut self, invariant: Invariant, what: impl Into<String>) {
        let (named, total) = self.broken.entry(invariant).or_default();
        *total += 1;
        if named.len() < NAMED {
            named.push(what.into());
        }
    }

    /// Records a violation unless `holds`.
    pub(crate) fn expect(
        &mut self,
        invariant: Invariant,
        holds: bool,
        what: impl FnOnce() -> String,
    ) {
        if !holds {
            self.broken(invariant, what());
        }
    }

    /// The violations of one invariant; the last line counts those not listed.
    pub(crate) fn of(&self, invariant: Invariant) -> Vec<String> {
        let Some((named, total)) = self.broken.get(&invariant) else { return Vec::new() };
        let mut lines = named.clone();
        if *total > named.len() {
            lines.push(format!("and {} more", total - named.len()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn violations_are_listed_up_to_twenty() {
        let mut findings = Findings::default();
        for number in 0..25 {
            findings.broken(Invariant::I2, format!("order {number}"));
        }
        let lines = findings.of(Invariant::I2);
        assert_eq!((lines.len(), lines[20].as_str()), (21, "and 5 more"));
        assert!(findings.of(Invariant::I1).is_empty());
    }
}
