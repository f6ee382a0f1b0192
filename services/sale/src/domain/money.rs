//! Prices as exports write them.

use iso_currency::Currency;

/// Why a text is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceProblem {
    /// Not digits with at most one point between them.
    NotANumber,
    /// Below zero.
    Negative,
    /// More decimals than the currency has.
    TooManyDecimals {
        /// What the text has.
        has: usize,
        /// What the currency has.
        allowed: usize,
    },
    /// More minor units than 64 bits hold.
    TooLarge,
}

/// Parses a plain decimal such as `19.90` into minor units of `currency`, exactly or not at all.
/// Without a currency (which is reported as a problem of its own) only the form is checked.
///
/// # Errors
/// When it is no such decimal, or has more decimals than the currency, even if they are zero: a
/// file that writes cents is not in yen.
pub fn price(text: &str, currency: Option<Currency>) -> Result<i64, PriceProblem> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (units, decimals) = digits.split_once('.').map_or((digits, None), |(u, d)| (u, Some(d)));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(units) || !decimals.is_none_or(is_digits) {
        return Err(PriceProblem::NotANumber);
    }
    if negative {
        return Err(PriceProblem::Negative);
    }
    let decimals = decimals.unwrap_or("");
    let allowed = currency.and_then(Currency::exponent).map_or(decimals.len(), usize::from);
    if decimals.len() > allowed {
        return Err(PriceProblem::TooManyDecimals { has: decimals.len(), allowed });
    }
    format!("{units}{decimals:0<allowed$}").parse().map_err(|_| PriceProblem::TooLarge)
}

/// The minor units that a price in this currency must be a multiple of, because cards are not
/// charged in smaller steps: whole ariary, and two of three decimals (docs.stripe.com/currencies,
/// "Special cases" and "Three-decimal currencies").
pub fn charge_step(currency: Currency) -> i64 {
    match currency.code() {
        "MGA" => 100,
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => 10,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_price_is_exact_in_its_currency() {
        for (text, currency, minor) in [
            ("19.90", Currency::EUR, 1_990),
            ("19.9", Currency::EUR, 1_990),
            ("50", Currency::USD, 5_000),
            ("0.01", Currency::USD, 1),
            ("1500", Currency::JPY, 1_500),
            ("1.5", Currency::KWD, 1_500),
            ("007.50", Currency::EUR, 750),
        ] {
            assert_eq!(price(text, Some(currency)), Ok(minor), "{text}");
        }
    }

    #[test]
    fn only_plain_decimals_are_prices() {
        for text in
            ["", "-", ".", "5.", ".5", "1,50", "1.234,50", "€5", "5 EUR", "1e3", "+5", "٣", "--1"]
        {
            assert_eq!(price(text, Some(Currency::EUR)), Err(PriceProblem::NotANumber), "{text}");
        }
        assert_eq!(price("-1.00", Some(Currency::EUR)), Err(PriceProblem::Negative));
        assert_eq!(
            price("19.00", Some(Currency::JPY)),
            Err(PriceProblem::TooManyDecimals { has: 2, allowed: 0 })
        );
        assert_eq!(price(&"9".repeat(30), Some(Currency::EUR)), Err(PriceProblem::TooLarge));
    }

    proptest! {
        #[test]
        fn any_amount_of_cents_is_read_back(minor in 0_i64..=1_000_000_000) {
            let text = format!("{}.{:02}", minor / 100, minor % 100);
            prop_assert_eq!(price(&text, Some(Currency::EUR)), Ok(minor));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = price(&text, Some(Currency::EUR));
        }
    }
}
