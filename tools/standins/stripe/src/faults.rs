//! Faults that can be activated while the stand-in runs: those of a network and of a busy provider
//! (docs.stripe.com/error-low-level#network-errors and #server-errors).
//!
//! `…_before`: the request never reaches the API, nothing happens. `…_after`: it is executed and
//! its answer saved under the key, and then the answer is lost.

use std::collections::BTreeMap;

use rand::Rng as _;
use serde::{Deserialize, Serialize};

/// The maximum number of active rules.
const MAX_RULES: usize = 100;

/// The longest extra latency, in milliseconds.
const MAX_LATENCY_MS: u64 = 600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Never answers; nothing happened.
    HangBefore,
    /// Never answers; it happened.
    HangAfter,
    /// The connection is reset; nothing happened.
    ResetBefore,
    /// The connection is reset; it happened.
    ResetAfter,
    /// A proxy's HTML 502; nothing happened.
    #[serde(rename = "html_502_before")]
    Html502Before,
    /// A proxy's HTML 502; it happened.
    #[serde(rename = "html_502_after")]
    Html502After,
    /// An `api_error`, saved under the key; nothing happened.
    #[serde(rename = "error_500")]
    Error500,
    /// An `api_error`, saved under the key; it happened all the same: the outcome of a
    /// 500 is indeterminate.
    #[serde(rename = "error_500_after")]
    Error500After,
    /// 409 `idempotency_key_in_use`, as if another request with the key were under way; nothing
    /// happened.
    #[serde(rename = "conflict_409")]
    Conflict409,
    /// 429 `lock_timeout`, as if another request held the object; nothing happened.
    #[serde(rename = "lock_timeout_429")]
    LockTimeout429,
    /// 429 `rate_limit`; nothing happened.
    #[serde(rename = "rate_limit_429")]
    RateLimit429,
    /// 401, as for a key that was revoked; nothing happened.
    #[serde(rename = "unauthorized_401")]
    Unauthorized401,
    /// 400 `parameter_unknown`, as for a parameter that the account's version does not know;
    /// nothing happened.
    #[serde(rename = "parameter_unknown_400")]
    ParameterUnknown400,
    /// A 400 of the execution, which is saved under the key, as for an account that may not do this
    /// yet; nothing happened.
    #[serde(rename = "refused_400")]
    Refused400,
    /// A 200 whose body lacks what it is about; it happened.
    #[serde(rename = "unreadable_200")]
    Unreadable200,
    /// A capture takes one unit less than the intent is over.
    WrongAmount,
    /// Adds latency, once the key is taken.
    LatencyMs,
}

/// A fault as `POST /_control/faults` takes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `METHOD /v1/path` as the endpoint is named, `*` for any run of characters.
    pub endpoint: String,
    pub kind: Kind,
    /// 0 to 1; 1 unless given.
    #[serde(default = "always")]
    pub probability: f64,
    /// How many times it strikes at most; unlimited unless given.
    #[serde(default)]
    pub count: Option<u64>,
    /// For `latency_ms`: milliseconds.
    #[serde(default)]
    pub latency_ms: u64,
}

fn always() -> f64 {
    1.0
}

/// The active faults, and how often each kind struck.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    struck: BTreeMap<Kind, u64>,
}

impl Faults {
    /// Activates one more.
    ///
    /// # Errors
    /// A sentence on what is wrong with the rule.
    pub fn add(&mut self, rule: Rule) -> Result<(), &'static str> {
        if self.rules.len() == MAX_RULES {
            return Err("too many faults are switched on; DELETE /_control/faults first");
        }
        if !(0.0..=1.0).contains(&rule.probability) {
            return Err("probability must be between 0 and 1");
        }
        if rule.latency_ms > MAX_LATENCY_MS {
            return Err("latency_ms must be at most 600000");
        }
        if (rule.kind == Kind::LatencyMs) != (rule.latency_ms > 0) {
            return Err("latency_ms goes with the kind latency_ms, and is above 0 there");
        }
        self.rules.push(rule);
        Ok(())
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The active faults in the order of their activation.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    #[must_use]
    pub fn struck(&self) -> &BTreeMap<Kind, u64> {
        &self.struck
    }

    /// The first fault that strikes a request to this endpoint, with its latency.
    pub fn draw(&mut self, endpoint: &str) -> Option<(Kind, u64)> {
        let strikes = |rule: &Rule| {
            rule.count != Some(0)
                && matches(&rule.endpoint, endpoint)
                && (rule.probability >= 1.0 || rand::rng().random::<f64>() < rule.probability)
        };
        let place = self.rules.iter().position(strikes)?;
        let rule = &mut self.rules[place];
        let drawn = (rule.kind, rule.latency_ms);
        if let Some(count) = &mut rule.count {
            *count -= 1;
        }
        if rule.count == Some(0) {
            self.rules.remove(place);
        }
        *self.struck.entry(drawn.0).or_default() += 1;
        Some(drawn)
    }
}

/// Whether the text matches the pattern, in which `*` stands for any run of characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let mut tails = starts.map(|at| &text[at..]);
    tails.any(|tail| matches(rest, tail))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn star_matches_any_characters() {
        let rows = [
            ("*", "POST /v1/refunds", true),
            ("POST *", "POST /v1/refunds", true),
            ("POST *", "GET /v1/refunds", false),
            ("*/confirm", "POST /v1/payment_intents/:id/confirm", true),
            ("*/confirm", "POST /v1/payment_intents/:id/cancel", false),
            ("POST /v1/payment_intents", "POST /v1/payment_intents/:id/confirm", false),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn counted_fault_is_used_up() {
        let mut faults = Faults::default();
        let rule = Rule {
            endpoint: "*".into(),
            kind: Kind::ResetAfter,
            probability: 1.0,
            count: Some(2),
            latency_ms: 0,
        };
        faults.add(rule).unwrap();
        let struck = (0..5).filter(|_| faults.draw("GET /v1/refunds").is_some()).count();
        assert_eq!(struck, 2);
        assert!(faults.rules().is_empty());
    }
}
