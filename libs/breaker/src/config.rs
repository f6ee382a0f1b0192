//! The `[….breaker]` section of a service's configuration.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// Calls older than this no longer count, to the second.
    pub window_ms: u64,
    /// Below this many calls within the window neither rate opens it.
    pub min_calls: u32,
    /// The share of failed calls that opens it, above 0 and at most 1.
    pub failure_rate: f64,
    /// A call that takes this long is slow, whatever its answer.
    pub slow_ms: u64,
    /// The share of slow calls that opens it, above 0 and at most 1.
    pub slow_rate: f64,
    /// This many calls without any answer in time, with none answered in between, open it.
    pub timeouts_in_a_row: u32,
    /// How long it stays open before it lets probes through, spread by a fifth.
    pub open_ms: u64,
    /// So many calls are let through then, and all have to succeed.
    pub probes: u32,
}

impl BreakerConfig {
    /// The settings that are out of range, as (key within the section, problem).
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let whole = [
            ("window_ms", self.window_ms),
            ("min_calls", self.min_calls.into()),
            ("slow_ms", self.slow_ms),
            ("timeouts_in_a_row", self.timeouts_in_a_row.into()),
            ("open_ms", self.open_ms),
            ("probes", self.probes.into()),
        ];
        for (key, value) in whole {
            if value == 0 {
                problems.push((key, "must be above 0".to_owned()));
            }
        }
        if self.window_ms > MAX_WINDOW_MS {
            problems.push((
                "window_ms",
                format!("is {}, must be at most {MAX_WINDOW_MS}", self.window_ms),
            ));
        }
        for (key, rate) in [("failure_rate", self.failure_rate), ("slow_rate", self.slow_rate)] {
            if !(rate > 0.0 && rate <= 1.0) {
                problems.push((key, format!("is {rate}, must be above 0 and at most 1")));
            }
        }
        problems
    }
}

/// A window of an hour: as many buckets as it has seconds.
const MAX_WINDOW_MS: u64 = 60 * 60 * 1_000;
