//! Requests: validation and conversion.

use std::{ops::RangeInclusive, time::Duration};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::waitingroom::ConfigureRoomRequest;
use flashsale_service::wire;
use uuid::Uuid;

use crate::domain::Window;

/// The longest buyer id, in characters.
const BUYER_MAX_CHARS: usize = 128;
/// Valid rates, in buyers per second.
const RATES: RangeInclusive<f64> = 0.1..=100_000.0;
/// Valid lifetimes of an admission.
const TTLS: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(3_600);

pub(super) fn sale_id(value: &str) -> Result<Uuid, Failure> {
    wire::uuid("sale_id", value, Reason::ArgumentInvalid)
}

pub(super) fn buyer_id(value: &str) -> Result<&str, Failure> {
    wire::printable("buyer_id", value, BUYER_MAX_CHARS)
}

pub(super) fn rate(value: f64) -> Result<f64, Failure> {
    if RATES.contains(&value) {
        Ok(value)
    } else {
        Err(Failure::invalid("admissions_per_second", "is not a rate of 0.1 to 100,000 per second"))
    }
}

pub(super) fn admission_ms(value: Option<&prost_types::Duration>) -> Result<i64, Failure> {
    let refuse = || Failure::invalid("admission_ttl", "is not a length of 5 seconds to 1 hour");
    let ttl = wire::std_duration("admission_ttl", value.ok_or_else(refuse)?)?;
    if !TTLS.contains(&ttl) {
        return Err(refuse());
    }
    i64::try_from(ttl.as_millis()).map_err(|_| refuse())
}

/// The window of a room: its bounds cut to whole milliseconds, and in order.
pub(super) fn window(request: &ConfigureRoomRequest) -> Result<Window, Failure> {
    let window = Window {
        joins_from_ms: millis("joins_from", request.joins_from.as_ref())?,
        admits_from_ms: millis("admits_from", request.admits_from.as_ref())?,
        admits_until_ms: millis("admits_until", request.admits_until.as_ref())?,
    };
    let Window { joins_from_ms, admits_from_ms, admits_until_ms } = window;
    if let (Some(joins), Some(admits)) = (joins_from_ms, admits_from_ms)
        && joins > admits
    {
        return Err(Failure::invalid("joins_from", "is later than admits_from"));
    }
    for (name, from) in [("admits_from", admits_from_ms), ("joins_from", joins_from_ms)] {
        if let (Some(from), Some(until)) = (from, admits_until_ms)
            && until <= from
        {
            return Err(Failure::invalid("admits_until", format!("is not later than {name}")));
        }
    }
    Ok(window)
}

fn millis(field: &str, value: Option<&prost_types::Timestamp>) -> Result<Option<i64>, Failure> {
    let Some(value) = value else { return Ok(None) };
    let nanos = wire::datetime(field, value)?.unix_timestamp_nanos();
    i64::try_from(nanos.div_euclid(1_000_000)).map(Some).map_err(Failure::internal)
}
