//! Prices: as exports write them, and whether what they add up to can be charged.

use std::cmp::Ordering;

use flashsale_record::{MAX_LINE_UNITS, chargeable};
use iso_currency::Currency;

use crate::problems::shown;

/// What separates the decimals of a price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DecimalMark {
    /// `19.90`
    #[default]
    Point,
    /// `19,90`
    Comma,
}

/// Why a text is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PriceProblem {
    /// Not digits with at most one decimal mark between them.
    NotANumber,
    /// Below zero.
    Negative,
    /// More decimals than the currency has.
    TooManyDecimals { has: usize, allowed: usize },
    /// More minor units than 64 bits hold.
    TooLarge,
}

impl PriceProblem {
    /// What is wrong with `text`, and what would be right.
    pub(crate) fn explain(
        self,
        text: &str,
        currency: Option<Currency>,
        mark: DecimalMark,
    ) -> (String, String) {
        let cell = shown(text);
        match self {
            Self::NotANumber if mark == DecimalMark::Comma => {
                let remedy = "with --decimal-comma a price is written such as 19,90, without currency or separators of thousands";
                (format!("is {cell}"), remedy.to_owned())
            }
            Self::NotANumber if price(text, currency, DecimalMark::Comma).is_ok() => {
                let remedy = "write it with a point, or pass --decimal-comma if the comma is one of decimals";
                (format!("is {cell}"), remedy.to_owned())
            }
            Self::NotANumber => {
                let remedy = "write a plain decimal such as 19.90, without currency or separators of thousands";
                (format!("is {cell}"), remedy.to_owned())
            }
            Self::Negative => (format!("is {cell}"), "a price is above 0".to_owned()),
            Self::TooManyDecimals { has, allowed } => {
                let code = currency.map_or("the currency", |currency| currency.code());
                let what = format!("is {cell} with {has} decimals, but {code} has {allowed}");
                (what, "correct the price or --currency".to_owned())
            }
            Self::TooLarge => {
                (format!("is {cell}, more than any price may be"), "lower it".to_owned())
            }
        }
    }
}

/// Parses a plain decimal such as `19.90` into minor units of `currency`, exactly or not at all.
/// Without a currency only the form is checked, and the result is in units of the text's last
/// decimal.
///
/// # Errors
/// When it is no such decimal, or has more decimals than the currency, even if they are zero: a
/// file that writes cents is not in yen. Only four decimals of which the last two are zero, as
/// databases of shops keep them, are cents.
pub(crate) fn price(
    text: &str,
    currency: Option<Currency>,
    mark: DecimalMark,
) -> Result<i64, PriceProblem> {
    let (units, mut decimals) = parts(text, mark)?;
    let allowed = currency.and_then(Currency::exponent).map_or(decimals.len(), usize::from);
    if allowed == 2 && decimals.len() == 4 {
        decimals = decimals.strip_suffix("00").unwrap_or(decimals);
    }
    if decimals.len() > allowed {
        return Err(PriceProblem::TooManyDecimals { has: decimals.len(), allowed });
    }
    format!("{units}{decimals:0<allowed$}").parse().map_err(|_| PriceProblem::TooLarge)
}

/// The digits before and behind the mark.
fn parts(text: &str, mark: DecimalMark) -> Result<(&str, &str), PriceProblem> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mark = match mark {
        DecimalMark::Point => '.',
        DecimalMark::Comma => ',',
    };
    let (units, decimals) = digits.split_once(mark).map_or((digits, None), |(u, d)| (u, Some(d)));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(units) || !decimals.is_none_or(is_digits) {
        return Err(PriceProblem::NotANumber);
    }
    if negative { Err(PriceProblem::Negative) } else { Ok((units, decimals.unwrap_or(""))) }
}

/// Which of two prices is higher, in whatever currency; `None` if one is none.
pub(crate) fn compare(one: &str, other: &str, mark: DecimalMark) -> Option<Ordering> {
    let (one, other) = (parts(one, mark).ok()?, parts(other, mark).ok()?);
    let units = |(units, _): (&str, &str)| units.trim_start_matches('0').len();
    let key = |(units, decimals): (&str, &str)| {
        (units.trim_start_matches('0').to_owned(), decimals.trim_end_matches('0').to_owned())
    };
    Some(units(one).cmp(&units(other)).then_with(|| key(one).cmp(&key(other))))
}

/// Why an order of one unit at this price could not be charged, and what would be right; `None` if
/// it could. In a currency in which nothing is charged every price passes: that is a problem of the
/// currency.
pub fn uncharged_price(minor: i64, currency: Currency) -> Option<(String, String)> {
    let limits = chargeable(currency.code())?;
    let price = amount(minor, currency);
    if minor <= 0 {
        Some((format!("is {price}"), "only what has a price above 0 can be sold".to_owned()))
    } else if minor < limits.min_minor {
        let least = amount(limits.min_minor, currency);
        let what = format!("is {price}, but cards are charged at least {least}");
        Some((what, "raise the price".to_owned()))
    } else if minor > limits.max_minor {
        let most = amount(limits.max_minor, currency);
        let what = format!("is {price}, but cards are charged at most {most} an order");
        Some((what, "lower the price".to_owned()))
    } else if minor % limits.step_minor != 0 {
        let (code, step) = (currency.code(), limits.step_minor);
        let what =
            format!("is {price}, but in {code} cards are charged in steps of {step} minor units");
        Some((what, "round it".to_owned()))
    } else {
        None
    }
}

/// An order that one buyer could place and that could not be charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnchargedOrder {
    /// What such an order is, and what could be charged.
    pub what: String,
    /// The highest limit per buyer with which all orders of the item can be charged.
    pub most_units: i64,
}

/// The largest order of an item alone, if it could not be charged. `unit_minor` is a price that
/// [`uncharged_price`] has passed; `per_buyer_limit` is 0 for none. What several items cost
/// together depends on the order, and is refused when it is placed.
pub fn uncharged_order(
    unit_minor: i64,
    quantity: i64,
    per_buyer_limit: i64,
    currency: Currency,
) -> Option<UnchargedOrder> {
    let max_minor = chargeable(currency.code())?.max_minor;
    let limit = if per_buyer_limit > 0 { per_buyer_limit } else { MAX_LINE_UNITS };
    let units = limit.min(quantity).min(MAX_LINE_UNITS);
    let total = units.saturating_mul(unit_minor);
    if total <= max_minor {
        return None;
    }
    let what = format!(
        "a buyer could order {units} units for {}, but cards are charged at most {} an order",
        amount(total, currency),
        amount(max_minor, currency)
    );
    Some(UnchargedOrder { what, most_units: max_minor.checked_div(unit_minor).unwrap_or(1) })
}

/// An amount for display, such as `19.90 EUR`.
pub fn amount(minor: i64, currency: Currency) -> String {
    format!("{} {}", decimal(minor, currency), currency.code())
}

/// An amount as a decimal with all decimals of its currency, such as `19.90`.
pub fn decimal(minor: i64, currency: Currency) -> String {
    let decimals = currency.exponent().map_or(0, usize::from);
    let sign = if minor < 0 { "-" } else { "" };
    let digits = format!("{:0>1$}", minor.unsigned_abs(), decimals + 1);
    let (units, fraction) = digits.split_at(digits.len() - decimals);
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{units}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    const POINT: DecimalMark = DecimalMark::Point;

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
            ("19.9000", Currency::EUR, 1_990),
        ] {
            assert_eq!(price(text, Some(currency), POINT), Ok(minor), "{text}");
            let comma = text.replace('.', ",");
            assert_eq!(price(&comma, Some(currency), DecimalMark::Comma), Ok(minor), "{comma}");
        }
    }

    #[test]
    fn only_plain_decimals_are_prices() {
        for text in
            ["", "-", ".", "5.", ".5", "1,50", "1.234,50", "€5", "5 EUR", "1e3", "+5", "٣", "--1"]
        {
            let found = price(text, Some(Currency::EUR), POINT);
            assert_eq!(found, Err(PriceProblem::NotANumber), "{text}");
        }
        for text in ["1.50", "1.234,50", "1,234.50"] {
            let found = price(text, Some(Currency::EUR), DecimalMark::Comma);
            assert_eq!(found, Err(PriceProblem::NotANumber), "{text}");
        }
        let problem = |text, currency| price(text, Some(currency), POINT).unwrap_err();
        assert_eq!(problem("-1.00", Currency::EUR), PriceProblem::Negative);
        assert_eq!(
            problem("19.00", Currency::JPY),
            PriceProblem::TooManyDecimals { has: 2, allowed: 0 }
        );
        assert_eq!(
            problem("1.500", Currency::EUR),
            PriceProblem::TooManyDecimals { has: 3, allowed: 2 }
        );
        assert_eq!(problem(&"9".repeat(30), Currency::EUR), PriceProblem::TooLarge);
    }

    #[test]
    fn a_decimal_comma_is_named_as_the_remedy() {
        let remedy = |text| PriceProblem::NotANumber.explain(text, Some(Currency::EUR), POINT).1;
        assert!(remedy("25,00").contains("--decimal-comma"));
        assert!(!remedy("€25").contains("--decimal-comma"));
    }

    #[test]
    fn prices_are_compared_without_a_currency() {
        for (one, other, order) in [
            ("10", "9.99", Ordering::Greater),
            ("9.9", "9.90", Ordering::Equal),
            ("09.5", "9.45", Ordering::Greater),
            ("0.5", "0.51", Ordering::Less),
            ("0", "0.00", Ordering::Equal),
        ] {
            assert_eq!(compare(one, other, POINT), Some(order), "{one} {other}");
        }
        assert_eq!(compare("", "1", POINT), None);
    }

    #[test]
    fn amounts_have_their_currencys_decimals() {
        for (minor, currency, text) in [
            (1_990, Currency::EUR, "19.90 EUR"),
            (5, Currency::EUR, "0.05 EUR"),
            (0, Currency::EUR, "0.00 EUR"),
            (-305, Currency::EUR, "-3.05 EUR"),
            (1_200, Currency::JPY, "1200 JPY"),
            (1_250, Currency::KWD, "1.250 KWD"),
        ] {
            assert_eq!(amount(minor, currency), text);
        }
    }

    #[test]
    fn a_price_is_what_an_order_of_one_is_charged() {
        for (minor, currency, problem) in [
            (50, Currency::EUR, None),
            (49, Currency::EUR, Some("at least 0.50 EUR")),
            (0, Currency::EUR, Some("is 0.00 EUR")),
            (99_999_999, Currency::EUR, None),
            (100_000_000, Currency::EUR, Some("at most 999999.99 EUR an order")),
            (-5, Currency::EUR, Some("only what has a price")),
            (100_000_000, Currency::IDR, None),
            (1, Currency::ISK, None),
            (17_499, Currency::HUF, Some("at least 175.00 HUF")),
            (150, Currency::MGA, Some("in MGA cards are charged in steps of 100 minor units")),
            (1_000_000, Currency::ISK, Some("at most 999999 ISK")),
            (49, Currency::JPY, Some("at least 50 JPY")),
            (1_255, Currency::KWD, Some("in KWD cards are charged in steps of 10 minor units")),
            (1, Currency::IRR, None),
        ] {
            let found = uncharged_price(minor, currency);
            let fits = match (&found, problem) {
                (Some((what, remedy)), Some(problem)) => {
                    format!("{what}; {remedy}").contains(problem)
                }
                (found, problem) => found.is_none() && problem.is_none(),
            };
            assert!(fits, "{minor} {currency:?}: {found:?}");
        }
    }

    #[test]
    fn the_largest_order_is_what_line_limit_and_stock_allow() {
        let most = |price, quantity, limit| {
            let found = uncharged_order(price, quantity, limit, Currency::EUR);
            found.map(|order| order.most_units)
        };
        // A line has 10,000 units at most.
        assert_eq!(most(9_999, 10_000_000, 0), None);
        assert_eq!(most(10_000, 10_000_000, 0), Some(9_999));
        assert_eq!(most(10_000, 10_000_000, 9_999), None);
        assert_eq!(most(10_000, 10_000_000, 10_000_000), Some(9_999));
        assert_eq!(most(10_000, 9_999, 0), None);
        assert_eq!(most(99_999_999, 2, 0), Some(1));
        assert_eq!(most(99_999_999, 1, 0), None);
        assert_eq!(most(99_999_999, 2, 1), None);
        let what = uncharged_order(50_000_000, 3, 2, Currency::EUR).unwrap().what;
        assert!(what.contains("order 2 units for 1000000.00 EUR"), "{what}");
        assert!(what.contains("at most 999999.99 EUR an order"), "{what}");
    }

    proptest! {
        #[test]
        fn any_amount_of_cents_is_read_back(minor in 0_i64..=1_000_000_000) {
            let text = format!("{}.{:02}", minor / 100, minor % 100);
            prop_assert_eq!(price(&text, Some(Currency::EUR), POINT), Ok(minor));
        }

        #[test]
        fn prices_compare_like_their_amounts(one in 0_i64..100_000, other in 0_i64..100_000) {
            let text = |minor: i64| format!("{}.{:02}", minor / 100, minor % 100);
            prop_assert_eq!(compare(&text(one), &text(other), POINT), Some(one.cmp(&other)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = price(&text, Some(Currency::EUR), POINT);
            let _ = PriceProblem::NotANumber.explain(&text, None, POINT);
        }
    }
}
