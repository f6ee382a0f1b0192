//! What a load has to keep to: a figure of the report, a comparison and a value, such as
//! `place_order.p99<100ms`.

use std::{fmt, str::FromStr};

use flashsale_errors::Reason;
use serde_json::Value;

use crate::crowd::{Call, QUANTILES};

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Milliseconds.
    Time,
    /// A number of things.
    Count,
    /// Bytes.
    Memory,
}

impl Kind {
    fn problem(self, value: &str) -> String {
        match self {
            Self::Time => format!("{value:?} is not a time such as 100ms, 1.5s or 800us"),
            Self::Count => format!("{value:?} is not a number, nor a share such as 1%"),
            Self::Memory => format!("{value:?} is not an amount of memory such as 64MB or 1GB"),
        }
    }
}

/// Where a figure stands in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Figure {
    name: String,
    kind: Kind,
    pointer: String,
    /// Where that stands which a percentage is a share of.
    whole: Option<&'static str>,
    /// What is not in the report did not happen.
    absent_is_zero: bool,
}

/// Counts of the report that have a name of their own: what they are called, where they stand, and
/// what they are a share of.
const COUNTS: [(&str, &str, Option<&str>); 13] = [
    ("accepted.count", "/accepted/count", None),
    ("accepted.pending", "/accepted/pending", Some("/accepted/count")),
    ("accepted.unfinished", "/accepted/unfinished", Some("/accepted/count")),
    ("accepted.lost", "/accepted/lost", Some("/accepted/count")),
    ("rejects.total", "/rejects/total", None),
    ("rejects.untyped", "/rejects/untyped", Some("/rejects/total")),
    ("rejects.without_retry_info", "/rejects/without_retry_info", Some("/rejects/total")),
    ("dropped", "/arrivals/dropped", Some("/arrivals/scheduled")),
    ("turned_away", "/arrivals/turned_away", Some("/arrivals/scheduled")),
    ("failed", "/arrivals/failed", Some("/arrivals/scheduled")),
    ("unfinished", "/arrivals/unfinished", Some("/arrivals/scheduled")),
    ("arrivals", "/arrivals/scheduled", None),
    ("audit.broken", "/audit_broken", None),
];

/// Memory of the services.
const MEMORY: [(&str, &str); 3] = [
    ("services.rss_growth", "/memory/services/growth_bytes"),
    ("services.rss_peak", "/memory/services/peak_bytes"),
    ("services.rss_end", "/memory/services/end_bytes"),
];

impl Figure {
    fn find(name: &str) -> Result<Self, String> {
        let figure = |kind, pointer: String, whole| Self {
            name: name.to_owned(),
            kind,
            pointer,
            whole,
            absent_is_zero: false,
        };
        if let Some((_, pointer, whole)) = COUNTS.iter().find(|(known, _, _)| *known == name) {
            return Ok(figure(Kind::Count, (*pointer).to_owned(), *whole));
        }
        if let Some((_, pointer)) = MEMORY.iter().find(|(known, _)| *known == name) {
            return Ok(figure(Kind::Memory, (*pointer).to_owned(), None));
        }
        if let Some(reason) = name.strip_prefix("rejects.") {
            let Some(reason) = Reason::parse(reason) else {
                return Err(format!(
                    "{reason:?} is no reason of a refusal; `flashsale errors` lists them. There are also untyped, without_retry_info \
                     and total"
                ));
            };
            let pointer = format!("/rejects/by_reason/{}", reason.as_str());
            let whole = Some("/rejects/total");
            return Ok(Self { absent_is_zero: true, ..figure(Kind::Count, pointer, whole) });
        }
        // A latency: <call>[.service].<quantile>; p99.9 has a point of its own.
        let written = name.replace("p99.9", "p99_9");
        let (of, what) = written.rsplit_once('.').ok_or_else(|| unknown(name))?;
        let (of, table) = match of.split_once('.') {
            None => (of, "latency_ms"),
            Some((of, "service")) => (of, "service_ms"),
            Some((of, "with_retries")) => (of, "with_retries_ms"),
            Some((of, "refused")) => (of, "refused_ms"),
            Some(_) => return Err(unknown(name)),
        };
        let measured = Call::UNARY.iter().any(|call| call.name() == of)
            || (table == "latency_ms" && ["accepted_to_confirmed", "generator_lag"].contains(&of));
        if !measured {
            return Err(unknown(name));
        }
        if what == "count" {
            return Ok(figure(Kind::Count, format!("/{table}/{of}/count"), None));
        }
        let known = QUANTILES.iter().map(|(name, _)| *name).chain(["max"]);
        if !known.clone().any(|known| known == what) {
            let known: Vec<&str> = known.collect();
            return Err(format!("{what:?} is none of {} and count", known.join(", ")));
        }
        Ok(figure(Kind::Time, format!("/{table}/{of}/{what}"), None))
    }

    fn measured(&self, report: &Value) -> Option<f64> {
        let value = report.pointer(&self.pointer).and_then(Value::as_f64);
        value.or(self.absent_is_zero.then_some(0.0))
    }
}

fn unknown(name: &str) -> String {
    let counts = COUNTS.iter().map(|(name, _, _)| *name);
    let known: Vec<&str> = counts.chain(MEMORY.iter().map(|(name, _)| *name)).collect();
    format!(
        "there is no figure {name:?}; there are latencies such as place_order.p99, join.service.p50 and accepted_to_confirmed.max, \
         refusals such as rejects.SOLD_OUT, and {}",
        known.join(", ")
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    AtMost,
    AtLeast,
    Below,
    Above,
    Equal,
    Unequal,
}

impl Comparison {
    // The longer ones first: they begin like the others.
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("!=", Self::Unequal),
        ("<", Self::Below),
        (">", Self::Above),
    ];

    fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Self::AtMost => measured <= bound,
            Self::AtLeast => measured >= bound,
            Self::Below => measured < bound,
            Self::Above => measured > bound,
            Self::Equal => measured == bound,
            Self::Unequal => measured != bound,
        }
    }
}

/// A threshold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    figure: Figure,
    comparison: Comparison,
    bound: f64,
    /// Whether the bound is a share of the whole, in percent.
    share: bool,
    text: String,
}

/// How a threshold was kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    /// The threshold as it was written.
    pub(super) text: String,
    /// What was measured: milliseconds, bytes, a count, or percent; `None` if nothing was.
    pub(super) measured: Option<f64>,
    /// The same in words.
    pub(super) words: String,
    /// Whether it was kept. What was not measured was not kept.
    pub(super) held: bool,
}

impl Threshold {
    /// Whether both are about the same figure.
    pub(super) fn same_figure(&self, other: &Self) -> bool {
        self.figure.name == other.figure.name
    }

    /// How a report keeps it.
    pub(super) fn verdict(&self, report: &Value) -> Verdict {
        let mut measured = self.figure.measured(report);
        if self.share {
            let whole = self.figure.whole.and_then(|path| report.pointer(path)?.as_f64());
            measured = measured.zip(whole).map(|(part, whole)| {
                // A share of nothing is none.
                if whole == 0.0 { 0.0 } else { 100.0 * part / whole }
            });
        }
        let words = match (measured, self.figure.kind) {
            (None, _) => "not measured".to_owned(),
            (Some(percent), _) if self.share => format!("{percent:.2} %"),
            (Some(ms), Kind::Time) => format!("{ms:.1} ms"),
            (Some(count), Kind::Count) => format!("{count:.0}"),
            (Some(bytes), Kind::Memory) => format!("{:.1} MB", bytes / 1e6),
        };
        Verdict {
            text: self.text.clone(),
            measured,
            words,
            held: measured.is_some_and(|measured| self.comparison.holds(measured, self.bound)),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>', '=', '!']);
        let split = at.and_then(|at| {
            let (name, rest) = text.split_at(at);
            let (sign, comparison) =
                Comparison::ALL.iter().find(|(sign, _)| rest.starts_with(sign))?;
            Some((name.trim(), *comparison, rest[sign.len()..].trim()))
        });
        let Some((name, comparison, value)) = split else {
            return Err(format!(
                "{text:?} compares nothing; a threshold is a figure, one of < <= > >= == !=, and a value, such as place_order.p99<100ms"
            ));
        };
        let figure = Figure::find(name)?;
        let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        let (number, unit) = (digits.trim(), &value[digits.len()..]);
        let share = unit == "%";
        let factor = match (figure.kind, unit) {
            (Kind::Time, "us") => 0.001,
            (Kind::Time, "ms") => 1.0,
            (Kind::Time, "s") => 1_000.0,
            (Kind::Count, "") => 1.0,
            (Kind::Count, "%") if figure.whole.is_some() => 1.0,
            (Kind::Count, "%") => return Err(format!("{name} is no share of anything")),
            (Kind::Memory, "kB" | "KB") => 1e3,
            (Kind::Memory, "MB") => 1e6,
            (Kind::Memory, "GB") => 1e9,
            _ => return Err(figure.kind.problem(value)),
        };
        let bound = match number.parse::<f64>() {
            Ok(number) if number.is_finite() => number * factor,
            _ => return Err(figure.kind.problem(value)),
        };
        Ok(Self { figure, comparison, bound, share, text: text.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    fn verdict(text: &str) -> Verdict {
        let report = json!({
            "latency_ms": { "place_order": { "count": 7, "p99": 80.0, "p99_9": 250.0 }, "join": { "count": 0, "p99": null } },
            "service_ms": { "place_order": { "p99": 20.0 } },
            "arrivals": { "scheduled": 1_000, "dropped": 5 },
            "rejects": { "total": 50, "untyped": 0, "by_reason": { "SOLD_OUT": 50 } },
            "accepted": { "lost": null },
            "memory": { "services": { "growth_bytes": 3_000_000 } },
        });
        text.parse::<Threshold>().unwrap().verdict(&report)
    }

    #[test]
    fn figures_are_compared_in_their_units_and_what_was_not_measured_was_not_kept() {
        for (text, words, held) in [
            ("place_order.p99<100ms", "80.0 ms", true),
            ("place_order.p99 < 0.05s", "80.0 ms", false),
            ("place_order.p99.9<=250000us", "250.0 ms", true),
            ("place_order.service.p99<50ms", "20.0 ms", true),
            ("place_order.count>=7", "7", true),
            ("dropped<1%", "0.50 %", true),
            ("dropped==0", "5", false),
            ("rejects.untyped==0", "0", true),
            ("rejects.OVERLOADED==0", "0", true),
            ("rejects.SOLD_OUT!=50", "50", false),
            ("services.rss_growth<64MB", "3.0 MB", true),
            ("accepted.lost==0", "not measured", false),
            ("join.p99<1s", "not measured", false),
        ] {
            let verdict = verdict(text);
            assert_eq!((verdict.words.as_str(), verdict.held), (words, held), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_threshold_is_said_with_the_part_that_is_wrong() {
        for (text, said) in [
            ("place_order.p99", "compares nothing"),
            ("place_order.p98<1ms", "\"p98\" is none of p50"),
            ("placeorder.p99<1ms", "no figure \"placeorder.p99\""),
            ("place_order.p99<100", "\"100\" is not a time"),
            ("place_order.p99<fastms", "\"fastms\" is not a time"),
            ("dropped<1ms", "\"1ms\" is not a number"),
            ("arrivals<1%", "no share of anything"),
            ("rejects.TOO_SHY==0", "\"TOO_SHY\" is no reason"),
            ("services.rss_growth<3", "\"3\" is not an amount of memory"),
            ("dropped=1", "compares nothing"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
