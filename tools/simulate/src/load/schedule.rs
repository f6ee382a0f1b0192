//! When buyers come: a schedule of rates, and the moments drawn from it.

use std::{fmt, str::FromStr, time::Duration};

use rand::{Rng as _, rngs::StdRng};

/// The highest rate that can be asked for, in buyers per second.
pub(super) const MAX_RATE: f64 = 20_000.0;
/// The longest a schedule may be.
const MAX_LENGTH: Duration = Duration::from_secs(30 * 60);
/// The most buyers one machine is asked to be.
const MAX_ARRIVALS: f64 = 1_000_000.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ramp,
    Spike,
    Plateau,
}

impl Kind {
    const ALL: [(&'static str, Self); 3] =
        [("ramp", Self::Ramp), ("spike", Self::Spike), ("plateau", Self::Plateau)];
}

/// A stretch of time with a rate, or with one that changes evenly.
#[derive(Debug, Clone, PartialEq)]
struct Phase {
    kind: Kind,
    /// Seconds.
    length: f64,
    /// Buyers per second at its beginning and at its end.
    from: f64,
    to: f64,
    /// As it was written.
    text: String,
}

/// A schedule: one phase after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule(Vec<Phase>);

impl Schedule {
    /// A sale that opens: it fills up to what the machine sustains, is hit by a spike, and stays at
    /// `factor` times of that.
    pub(super) fn of_a_sale(peak: f64, factor: f64) -> Result<Self, String> {
        let high = peak * factor;
        let spike = high * 1.5;
        format!("ramp:5s:0-{peak},plateau:5s:{peak},spike:2s:{spike},plateau:20s:{high}").parse()
    }

    /// How long buyers come.
    pub(super) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.0.iter().map(|phase| phase.length).sum())
    }

    /// How many are expected.
    pub(super) fn expected(&self) -> f64 {
        self.0.iter().map(|phase| phase.length * (phase.from + phase.to) / 2.0).sum()
    }

    /// The highest rate.
    pub(super) fn highest(&self) -> f64 {
        self.0.iter().map(|phase| phase.from.max(phase.to)).fold(0.0, f64::max)
    }

    /// The phase at a time, and the rate then; `None` after the last.
    pub(super) fn at(&self, time: Duration) -> Option<(&str, f64)> {
        let mut into = time.as_secs_f64();
        for phase in &self.0 {
            if into < phase.length {
                let rate = phase.from + (phase.to - phase.from) * into / phase.length;
                return Some((&phase.text, rate));
            }
            into -= phase.length;
        }
        None
    }

    /// When phases begin, in seconds, and when the last one ends.
    pub(super) fn boundaries(&self) -> Vec<f64> {
        let mut at = 0.0;
        let ends = self.0.iter().map(|phase| {
            at += phase.length;
            at
        });
        ends.collect()
    }

    /// The moments at which buyers come: a Poisson process with the schedule's rate.
    pub(super) fn arrivals(&self, rng: StdRng) -> Arrivals<'_> {
        Arrivals { schedule: self, rng, phase: 0, into: 0.0, begins: 0.0 }
    }
}

/// The moments at which buyers come, from the beginning.
#[derive(Debug)]
pub(super) struct Arrivals<'a> {
    schedule: &'a Schedule,
    rng: StdRng,
    phase: usize,
    /// Seconds into the phase.
    into: f64,
    /// When the phase begins.
    begins: f64,
}

impl Iterator for Arrivals<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // So many more are expected until the next one comes; time goes on until the rate has added
        // up to it.
        let mut expected = -(1.0 - self.rng.random::<f64>()).ln();
        while let Some(phase) = self.schedule.0.get(self.phase) {
            let growth = (phase.to - phase.from) / phase.length;
            let now = phase.from + growth * self.into;
            let left = phase.length - self.into;
            let comes = left * (now + phase.to) / 2.0;
            if expected < comes {
                // The smaller root of growth/2 x² + now x = expected, in the form that also stands
                // for no growth.
                let root = (now * now + 2.0 * growth * expected).max(0.0).sqrt();
                self.into += 2.0 * expected / (now + root);
                return Some(Duration::from_secs_f64(self.begins + self.into));
            }
            expected -= comes;
            self.begins += phase.length;
            self.phase += 1;
            self.into = 0.0;
        }
        None
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, phase) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", phase.text)?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let phases = text
            .split(',')
            .map(str::trim)
            .map(|part| phase(part).map_err(|problem| format!("in {part:?}: {problem}")))
            .collect::<Result<Vec<_>, _>>()?;
        let schedule = Self(phases);
        if schedule.length() > MAX_LENGTH {
            let minutes = MAX_LENGTH.as_secs() / 60;
            return Err(format!("it is longer than {minutes} minutes altogether"));
        }
        let expected = schedule.expected();
        if expected > MAX_ARRIVALS {
            return Err(format!(
                "it makes {expected:.0} buyers come; the most is {MAX_ARRIVALS:.0}"
            ));
        }
        if expected < 1.0 {
            return Err("nobody comes by it".to_owned());
        }
        Ok(schedule)
    }
}

fn phase(text: &str) -> Result<Phase, String> {
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let [kind, length, rates] = parts[..] else {
        return Err(
            "a phase is kind:duration:rate, such as ramp:10s:0-100 or plateau:20s:300".to_owned()
        );
    };
    let Some((_, kind)) = Kind::ALL.iter().find(|(name, _)| *name == kind) else {
        return Err(format!("{kind:?} is none of ramp, spike and plateau"));
    };
    let length = seconds(length)?;
    let (from, to) = match (kind, rates.split_once('-')) {
        (Kind::Ramp, Some((from, to))) => (rate(from)?, rate(to)?),
        (Kind::Ramp, None) => {
            return Err(format!(
                "a ramp goes from one rate to another, such as 0-100, not {rates:?}"
            ));
        }
        (Kind::Spike | Kind::Plateau, _) => (rate(rates)?, rate(rates)?),
    };
    Ok(Phase { kind: *kind, length, from, to, text: text.to_owned() })
}

fn seconds(text: &str) -> Result<f64, String> {
    let problem = || format!("{text:?} is not a duration such as 10s, 500ms or 2m");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(problem()),
    };
    match digits.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() && number * unit <= 86_400.0 => {
            Ok(number * unit)
        }
        _ => Err(problem()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(rate) if (0.0..=MAX_RATE).contains(&rate) => Ok(rate),
        _ => Err(format!("{text:?} is not a rate from 0 to {MAX_RATE} buyers per second")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn buyers_come_as_often_as_the_schedule_says_in_each_of_its_phases() {
        let text = "ramp:10s:0-100,spike:500ms:600,plateau:20s:300,ramp:4s:300-0";
        let schedule: Schedule = text.parse().unwrap();
        assert_eq!(schedule.to_string(), text);
        assert_eq!(schedule.expected(), 500.0 + 300.0 + 6_000.0 + 600.0);
        assert_eq!(schedule.length(), Duration::from_millis(34_500));
        assert_eq!(schedule.at(Duration::from_secs(5)), Some(("ramp:10s:0-100", 50.0)));
        assert_eq!(schedule.at(Duration::from_secs(35)), None);
        let seed = 20_261_124;
        let moments: Vec<f64> = schedule
            .arrivals(StdRng::seed_from_u64(seed))
            .map(|moment| moment.as_secs_f64())
            .collect();
        assert!(moments.is_sorted());
        for (from, to, expected) in [
            (0.0, 5.0, 125.0),
            (5.0, 10.0, 375.0),
            (10.0, 10.5, 300.0),
            (10.5, 30.5, 6_000.0),
            (30.5, 32.5, 450.0),
            (32.5, 34.5, 150.0),
        ] {
            let came = moments.iter().filter(|at| (from..to).contains(*at)).count() as f64;
            // Five standard deviations of a Poisson count.
            let bound = 5.0 * f64::sqrt(expected);
            assert!((came - expected).abs() < bound, "{from}-{to}: {came} of {expected}, {seed}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_said_with_the_part_that_is_wrong() {
        for (text, said) in [
            ("ramp:10s:0-100,jump:5s:600", "in \"jump:5s:600\": \"jump\" is none of ramp"),
            ("plateau:10:300", "\"10\" is not a duration"),
            ("plateau:0s:300", "\"0s\" is not a duration"),
            ("plateau:-5s:300", "\"-5s\" is not a duration"),
            ("ramp:10s:100", "a ramp goes from one rate to another"),
            ("spike:5s:many", "\"many\" is not a rate"),
            ("spike:5s:-3", "\"-3\" is not a rate"),
            ("spike:5s:NaN", "\"NaN\" is not a rate"),
            ("spike:5s", "a phase is kind:duration:rate"),
            ("", "a phase is kind:duration:rate"),
            ("plateau:10s:0", "nobody comes"),
            ("plateau:20m:1,plateau:11m:1", "longer than 30 minutes"),
            ("plateau:10m:20000", "12000000 buyers"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
