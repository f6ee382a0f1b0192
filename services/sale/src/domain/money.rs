//! Prices: whether what they add up to can be charged, and how they are written.

use flashsale_record::{MAX_LINE_UNITS, chargeable};
use iso_currency::Currency;

/// Why an order of one unit at this price could not be charged, and what would be right; `None` if
/// it could. In a currency in which nothing is charged every price passes: that is a problem of the
/// currency.
pub fn uncharged_price(minor: i64, currency: Currency) -> Option<String> {
    let limits = chargeable(currency.code())?;
    if minor <= 0 {
        Some("only what has a price can be sold".to_owned())
    } else if minor < limits.min_minor {
        let least = amount(limits.min_minor, currency);
        Some(format!("cards are charged at least {least}: raise the price"))
    } else if minor > limits.max_minor {
        let most = amount(limits.max_minor, currency);
        Some(format!("cards are charged at most {most} an order: lower the price"))
    } else if minor % limits.step_minor != 0 {
        let (code, step) = (currency.code(), limits.step_minor);
        Some(format!("in {code} cards are charged in steps of {step} minor units: round it"))
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
/// [`uncharged_price`] has passed; `per_buyer_limit` is 0 for none. What several items cost together
/// depends on the order, and is refused when it is placed.
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
    Some(UnchargedOrder { what, most_units: max_minor / unit_minor })
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

    use super::*;

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
            (49, Currency::EUR, Some("at least 0.50 EUR: raise the price")),
            (0, Currency::EUR, Some("only what has a price")),
            (-5, Currency::EUR, Some("only what has a price")),
            (99_999_999, Currency::EUR, None),
            (100_000_000, Currency::EUR, Some("at most 999999.99 EUR an order: lower the price")),
            (100_000_000, Currency::IDR, None),
            (1, Currency::ISK, None),
            (1_000_000, Currency::ISK, Some("at most 999999 ISK")),
            (49, Currency::JPY, Some("at least 50 JPY")),
            (17_499, Currency::HUF, Some("at least 175.00 HUF")),
            (1_255, Currency::KWD, Some("in KWD cards are charged in steps of 10 minor units")),
            (150, Currency::MGA, Some("in MGA cards are charged in steps of 100 minor units")),
            (1, Currency::IRR, None),
        ] {
            let found = uncharged_price(minor, currency);
            let fits = match (&found, problem) {
                (Some(found), Some(problem)) => found.contains(problem),
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
}
