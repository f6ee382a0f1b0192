//! What the payment provider can charge, by currency: the one table of it.
//!
//! Source: docs.stripe.com/currencies as it stood in 2026, by its sections "Supported presentment
//! currencies", "Zero-decimal currencies", "Three-decimal currencies", "Special cases" and
//! "Minimum and maximum charge amounts". The provider counts in a smallest unit of its own, which
//! is not always the minor unit of ISO 4217; everything here is in minor units unless it says
//! otherwise.

/// The currencies that the provider charges cards in, by code. Those it still lists that ISO 4217
/// has withdrawn are left out (ANG, BGN, STD): their countries pay in others now.
const CURRENCIES: [&str; 136] = [
    "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BHD",
    "BIF", "BMD", "BND", "BOB", "BRL", "BSD", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CLP",
    "CNY", "COP", "CRC", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ETB", "EUR", "FJD",
    "FKP", "GBP", "GEL", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR",
    "ILS", "INR", "ISK", "JMD", "JOD", "JPY", "KES", "KGS", "KHR", "KMF", "KRW", "KWD", "KYD",
    "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP",
    "MUR", "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR",
    "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR",
    "SBD", "SCR", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SZL", "THB", "TJS", "TND", "TOP",
    "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VND", "VUV", "WST", "XAF",
    "XCD", "XOF", "XPF", "YER", "ZAR", "ZMW",
];

/// What a charge of a currency has to be like. In minor units of ISO 4217.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chargeable {
    /// Every amount is a multiple of it.
    pub step_minor: i64,
    /// The smallest amount. Where the provider names none for the currency, it asks for as much as
    /// the smallest of the account's own currency is worth, which only it can say: then it is one
    /// step.
    pub min_minor: i64,
    /// The largest amount that every card and every other means of payment may be charged.
    pub max_minor: i64,
}

/// What can be charged in a currency, by its code of ISO 4217; `None` if nothing can.
pub fn chargeable(code: &str) -> Option<Chargeable> {
    CURRENCIES.binary_search(&code).ok()?;
    let unit = Unit::of(code);
    let (step_minor, most) = (unit.step_minor(), unit.to_minor(max_amount(code)));
    Some(Chargeable {
        step_minor,
        min_minor: min_minor(code).unwrap_or(step_minor),
        max_minor: most - most % step_minor,
    })
}

/// The amount cannot be charged to the last unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the provider cannot charge this amount exactly: {0}")]
pub struct Inexpressible(&'static str);

/// `minor` units of a currency in the provider's smallest unit.
///
/// # Errors
/// When the provider's unit is coarser than the amount.
pub fn provider_amount(minor: i64, code: &str) -> Result<i64, Inexpressible> {
    let whole =
        |step: i64, why| if minor % step == 0 { Ok(minor) } else { Err(Inexpressible(why)) };
    match Unit::of(code) {
        Unit::Minor => Ok(minor),
        Unit::TenMinor => whole(10, "the last of the three decimals must be 0"),
        Unit::Hundredth => minor.checked_mul(100).ok_or(Inexpressible("it is too large")),
        Unit::Hundredfold => whole(100, "it is charged in whole units").map(|amount| amount / 100),
    }
}

/// The provider's amount of a currency in minor units. One that does not divide, which is none that
/// we ask for, is rounded down.
pub fn minor_amount(amount: i64, code: &str) -> i64 {
    Unit::of(code).to_minor(amount)
}

/// The provider's smallest unit of a currency, seen from its minor unit.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// The same.
    Minor,
    /// The same, but charged by tens: of three decimals, the last must be 0.
    TenMinor,
    /// A hundredth of it: ISO 4217 has no decimals, and the provider has kept the two that there
    /// once were, which must be 00.
    Hundredth,
    /// A hundred of it: two decimals in ISO 4217, none at the provider.
    Hundredfold,
}

impl Unit {
    fn of(code: &str) -> Self {
        match code {
            "BHD" | "JOD" | "KWD" | "OMR" | "TND" => Self::TenMinor,
            "ISK" | "UGX" => Self::Hundredth,
            "MGA" => Self::Hundredfold,
            _ => Self::Minor,
        }
    }

    const fn step_minor(self) -> i64 {
        match self {
            Self::Minor | Self::Hundredth => 1,
            Self::TenMinor => 10,
            Self::Hundredfold => 100,
        }
    }

    /// This many of the provider's units in minor units, rounded down.
    const fn to_minor(self, amount: i64) -> i64 {
        match self {
            Self::Minor | Self::TenMinor => amount,
            Self::Hundredth => amount / 100,
            Self::Hundredfold => amount.saturating_mul(100),
        }
    }
}

/// "Minimum charge amount by currency".
fn min_minor(code: &str) -> Option<i64> {
    Some(match code {
        "GBP" => 30,
        "ARS" | "AUD" | "BRL" | "CAD" | "CHF" | "COP" | "EUR" | "IDR" | "ILS" | "INR" | "NZD"
        | "PHP" | "RUB" | "SGD" | "USD" | "ZAR" => 50,
        // Without decimals.
        "JPY" | "KRW" => 50,
        "AED" | "MYR" | "PLN" | "RON" => 200,
        "DKK" => 250,
        "NOK" | "SEK" => 300,
        "HKD" => 400,
        "MXN" | "THB" => 1_000,
        "CZK" => 1_500,
        "HUF" => 17_500,
        _ => return None,
    })
}

/// The largest amount, in the provider's units. The reference of PaymentIntents takes eight digits.
/// By "Maximum charge amounts" most cards take twelve, cards of American Express nine, and other
/// means of payment eight, but nine in INR, ten in COP and twelve in IDR. A sale does not know how
/// its buyers will pay, so the least of these counts.
fn max_amount(code: &str) -> i64 {
    match code {
        "COP" | "IDR" | "INR" => 999_999_999,
        _ => 99_999_999,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use iso_currency::Currency;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_currency_is_one_of_iso_4217_with_known_decimals() {
        assert!(CURRENCIES.is_sorted());
        for code in CURRENCIES {
            let currency = Currency::from_code(code).unwrap_or_else(|| panic!("{code}"));
            // What the provider's page says of its decimals, by the unit.
            let decimals = match (code, Unit::of(code)) {
                (_, Unit::TenMinor) => 3,
                (_, Unit::Hundredth) => 0,
                (_, Unit::Hundredfold) => 2,
                (
                    "BIF" | "CLP" | "DJF" | "GNF" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "VND"
                    | "VUV" | "XAF" | "XOF" | "XPF",
                    Unit::Minor,
                ) => 0,
                (_, Unit::Minor) => 2,
            };
            assert_eq!(currency.exponent(), Some(decimals), "{code}");
        }
    }

    #[test]
    fn limits_are_those_of_the_providers_page() {
        for (code, step_minor, min_minor, max_minor) in [
            ("EUR", 1, 50, 99_999_999),
            ("GBP", 1, 30, 99_999_999),
            ("JPY", 1, 50, 99_999_999),
            ("HUF", 1, 17_500, 99_999_999),
            ("INR", 1, 50, 999_999_999),
            ("IDR", 1, 50, 999_999_999),
            ("COP", 1, 50, 999_999_999),
            ("KWD", 10, 10, 99_999_990),
            ("ISK", 1, 1, 999_999),
            ("UGX", 1, 1, 999_999),
            ("MGA", 100, 100, 9_999_999_900),
            ("CNY", 1, 1, 99_999_999),
        ] {
            let expected = Chargeable { step_minor, min_minor, max_minor };
            assert_eq!(chargeable(code), Some(expected), "{code}");
        }
        for code in ["IRR", "KPW", "BGN", "XCG", "XAU", "XXX", "eur", "EURO", ""] {
            assert_eq!(chargeable(code), None, "{code}");
        }
    }

    #[test]
    fn amounts_are_charged_exactly() {
        let cases = [
            (1_999, "EUR", Some(1_999)),
            (500, "JPY", Some(500)),
            (500, "ISK", Some(50_000)),
            (500, "UGX", Some(50_000)),
            (500, "MGA", Some(5)),
            (550, "MGA", None),
            (5_120, "KWD", Some(5_120)),
            (5_124, "KWD", None),
            (i64::MAX, "ISK", None),
        ];
        for (minor, currency, expected) in cases {
            assert_eq!(provider_amount(minor, currency).ok(), expected, "{minor} {currency}");
            if let Some(amount) = expected {
                assert_eq!(minor_amount(amount, currency), minor, "{amount} {currency}");
            }
        }
    }

    fn any_currency() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(CURRENCIES.to_vec())
    }

    proptest! {
        /// Whatever a sale of allowed prices adds up to can be charged, as long as it is not above
        /// the maximum.
        #[test]
        fn sums_of_steps_between_the_limits_are_charged_exactly(
            code in any_currency(),
            part in 0_i64..=1_000,
        ) {
            let Chargeable { step_minor, min_minor, max_minor } = chargeable(code).unwrap();
            prop_assert!(step_minor > 0 && min_minor > 0 && min_minor <= max_minor);
            prop_assert_eq!((min_minor % step_minor, max_minor % step_minor), (0, 0));
            let steps = (max_minor - min_minor) / step_minor;
            let minor = min_minor + steps * part / 1_000 * step_minor;
            let amount = provider_amount(minor, code).unwrap();
            prop_assert!((1..=max_amount(code)).contains(&amount), "{} {}", amount, code);
            prop_assert_eq!(minor_amount(amount, code), minor);
            // One unit of the provider's more than the maximum is refused there.
            prop_assert!(provider_amount(max_minor + step_minor, code).unwrap() > max_amount(code));
        }

        #[test]
        fn what_is_between_two_steps_is_not_charged(code in any_currency(), minor in 1_i64..1_000_000) {
            let step = chargeable(code).unwrap().step_minor;
            prop_assert_eq!(provider_amount(minor, code).is_ok(), minor % step == 0);
        }

        #[test]
        fn no_code_makes_it_panic(code in "\\PC*", amount in any::<i64>()) {
            let _ = (chargeable(&code), provider_amount(amount, &code), minor_amount(amount, &code));
        }
    }
}
