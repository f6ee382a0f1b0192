//! Moments and lengths of time as options name them.

use flashsale_errors::Failure;
use flashsale_zones::{Moments, Zone};
use prost_types::Timestamp;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset, macros::format_description};

/// A length of time such as `1h30m`, in seconds. A day has 24 hours.
///
/// # Errors
/// What would be right, for clap.
pub(crate) fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || "it is not a length of time such as 90s, 10m, 1h30m or 2d".to_owned();
    let (mut sum, mut number) = (0_i64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(wrong()),
        };
        let part = number.parse().ok().and_then(|count: i64| count.checked_mul(unit));
        sum = part.and_then(|part| sum.checked_add(part)).ok_or_else(wrong)?;
        number.clear();
    }
    if text.is_empty() || !number.is_empty() { Err(wrong()) } else { Ok(sum) }
}

/// The time zone in `--time-zone`.
///
/// # Errors
/// `ARGUMENT_INVALID` for a name that is not known.
pub(crate) fn zone(name: &str) -> Result<Zone, Failure> {
    Zone::find(name).map_err(|unknown| Failure::invalid("--time-zone", unknown.to_string()))
}

/// A moment: with an offset as in `2026-11-27T10:00+01:00` or `2026-11-27T09:00:00Z`, or else the
/// local time of `zone`.
///
/// # Errors
/// `ARGUMENT_INVALID` naming `option`: not a time, without offset and zone, or in an hour that the
/// zone's clocks skip or show twice.
pub(crate) fn moment(
    option: &str,
    text: &str,
    zone: Option<&Zone>,
) -> Result<OffsetDateTime, Failure> {
    let refused = |what: String| Failure::invalid(option, what);
    let wrong = || {
        refused(format!(
            "is {text:?}; write it such as 2026-11-27T10:00+01:00, or as 2026-11-27T10:00 with \
             --time-zone"
        ))
    };
    let (local, offset) = read(text).ok_or_else(wrong)?;
    if let Some(offset) = offset {
        return Ok(local.assume_offset(offset));
    }
    let zone = zone.ok_or_else(|| {
        refused(format!(
            "is {text}, which says no time zone: pass --time-zone, such as Europe/Berlin, or write \
             the offset behind it, such as {text}+01:00"
        ))
    })?;
    match zone.moments(local).ok_or_else(wrong)? {
        Moments::One(at) => Ok(at),
        Moments::Skipped { earlier, later } => Err(refused(format!(
            "is {text}, which {} skips: clocks are put forward over it; write {} or {}",
            zone.name(),
            shown(earlier),
            shown(later),
        ))),
        Moments::Doubled { earlier, later } => Err(refused(format!(
            "is {text}, which {} has twice: clocks are put back over it; write {} for the first \
             time, or {} for the second",
            zone.name(),
            shown(earlier),
            shown(later),
        ))),
    }
}

/// A moment in a request.
pub(crate) fn wire(at: OffsetDateTime) -> Timestamp {
    // Options name no fractions of a second.
    Timestamp { seconds: at.unix_timestamp(), nanos: 0 }
}

/// A date with a time, and its offset if it has one.
fn read(text: &str) -> Option<(PrimitiveDateTime, Option<UtcOffset>)> {
    let (day, clock) = text.split_once('T')?;
    let (clock, offset) = if let Some(clock) = clock.strip_suffix('Z') {
        (clock, Some(UtcOffset::UTC))
    } else if let Some(at) = clock.find(['+', '-']) {
        let (clock, offset) = clock.split_at(at);
        let format = format_description!("[offset_hour sign:mandatory]:[offset_minute]");
        (clock, Some(UtcOffset::parse(offset, format).ok()?))
    } else {
        (clock, None)
    };
    let day = Date::parse(day, format_description!("[year]-[month]-[day]")).ok()?;
    let minutes = format_description!("[hour]:[minute]");
    let seconds = format_description!("[hour]:[minute]:[second]");
    let clock = Time::parse(clock, minutes).or_else(|_| Time::parse(clock, seconds)).ok()?;
    Some((day.with_time(clock), offset))
}

/// As [`moment`] reads it.
fn shown(at: OffsetDateTime) -> String {
    let format = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second][offset_hour sign:mandatory]:[offset_minute]"
    );
    at.format(format).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::macros::datetime;

    use super::*;

    fn berlin(text: &str) -> Result<OffsetDateTime, Failure> {
        moment("--starts-at", text, Some(&zone("Europe/Berlin").unwrap()))
    }

    #[test]
    fn moments_have_an_offset_or_a_zone() {
        let winter = datetime!(2026-11-27 9:00 UTC);
        for (text, expected) in [
            ("2026-11-27T10:00", winter),
            ("2026-11-27T10:00:00", winter),
            ("2026-11-27T10:00:30", datetime!(2026-11-27 9:00:30 UTC)),
            ("2026-07-01T10:00", datetime!(2026-07-01 8:00 UTC)),
            // An offset is stronger than the zone.
            ("2026-11-27T09:00Z", winter),
            ("2026-11-27T04:00-05:00", winter),
            ("2026-11-27T14:30:00+05:30", winter),
            ("2026-10-25T02:30+02:00", datetime!(2026-10-25 0:30 UTC)),
            ("2026-10-25T02:30+01:00", datetime!(2026-10-25 1:30 UTC)),
        ] {
            assert_eq!(berlin(text).unwrap(), expected, "{text}");
        }
        assert_eq!(moment("--starts-at", "2026-11-27T10:00+01:00", None).unwrap(), winter);
        assert_eq!(wire(winter), Timestamp { seconds: 1_795_770_000, nanos: 0 });
    }

    #[test]
    fn skipped_and_doubled_hours_are_refused() {
        for (text, first, second) in [
            ("2026-03-29T02:30", "2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"),
            ("2026-10-25T02:30", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"),
        ] {
            let failure = berlin(text).unwrap_err();
            let said = failure.what();
            assert!(said.starts_with("--starts-at: "), "{said}");
            assert!(said.contains(&format!("{text}, which Europe/Berlin")), "{said}");
            let (before, behind) = (said.find(first).unwrap(), said.find(second).unwrap());
            assert!(before < behind, "{said}");
            // Each is read back as it is told.
            assert!(berlin(first).unwrap() < berlin(second).unwrap());
        }
    }

    #[test]
    fn a_time_without_zone_and_offset_is_refused_with_the_remedy() {
        let failure = moment("--ends-at", "2026-11-27T10:00", None).unwrap_err();
        let said = failure.what();
        assert!(said.starts_with("--ends-at: is 2026-11-27T10:00, which says no time zone"));
        assert!(said.contains("--time-zone") && said.contains("2026-11-27T10:00+01:00"), "{said}");
    }

    #[test]
    fn unknown_zones_are_refused_with_near_names() {
        let failure = zone("Europe/Berln").unwrap_err();
        assert_eq!(failure.violations()[0].field, "--time-zone");
        assert!(failure.what().contains("did you mean Europe/Berlin"), "{}", failure.what());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2026-11-27",
            "2026-11-27 10:00",
            "2026-11-31T10:00",
            "2026-11-27T24:00",
            "2026-11-27T10:00:00.5",
            "2026-11-27T10:00+1",
            "2026-11-27T10:00 Europe/Berlin",
            "27.11.2026T10:00",
        ] {
            let failure = berlin(text).unwrap_err();
            assert!(failure.what().contains("write it such as"), "{text}: {}", failure.what());
        }
    }

    #[test]
    fn lengths_have_units() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("10m", Some(600)),
            ("1h30m", Some(5_400)),
            ("2d", Some(172_800)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("h", None),
            ("1h30", None),
            ("-5m", None),
            ("1.5h", None),
            ("99999999999999999999s", None),
            ("9223372036854775807d", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }
}
