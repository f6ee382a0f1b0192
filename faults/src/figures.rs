//! What a fault came to.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// How long a sale may be closed.
pub(crate) const REOPEN_LIMIT: Duration = Duration::from_secs(10);
/// Violations that are named; the rest is counted.
const NAMED: usize = 20;

/// The figures of one fault, all of them from the stores.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// How often it was to be done.
    pub(crate) asked: u64,
    /// How often it was.
    pub(crate) runs: u64,
    /// Units sold beyond what was allotted.
    pub(crate) oversold: i64,
    /// Units that came back to nobody.
    pub(crate) leaked_units: i64,
    /// Requests that were carried out more than once.
    pub(crate) double_executions: i64,
    /// Orders that have units of an epoch that is over, and of the current one none.
    pub(crate) old_epoch_served: i64,
    /// The longest time that a sale was closed.
    pub(crate) reopen: Duration,
    /// Promises that were broken, in words.
    pub(crate) broken: Vec<String>,
    /// What only this fault has.
    pub(crate) more: Map<String, Value>,
}

impl Figures {
    /// Counts units or runs under a name of this fault's own.
    pub(crate) fn count(&mut self, name: &str, more: u64) {
        let before = self.more.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.more.insert(name.to_owned(), json!(before + more));
    }

    /// Takes note of how long a sale was closed.
    pub(crate) fn reopened(&mut self, after: Duration) {
        self.reopen = self.reopen.max(after);
    }

    /// Takes note of a violation unless `holds`.
    pub(crate) fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }

    /// What must not be, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = [
            ("units oversold", self.oversold),
            ("units leaked", self.leaked_units),
            ("requests carried out twice", self.double_executions),
            ("orders served by an old epoch", self.old_epoch_served),
        ]
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
        if self.runs < self.asked {
            faults.push(format!("{} of {} runs done", self.runs, self.asked));
        }
        if self.reopen > REOPEN_LIMIT {
            faults.push(format!("closed for {:.1} s", self.reopen.as_secs_f64()));
        }
        faults.extend(self.broken.iter().take(NAMED).cloned());
        if self.broken.len() > NAMED {
            faults.push(format!("and {} more", self.broken.len() - NAMED));
        }
        faults
    }

    /// As in the report.
    pub(crate) fn json(&self) -> Value {
        let mut value = json!({
            "asked": self.asked,
            "runs": self.runs,
            "oversold": self.oversold,
            "leaked_units": self.leaked_units,
            "double_executions": self.double_executions,
            "old_epoch_served": self.old_epoch_served,
            "reopen_seconds_max": (self.reopen.as_secs_f64() * 1_000.0).round() / 1_000.0,
            "broken": self.broken,
        });
        if let Some(fields) = value.as_object_mut() {
            fields.extend(self.more.clone());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_must_be_zero_and_is_not_is_a_fault() {
        let good = || Figures { asked: 2, runs: 2, reopen: REOPEN_LIMIT, ..Figures::default() };
        assert!(good().faults().is_empty());
        for bad in [
            Figures { oversold: 1, ..good() },
            Figures { leaked_units: 1, ..good() },
            Figures { double_executions: 1, ..good() },
            Figures { old_epoch_served: 1, ..good() },
            Figures { runs: 1, ..good() },
            Figures { reopen: REOPEN_LIMIT + Duration::from_millis(1), ..good() },
            Figures { broken: vec!["I1: something".to_owned()], ..good() },
        ] {
            assert_eq!(bad.faults().len(), 1, "{bad:?}");
        }
    }
}
