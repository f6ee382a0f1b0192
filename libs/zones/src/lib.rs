//! Time zones by their names in the IANA database, and the local times in them. The database is
//! compiled in: a container has none of its own.

mod near;

use std::fmt;

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

/// How much of an unknown name is compared and repeated, in characters. The longest name of the
/// database has half as many.
const MAX_NAME_CHARS: usize = 64;

/// A time zone.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

/// The moments that a local time may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moments {
    /// Exactly one.
    One(OffsetDateTime),
    /// None: clocks are put forward over it. The moments are those that it would be by the offset
    /// behind that change, and by the one before it; each with the offset that is in force then.
    Skipped {
        /// Before the change.
        earlier: OffsetDateTime,
        /// Behind it.
        later: OffsetDateTime,
    },
    /// Two: clocks are put back over it.
    Doubled {
        /// Before the change.
        earlier: OffsetDateTime,
        /// Behind it.
        later: OffsetDateTime,
    },
}

/// A name that the database does not have. Displayed as what is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownZone {
    name: String,
    near: Vec<String>,
}

impl Zone {
    /// The zone with this name, in any case.
    ///
    /// # Errors
    /// [`UnknownZone`], with names that resemble it.
    pub fn find(name: &str) -> Result<Self, UnknownZone> {
        let database = TimeZoneDatabase::bundled();
        let known = database.get(name).ok().filter(|zone| !zone.is_unknown());
        known.map(Self).ok_or_else(|| {
            let name: String = name.chars().take(MAX_NAME_CHARS).collect();
            let near = near::names(&name, database.available().map(|known| known.to_string()));
            UnknownZone { name, near }
        })
    }

    /// Universal time.
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Its name as the database writes it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The local time at a moment; `None` where the calendar does not reach.
    pub fn local(&self, at: OffsetDateTime) -> Option<PrimitiveDateTime> {
        let instant = Timestamp::from_second(at.unix_timestamp()).ok()?;
        let local = at.checked_to_offset(utc_offset(self.0.to_offset(instant))?)?;
        Some(PrimitiveDateTime::new(local.date(), local.time()))
    }

    /// The moments at which clocks show this local time; `None` where the calendar does not reach.
    pub fn moments(&self, local: PrimitiveDateTime) -> Option<Moments> {
        let civil = DateTime::new(
            i16::try_from(local.year()).ok()?,
            i8::try_from(u8::from(local.month())).ok()?,
            i8::try_from(local.day()).ok()?,
            i8::try_from(local.hour()).ok()?,
            i8::try_from(local.minute()).ok()?,
            i8::try_from(local.second()).ok()?,
            i32::try_from(local.nanosecond()).ok()?,
        )
        .ok()?;
        let by = |offset| Some(local.assume_offset(utc_offset(offset)?));
        Some(match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => Moments::One(by(offset)?),
            AmbiguousOffset::Gap { before, after } => Moments::Skipped {
                earlier: by(after)?.checked_to_offset(utc_offset(before)?)?,
                later: by(before)?.checked_to_offset(utc_offset(after)?)?,
            },
            AmbiguousOffset::Fold { before, after } => {
                Moments::Doubled { earlier: by(before)?, later: by(after)? }
            }
        })
    }
}

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is {:?}, which is no time zone of the IANA database; ", self.name)?;
        if self.near.is_empty() {
            return f.write_str("write one such as Europe/Berlin");
        }
        write!(f, "did you mean {}?", self.near.join(" or "))
    }
}

impl std::error::Error for UnknownZone {}

fn utc_offset(offset: Offset) -> Option<UtcOffset> {
    UtcOffset::from_whole_seconds(offset.seconds()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::macros::datetime;

    use super::*;

    fn berlin() -> Zone {
        Zone::find("Europe/Berlin").unwrap()
    }

    #[test]
    fn local_times_follow_summer_time() {
        for (at, local) in [
            (datetime!(2026-11-27 9:00 UTC), datetime!(2026-11-27 10:00)),
            (datetime!(2026-07-01 22:30 UTC), datetime!(2026-07-02 0:30)),
            (datetime!(2026-03-29 0:59:59 UTC), datetime!(2026-03-29 1:59:59)),
            (datetime!(2026-03-29 1:00 UTC), datetime!(2026-03-29 3:00)),
        ] {
            assert_eq!(berlin().local(at), Some(local), "{at}");
            assert_eq!(berlin().moments(local), Some(Moments::One(at)), "{local}");
        }
        let at = datetime!(2026-11-27 9:00 UTC);
        assert_eq!(Zone::utc().local(at), Some(datetime!(2026-11-27 9:00)));
    }

    #[test]
    fn skipped_and_doubled_hours_have_two_moments() {
        assert_eq!(
            berlin().moments(datetime!(2026-03-29 2:30)),
            Some(Moments::Skipped {
                earlier: datetime!(2026-03-29 1:30 +1),
                later: datetime!(2026-03-29 3:30 +2),
            })
        );
        assert_eq!(
            berlin().moments(datetime!(2026-10-25 2:30)),
            Some(Moments::Doubled {
                earlier: datetime!(2026-10-25 2:30 +2),
                later: datetime!(2026-10-25 2:30 +1),
            })
        );
        // Half an hour in one direction, and a whole day that was left out.
        let howe = Zone::find("Australia/Lord_Howe").unwrap();
        assert!(matches!(
            howe.moments(datetime!(2026-10-04 2:15)),
            Some(Moments::Skipped { later, .. }) if later == datetime!(2026-10-04 2:45 +11)
        ));
        let apia = Zone::find("Pacific/Apia").unwrap();
        let left_out = apia.moments(datetime!(2011-12-30 12:00));
        assert!(matches!(left_out, Some(Moments::Skipped { .. })), "{left_out:?}");
    }

    #[test]
    fn zones_are_found_in_any_case() {
        assert_eq!(Zone::find("america/NEW_york").unwrap().name(), "America/New_York");
        assert_eq!(Zone::find("utc").unwrap().name(), "UTC");
    }

    #[test]
    fn near_names_are_told() {
        for (asked, expected) in [
            ("Europe/Berln", "Europe/Berlin"),
            ("Germany/Berlin", "Europe/Berlin"),
            ("EuropeBerlin", "Europe/Berlin"),
            ("new york", "America/New_York"),
            ("Europe/Kyjiv", "Europe/Kyiv"),
        ] {
            let unknown = Zone::find(asked).unwrap_err();
            assert_eq!(unknown.near.first().map(String::as_str), Some(expected), "{unknown}");
            assert!(unknown.to_string().contains(&format!("did you mean {expected}")));
        }
        for asked in ["", "Etc/Unknown", "Mars/Olympus_Mons", "+01:00", &"x".repeat(100_000)] {
            let unknown = Zone::find(asked).unwrap_err();
            assert!(unknown.near.len() <= 3, "{unknown}");
            assert!(unknown.to_string().len() < 250, "{unknown}");
        }
    }
}
