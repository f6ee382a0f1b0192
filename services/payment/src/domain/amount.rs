//! Amounts in the provider's smallest unit, which is not always ISO 4217's minor unit.
//!
//! Source: docs.stripe.com/currencies ("Zero-decimal currencies", "Three-decimal currencies",
//! "Special cases").

/// The amount cannot be charged to the last unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the provider cannot charge this amount exactly: {0}")]
pub struct Inexpressible(&'static str);

/// `minor` units of the ISO 4217 `currency` in the provider's smallest unit.
///
/// # Errors
/// When the provider's unit is coarser than the amount.
pub fn provider_amount(minor: i64, currency: &str) -> Result<i64, Inexpressible> {
    match currency {
        // ISO 4217 has no decimals for these; the provider keeps two, for backward compatibility.
        "ISK" | "UGX" => minor.checked_mul(100).ok_or(Inexpressible("it is too large")),
        // Two decimals in ISO 4217, none at the provider.
        "MGA" => whole(minor, 100, "MGA is charged in whole ariary").map(|amount| amount / 100),
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => {
            whole(minor, 10, "the last of the three decimals must be 0")
        }
        _ => Ok(minor),
    }
}

/// The provider's `amount` of a `currency` in minor units of ISO 4217. One that does not divide,
/// which is none that we ask for, is rounded down.
pub fn minor_amount(amount: i64, currency: &str) -> i64 {
    match currency {
        "ISK" | "UGX" => amount / 100,
        "MGA" => amount.saturating_mul(100),
        _ => amount,
    }
}

fn whole(minor: i64, step: i64, why: &'static str) -> Result<i64, Inexpressible> {
    if minor % step == 0 { Ok(minor) } else { Err(Inexpressible(why)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

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
}
