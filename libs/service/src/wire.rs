//! Decoding what callers send, with refusals that name the field, and encoding what they get.

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::Money;
use iso_currency::Currency;
use time::OffsetDateTime;
use uuid::Uuid;

const NANOS_PER_UNIT: i128 = 1_000_000_000;

/// The `request_id` of a mutating call.
///
/// # Errors
/// `REQUEST_ID_INVALID` when it is not a UUID, or the nil UUID.
pub fn request_id(value: &str) -> Result<Uuid, Failure> {
    match Uuid::parse_str(value) {
        Ok(id) if !id.is_nil() => Ok(id),
        Ok(_) => Err(Failure::field(
            Reason::RequestIdInvalid,
            "request_id",
            "is the nil UUID, which every caller might send",
        )),
        Err(_) => Err(Failure::field(Reason::RequestIdInvalid, "request_id", "is not a UUID")),
    }
}

/// An id in the field `field`.
///
/// # Errors
/// `malformed` when it is not a UUID.
pub fn uuid(field: &str, value: &str, malformed: Reason) -> Result<Uuid, Failure> {
    Uuid::parse_str(value).map_err(|_| Failure::field(malformed, field, "is not a UUID"))
}

/// A text of 1 to `max_chars` characters, none of them a control character.
///
/// # Errors
/// `ARGUMENT_INVALID` otherwise.
pub fn printable<'a>(field: &str, value: &'a str, max_chars: usize) -> Result<&'a str, Failure> {
    if value.is_empty() {
        return Err(Failure::invalid(
            field,
            format!("is empty; it must have 1 to {max_chars} characters"),
        ));
    }
    let chars = value.chars().count();
    if chars > max_chars {
        return Err(Failure::invalid(
            field,
            format!("has {chars} characters; {max_chars} are allowed"),
        ));
    }
    if value.chars().any(char::is_control) {
        return Err(Failure::invalid(
            field,
            "has control characters; only printable ones are allowed",
        ));
    }
    Ok(value)
}

/// A time for the wire.
pub fn timestamp(time: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.unix_timestamp(),
        nanos: i32::try_from(time.nanosecond()).unwrap_or(0),
    }
}

/// Milliseconds since 1970 for the wire.
pub fn timestamp_ms(ms: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(ms.rem_euclid(1_000) * 1_000_000).unwrap_or(0);
    prost_types::Timestamp { seconds: ms.div_euclid(1_000), nanos }
}

/// A time from the wire.
///
/// # Errors
/// `ARGUMENT_INVALID` when it is out of the range of `google.protobuf.Timestamp`, the years 1 to
/// 9999.
pub fn datetime(field: &str, value: &prost_types::Timestamp) -> Result<OffsetDateTime, Failure> {
    let refuse = || Failure::invalid(field, "is not a timestamp of the years 1 to 9999");
    let nanos = u32::try_from(value.nanos).map_err(|_| refuse())?;
    let time = OffsetDateTime::from_unix_timestamp(value.seconds).map_err(|_| refuse())?;
    if !(1..=9999).contains(&time.year()) {
        return Err(refuse());
    }
    time.replace_nanosecond(nanos).map_err(|_| refuse())
}

/// A length of time for the wire.
pub fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// A length of time from the wire.
///
/// # Errors
/// `ARGUMENT_INVALID` when it is negative or malformed.
pub fn std_duration(field: &str, value: &prost_types::Duration) -> Result<Duration, Failure> {
    match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
        (Ok(seconds), Ok(nanos)) if i128::from(nanos) < NANOS_PER_UNIT => {
            Ok(Duration::new(seconds, nanos))
        }
        _ => Err(Failure::invalid(field, "is not a length of time of 0 seconds or more")),
    }
}

/// The currency with an ISO 4217 code.
///
/// # Errors
/// `ARGUMENT_INVALID` when there is none, or it is no means of payment (gold, test codes).
pub fn currency(field: &str, code: &str) -> Result<Currency, Failure> {
    Currency::from_code(code).filter(|currency| currency.exponent().is_some()).ok_or_else(|| {
        Failure::invalid(field, "is not an ISO 4217 currency code such as EUR, in capitals")
    })
}

/// How many of `google.type.Money`'s nanos one minor unit is: the currency's own decimals, all of
/// them.
fn nanos_per_minor(currency: Currency) -> Option<i128> {
    let exponent = u32::from(currency.exponent()?);
    (exponent <= 9).then(|| 10_i128.pow(9 - exponent))
}

/// An amount in minor units (cents, yen, fils) for the wire. `currency` is a code that [`currency`]
/// has accepted.
pub fn money(minor: i64, currency: &str) -> Money {
    let nanos_per_minor = Currency::from_code(currency).and_then(nanos_per_minor);
    let nanos = i128::from(minor) * nanos_per_minor.unwrap_or(NANOS_PER_UNIT);
    Money {
        currency_code: currency.to_owned(),
        // Both fit: units are at most the minor units, the rest is below one unit.
        units: i64::try_from(nanos / NANOS_PER_UNIT).unwrap_or(i64::MAX),
        nanos: i32::try_from(nanos % NANOS_PER_UNIT).unwrap_or(0),
    }
}

/// An amount from the wire in minor units, with its currency. It is exact or refused, never
/// rounded.
///
/// # Errors
/// `ARGUMENT_INVALID` when the currency is unknown, the parts have different signs, there are more
/// decimals than the currency has, or the amount does not fit 64 bits.
pub fn minor(field: &str, money: &Money) -> Result<(i64, Currency), Failure> {
    let currency = currency(&format!("{field}.currency_code"), &money.currency_code)?;
    let refuse = |what: String| Failure::invalid(field, what);
    let nanos = i128::from(money.nanos);
    if nanos.abs() >= NANOS_PER_UNIT {
        return Err(refuse("has nanos beyond ±999,999,999".to_owned()));
    }
    if money.units.signum() * i64::from(money.nanos.signum()) < 0 {
        return Err(refuse("has units and nanos of different signs".to_owned()));
    }
    let decimals = currency.exponent().unwrap_or(0);
    let too_fine =
        || refuse(format!("has more decimals than {} has, which is {decimals}", currency.code()));
    let nanos_per_minor = nanos_per_minor(currency).ok_or_else(too_fine)?;
    let total = i128::from(money.units) * NANOS_PER_UNIT + nanos;
    if total % nanos_per_minor != 0 {
        return Err(too_fine());
    }
    let minor = i64::try_from(total / nanos_per_minor)
        .map_err(|_| refuse("is larger than any amount we can hold".to_owned()))?;
    Ok((minor, currency))
}

/// An amount from the wire that is not below 0, as [`minor`] reads it.
///
/// # Errors
/// `ARGUMENT_INVALID` when it is below 0, and the refusals of [`minor`].
pub fn price(field: &str, money: &Money) -> Result<(i64, Currency), Failure> {
    let (minor, currency) = minor(field, money)?;
    if minor < 0 {
        return Err(Failure::invalid(field, "is below 0"));
    }
    Ok((minor, currency))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn wire(code: &str, units: i64, nanos: i32) -> Money {
        Money { currency_code: code.to_owned(), units, nanos }
    }

    #[test]
    fn money_is_exact_in_every_currency() {
        for (code, minor_units, units, nanos) in [
            ("JPY", 1_500, 1_500, 0),
            ("JPY", -7, -7, 0),
            ("EUR", 1_999, 19, 990_000_000),
            ("EUR", 1, 0, 10_000_000),
            ("EUR", -175, -1, -750_000_000),
            ("EUR", -5, 0, -50_000_000),
            ("KWD", 12_345, 12, 345_000_000),
            ("KWD", -1, 0, -1_000_000),
            ("USD", 0, 0, 0),
            ("JPY", i64::MAX, i64::MAX, 0),
            ("USD", i64::MAX, 92_233_720_368_547_758, 70_000_000),
            ("USD", i64::MIN, -92_233_720_368_547_758, -80_000_000),
        ] {
            let on_the_wire = wire(code, units, nanos);
            assert_eq!(money(minor_units, code), on_the_wire);
            let (back, currency) = minor("price", &on_the_wire).unwrap();
            assert_eq!((back, currency.code()), (minor_units, code));
        }
    }

    #[test]
    fn inexact_amount_is_refused_by_field() {
        for (money, needle) in [
            (wire("JPY", 1, 500_000_000), "more decimals"),
            (wire("EUR", 0, 1_000_000), "more decimals"),
            (wire("EUR", 0, 1), "more decimals"),
            (wire("KWD", 0, 100_000), "more decimals"),
            (wire("EUR", 1, -10_000_000), "different signs"),
            (wire("EUR", -1, 10_000_000), "different signs"),
            (wire("EUR", 0, 1_000_000_000), "beyond"),
            (wire("EUR", 0, i32::MIN), "beyond"),
            (wire("EUR", i64::MAX, 0), "larger than"),
            (wire("EUR", i64::MIN, 0), "larger than"),
        ] {
            let failure = minor("lines[0].price", &money).unwrap_err();
            assert_eq!(failure.reason(), Reason::ArgumentInvalid);
            assert_eq!(failure.violations()[0].field, "lines[0].price");
            assert!(failure.what().contains(needle), "{failure} lacks {needle}");
        }
    }

    #[test]
    fn a_price_is_not_below_zero() {
        for (money, expected) in [(wire("EUR", 0, 0), 0), (wire("EUR", 19, 990_000_000), 1_999)] {
            assert_eq!(price("total", &money).unwrap().0, expected);
        }
        for money in [wire("EUR", 0, -10_000_000), wire("EUR", -1, 0), wire("EUR", 0, 1)] {
            let failure = price("total", &money).unwrap_err();
            assert_eq!(failure.reason(), Reason::ArgumentInvalid);
            assert_eq!(failure.violations()[0].field, "total");
        }
    }

    #[test]
    fn unpayable_currencies_are_refused() {
        for code in ["", "eur", "EURO", "ZZZ", "XAU", "XXX"] {
            assert!(currency("currency", code).is_err(), "{code}");
        }
        let failure = minor("price", &wire("eur", 1, 0)).unwrap_err();
        assert_eq!(failure.violations()[0].field, "price.currency_code");
    }

    #[test]
    fn a_request_id_is_a_uuid_and_not_nil() {
        assert!(request_id("6f1c9a52-31c1-4a2b-9a0e-7f0d4f4f9a11").is_ok());
        for wrong in ["", "17", "00000000-0000-0000-0000-000000000000"] {
            let failure = request_id(wrong).unwrap_err();
            assert_eq!(failure.reason(), Reason::RequestIdInvalid);
            assert_eq!(failure.violations()[0].field, "request_id");
        }
        let failure = uuid("sale_id", "x", Reason::SaleNotFound).unwrap_err();
        assert_eq!(failure.reason(), Reason::SaleNotFound);
    }

    #[test]
    fn text_is_printable_and_counted_in_chars() {
        assert_eq!(printable("name", "Größe M", 7).unwrap(), "Größe M");
        for wrong in ["", "Größe XL", "a\nb", "a\u{7f}"] {
            assert!(printable("name", wrong, 7).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn times_survive_the_wire_also_before_1970() {
        for ms in [0, 1, 999, 1_795_000_000_123, -1, -1_001] {
            let on_the_wire = timestamp_ms(ms);
            assert!((0..1_000_000_000).contains(&on_the_wire.nanos));
            let time = datetime("at", &on_the_wire).unwrap();
            assert_eq!(time.unix_timestamp_nanos(), i128::from(ms) * 1_000_000);
            assert_eq!(timestamp(time), on_the_wire);
        }
        for wrong in [
            prost_types::Timestamp { seconds: 0, nanos: -1 },
            prost_types::Timestamp { seconds: 0, nanos: 1_000_000_000 },
            prost_types::Timestamp { seconds: i64::MAX, nanos: 0 },
            prost_types::Timestamp { seconds: -99_999_999_999, nanos: 0 },
        ] {
            assert!(datetime("at", &wrong).is_err(), "{wrong:?}");
        }
        let length = Duration::from_millis(90_500);
        assert_eq!(std_duration("ttl", &duration(length)).unwrap(), length);
        let negative = prost_types::Duration { seconds: 0, nanos: -1 };
        assert!(std_duration("ttl", &negative).is_err());
    }
}
