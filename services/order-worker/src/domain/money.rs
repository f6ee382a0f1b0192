//! Amounts of money in mails.

use iso_currency::Currency;

/// `minor` units of `currency` with as many decimals as the currency has, such as `12.50 EUR`,
/// `1250 JPY`.
pub(crate) fn format(minor: i64, currency: &str) -> String {
    let decimals = Currency::from_code(currency).and_then(|known| known.exponent()).unwrap_or(0);
    let decimals = usize::from(decimals);
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    let sign = if minor < 0 { "-" } else { "" };
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} {currency}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn amounts_have_their_currencys_decimals() {
        assert_eq!(super::format(1_250, "EUR"), "12.50 EUR");
        assert_eq!(super::format(5, "USD"), "0.05 USD");
        assert_eq!(super::format(0, "USD"), "0.00 USD");
        assert_eq!(super::format(1_250, "JPY"), "1250 JPY");
        assert_eq!(super::format(1_250, "KWD"), "1.250 KWD");
        assert_eq!(super::format(-199, "EUR"), "-1.99 EUR");
        assert_eq!(super::format(i64::MIN, "EUR"), "-92233720368547758.08 EUR");
    }
}
