//! What a fault came to.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

/// How long a sale may be closed.
pub(crate) const REOPEN_LIMIT: Duration = Duration::from_secs(10);
/// Violations that are named; the rest is counted.
const NAMED: usize = 20;

/// What a suite counts and must come to nothing: its name in the report, and in words.
pub(crate) type Zeros = &'static [(&'static str, &'static str)];

/// The figures of one fault, all of them from the stores.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// How often it was to be done.
    pub(crate) asked: u64,
    /// How often it was.
    pub(crate) runs: u64,
    /// What must come to nothing, by name.
    zeros: BTreeMap<&'static str, i64>,
    words: Zeros,
    /// The longest time that a sale was closed, where the suite asks for that.
    reopen: Option<Duration>,
    /// Durations of which the report gives the spread, by name.
    spreads: BTreeMap<String, Vec<Duration>>,
    /// Promises that were broken, in words.
    pub(crate) broken: Vec<String>,
    /// What only this fault has.
    pub(crate) more: Map<String, Value>,
}

impl Figures {
    /// Figures to begin with.
    pub(crate) fn new(asked: u64, zeros: Zeros) -> Self {
        let counts = zeros.iter().map(|(name, _)| (*name, 0)).collect();
        Self { asked, zeros: counts, words: zeros, ..Self::default() }
    }

    /// Counts what must come to nothing.
    pub(crate) fn wrong(&mut self, name: &'static str, more: i64) {
        *self.zeros.entry(name).or_default() += more;
    }

    /// Counts units or runs under a name of this fault's own.
    pub(crate) fn count(&mut self, name: &str, more: u64) {
        let before = self.more.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.more.insert(name.to_owned(), json!(before + more));
    }

    /// Keeps the longest of some durations under a name of this fault's own, in seconds.
    pub(crate) fn longest(&mut self, name: &str, lasted: Duration) {
        let before = self.more.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        self.more.insert(name.to_owned(), json!(before.max(seconds(lasted))));
    }

    /// Keeps the highest of some numbers under a name of this fault's own.
    pub(crate) fn most(&mut self, name: &str, number: u64) {
        let before = self.more.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.more.insert(name.to_owned(), json!(before.max(number)));
    }

    /// Adds to durations of which the report gives `<name>_count`, `_p50`, `_p99` and `_max`, in
    /// seconds.
    pub(crate) fn lasted(&mut self, name: &str, lasted: impl IntoIterator<Item = Duration>) {
        self.spreads.entry(name.to_owned()).or_default().extend(lasted);
    }

    /// Takes note of how long a sale was closed.
    pub(crate) fn reopened(&mut self, after: Duration) {
        self.reopen = Some(self.reopen.unwrap_or_default().max(after));
    }

    /// Takes note of a violation unless `holds`.
    pub(crate) fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }

    /// What must not be, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        // What another suite counts is named as there.
        let in_words = |name: &'static str| {
            self.words.iter().find(|(zero, _)| *zero == name).map_or(name, |(_, words)| *words)
        };
        let mut faults: Vec<String> = self
            .zeros
            .iter()
            .filter(|(_, count)| **count != 0)
            .map(|(name, count)| format!("{count} {}", in_words(name)))
            .collect();
        if self.runs < self.asked {
            faults.push(format!("{} of {} runs done", self.runs, self.asked));
        }
        if let Some(closed) = self.reopen.filter(|closed| *closed > REOPEN_LIMIT) {
            faults.push(format!("closed for {:.1} s", closed.as_secs_f64()));
        }
        faults.extend(self.broken.iter().take(NAMED).cloned());
        if self.broken.len() > NAMED {
            faults.push(format!("and {} more", self.broken.len() - NAMED));
        }
        faults
    }

    /// What there is to say in a line.
    pub(crate) fn summary(&self) -> String {
        let closed = self.reopen.map_or_else(String::new, |closed| {
            format!(", closed for {:.1} s at most", closed.as_secs_f64())
        });
        format!("{} of {}{closed}", self.runs, self.asked)
    }

    /// As in the report.
    pub(crate) fn json(&self) -> Value {
        let mut value = json!({ "asked": self.asked, "runs": self.runs, "broken": self.broken });
        if let Some(fields) = value.as_object_mut() {
            fields
                .extend(self.zeros.iter().map(|(name, count)| ((*name).to_owned(), json!(count))));
            if let Some(reopen) = self.reopen {
                fields.insert("reopen_seconds_max".to_owned(), json!(seconds(reopen)));
            }
            for (name, lasted) in &self.spreads {
                let mut lasted = lasted.clone();
                lasted.sort_unstable();
                fields.insert(format!("{name}_count"), json!(lasted.len()));
                for (share, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
                    let at = (lasted.len() * percent).div_ceil(100).saturating_sub(1);
                    if let Some(lasted) = lasted.get(at) {
                        fields.insert(format!("{name}_{share}"), json!(seconds(*lasted)));
                    }
                }
            }
            fields.extend(self.more.clone());
        }
        value
    }
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: Zeros = &[("oversold", "units oversold"), ("lost", "orders lost")];

    fn good() -> Figures {
        let mut good = Figures::new(2, ZEROS);
        good.runs = 2;
        good.reopened(REOPEN_LIMIT);
        good
    }

    #[test]
    fn whatever_must_be_zero_and_is_not_is_a_fault() {
        assert!(good().faults().is_empty());
        type Spoil = fn(&mut Figures);
        let spoils: [(Spoil, &str); 5] = [
            (|figures| figures.wrong("oversold", 1), "1 units oversold"),
            (|figures| figures.wrong("lost", 2), "2 orders lost"),
            (|figures| figures.runs = 1, "1 of 2 runs done"),
            (|figures| figures.reopened(REOPEN_LIMIT * 2), "closed for 20.0 s"),
            (|figures| figures.broken.push("I1: something".to_owned()), "I1: something"),
        ];
        for (spoil, said) in spoils {
            let mut bad = good();
            spoil(&mut bad);
            assert_eq!(bad.faults(), [said]);
        }
    }

    #[test]
    fn a_spread_is_given_by_its_ranks() {
        let mut figures = good();
        figures.lasted("opened_seconds", (1..=200).rev().map(Duration::from_secs));
        let json = figures.json();
        assert_eq!(json["opened_seconds_count"], 200);
        assert_eq!(json["opened_seconds_p50"], 100.0);
        assert_eq!(json["opened_seconds_p99"], 198.0);
        assert_eq!(json["opened_seconds_max"], 200.0);
        figures.lasted("none_seconds", []);
        assert!(figures.json().get("none_seconds_p50").is_none());
    }

    #[test]
    fn the_report_names_every_zero_of_the_suite() {
        let json = good().json();
        assert_eq!(json["oversold"], 0);
        assert_eq!(json["lost"], 0);
        assert_eq!(json["reopen_seconds_max"], 10.0);
        assert!(Figures::new(1, ZEROS).json().get("reopen_seconds_max").is_none());
    }
}
