//! The currencies that Stripe charges in, and the amounts it takes in each
//! (docs.stripe.com/currencies).

use crate::errors::ApiError;

/// "The amount value supports up to eight digits" (docs.stripe.com/api/payment_intents/create).
const MAXIMUM: i64 = 99_999_999;

/// Three-letter codes of docs.stripe.com/currencies#presentment-currencies, in lower case, those
/// with three decimals among them.
const SUPPORTED: &[&str] = &[
    "aed", "afn", "all", "amd", "ang", "aoa", "ars", "aud", "awg", "azn", "bam", "bbd", "bdt",
    "bgn", "bhd", "bif", "bmd", "bnd", "bob", "brl", "bsd", "bwp", "byn", "bzd", "cad", "cdf",
    "chf", "clp", "cny", "cop", "crc", "cve", "czk", "djf", "dkk", "dop", "dzd", "egp", "etb",
    "eur", "fjd", "fkp", "gbp", "gel", "gip", "gmd", "gnf", "gtq", "gyd", "hkd", "hnl", "htg",
    "huf", "idr", "ils", "inr", "isk", "jmd", "jod", "jpy", "kes", "kgs", "khr", "kmf", "krw",
    "kwd", "kyd", "kzt", "lak", "lbp", "lkr", "lrd", "lsl", "mad", "mdl", "mga", "mkd", "mmk",
    "mnt", "mop", "mur", "mvr", "mwk", "mxn", "myr", "mzn", "nad", "ngn", "nio", "nok", "npr",
    "nzd", "omr", "pab", "pen", "pgk", "php", "pkr", "pln", "pyg", "qar", "ron", "rsd", "rub",
    "rwf", "sar", "sbd", "scr", "sek", "sgd", "shp", "sle", "sos", "srd", "std", "szl", "thb",
    "tjs", "tnd", "top", "try", "ttd", "twd", "tzs", "uah", "ugx", "usd", "uyu", "uzs", "vnd",
    "vuv", "wst", "xaf", "xcd", "xcg", "xof", "xpf", "yer", "zar", "zmw",
];

/// docs.stripe.com/currencies#minimum-and-maximum-charge-amounts; other currencies are converted
/// first there, and take any positive amount here. Smallest unit.
const MINIMUM: &[(&str, i64)] = &[
    ("aed", 200),
    ("aud", 50),
    ("bgn", 100),
    ("brl", 50),
    ("cad", 50),
    ("chf", 50),
    ("czk", 1500),
    ("dkk", 250),
    ("eur", 50),
    ("gbp", 30),
    ("hkd", 400),
    ("huf", 17500),
    ("inr", 50),
    ("jpy", 50),
    ("mxn", 1000),
    ("myr", 200),
    ("nok", 300),
    ("nzd", 50),
    ("pln", 200),
    ("ron", 200),
    ("sek", 300),
    ("sgd", 50),
    ("thb", 1000),
    ("usd", 50),
];

/// The number that amounts in a currency have to be a multiple of.
fn step(currency: &str) -> i64 {
    match currency {
        // docs.stripe.com/currencies#three-decimal: "the least-significant (last) digit to be 0".
        "bhd" | "jod" | "kwd" | "omr" | "tnd" => 10,
        // docs.stripe.com/currencies#special-cases: written with two decimals that are 0.
        "isk" | "ugx" => 100,
        _ => 1,
    }
}

/// Checks that it is a currency of Stripe's, in lower case.
///
/// # Errors
/// The 400 that names `currency`.
pub fn check_currency(currency: &str) -> Result<(), ApiError> {
    if SUPPORTED.contains(&currency) {
        return Ok(());
    }
    let message = format!("Invalid currency: {currency}. See https://docs.stripe.com/currencies.");
    Err(ApiError::invalid(message, "parameter_invalid_string", "currency"))
}

/// Checks an amount that is to be refunded: it may be below the minimum of a charge.
///
/// # Errors
/// The 400 that names `amount`.
pub fn check_step(amount: i64, currency: &str) -> Result<(), ApiError> {
    let step = step(currency);
    if amount % step == 0 {
        return Ok(());
    }
    let message =
        format!("Invalid amount: {amount}. In {currency} it must be a multiple of {step}.");
    Err(ApiError::invalid(message, "parameter_invalid_integer", "amount"))
}

/// Checks an amount that is to be charged.
///
/// # Errors
/// The 400 that names `amount`.
pub fn check_charge(amount: i64, currency: &str) -> Result<(), ApiError> {
    let minimum = MINIMUM.iter().find(|(code, _)| *code == currency).map_or(1, |(_, min)| *min);
    if amount < minimum {
        let message = format!("Amount must be at least {minimum} {currency} (smallest unit).");
        return Err(ApiError::invalid(message, "amount_too_small", "amount"));
    }
    if amount > MAXIMUM {
        let message = format!("Amount must be no more than {MAXIMUM} (smallest unit).");
        return Err(ApiError::invalid(message, "amount_too_large", "amount"));
    }
    check_step(amount, currency)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn amounts_obey_the_rules_of_their_currency() {
        // (currency, taken, refused)
        let rows: &[(&str, &[i64], &[i64])] = &[
            ("usd", &[50, 51, 99_999_999], &[49, 100_000_000]),
            ("jpy", &[50], &[49]),
            ("huf", &[17_500], &[17_499]),
            ("bgn", &[100], &[99]),
            ("thb", &[1_000], &[999]),
            ("kwd", &[10, 5_120], &[5, 5_124]),
            ("isk", &[100, 500], &[50, 550]),
            ("ugx", &[100], &[150]),
            ("krw", &[1, 7], &[]),
        ];
        for (currency, taken, refused) in rows {
            check_currency(currency).unwrap();
            for amount in *taken {
                check_charge(*amount, currency).unwrap();
            }
            for amount in *refused {
                assert!(check_charge(*amount, currency).is_err(), "{amount} {currency}");
            }
        }
        for unknown in ["zzq", "btc", "USD", ""] {
            assert!(check_currency(unknown).is_err(), "{unknown:?}");
        }
        assert!(MINIMUM.iter().all(|(currency, _)| SUPPORTED.contains(currency)));
    }
}
