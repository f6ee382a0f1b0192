//! The `[….breaker]` section of a service's configuration.

use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// Calls older than this no longer count.
    pub window_ms: u64,
    /// Below this many calls within the window the breaker stays closed.
    pub min_calls: usize,
    /// The share of failed calls that opens it, above 0 and at most 1.
    pub failure_rate: f64,
    /// How long it stays open before it lets one trial call through.
    pub open_ms: u64,
}

impl BreakerConfig {
    /// The settings that are out of range, as (key within the section, problem).
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let whole = [
            ("window_ms", self.window_ms),
            ("min_calls", u64::try_from(self.min_calls).unwrap_or(u64::MAX)),
            ("open_ms", self.open_ms),
        ];
        for (key, value) in whole {
            if value == 0 {
                problems.push((key, "must be above 0".to_owned()));
            }
        }
        if !(self.failure_rate > 0.0 && self.failure_rate <= 1.0) {
            let problem = format!("is {}, must be above 0 and at most 1", self.failure_rate);
            problems.push(("failure_rate", problem));
        }
        problems
    }
}
