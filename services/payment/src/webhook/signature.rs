//! Verifies that an event is Stripe's (docs.stripe.com/webhooks#verify-manually).
//!
//! `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>…]`: each `v1` is the HMAC-SHA256 of
//! `<t>.<body>` under one of the endpoint's secrets. While a secret is being rolled there are
//! several of both, and one match is enough.

use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// How old, or how far ahead of our clock, an event may be.
const TOLERANCE_S: u64 = 300;
/// Signatures that are looked at; Stripe sends one per active secret.
const MAX_SIGNATURES: usize = 16;

/// Why an event is not taken for Stripe's. For the log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// The header is missing or not of the form.
    #[error("its signature header cannot be read")]
    Malformed,
    /// Too old, or from the future.
    #[error("it was signed at another time")]
    OtherTime,
    /// No signature is of a secret of ours.
    #[error("no signature matches")]
    NoMatch,
}

/// Checks a body against its signature header.
///
/// # Errors
/// Why it is not Stripe's.
pub fn verify(
    header: &str,
    body: &[u8],
    secrets: &[SecretString],
    now_s: i64,
) -> Result<(), Forged> {
    let mut signed_at = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", seconds)) => {
                signed_at = Some(seconds.parse::<i64>().map_err(|_| Forged::Malformed)?);
            }
            Some(("v1", hex)) if signatures.len() < MAX_SIGNATURES => {
                signatures.extend(from_hex(hex));
            }
            // Other schemes (`v0`) are for test events and never to be trusted.
            Some(_) | None => {}
        }
    }
    let signed_at = signed_at.ok_or(Forged::Malformed)?;
    if signatures.is_empty() {
        return Err(Forged::Malformed);
    }
    // The time is checked first: it needs no secret, and says nothing about one.
    if now_s.abs_diff(signed_at) > TOLERANCE_S {
        return Err(Forged::OtherTime);
    }
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .map_err(|_| Forged::NoMatch)?;
        mac.update(signed_at.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        // `verify_slice` takes the same time wherever the difference is.
        if signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok()) {
            return Ok(());
        }
    }
    Err(Forged::NoMatch)
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const NOW: i64 = 1_795_000_000;
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn sign(secret: &str, at: i64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.").as_bytes());
        mac.update(BODY);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn ours(secrets: &[&str]) -> Vec<SecretString> {
        secrets.iter().map(|secret| SecretString::from(*secret)).collect()
    }

    #[test]
    fn an_independent_vector_is_accepted() {
        // printf '1795000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        let hex = include_str!("signature_vector.hex").trim();
        let header = format!("t={NOW},v1={hex}");
        assert_eq!(verify(&header, BODY, &ours(&["whsec_test"]), NOW), Ok(()));
    }

    #[test]
    fn one_matching_signature_is_enough() {
        let (old, new) = (sign("whsec_old", NOW), sign("whsec_new", NOW));
        let header = format!("t={NOW},v1={old},v0={new},v1={new}");
        for secrets in [&["whsec_old"][..], &["whsec_new"], &["whsec_x", "whsec_new"]] {
            assert_eq!(verify(&header, BODY, &ours(secrets), NOW), Ok(()), "{secrets:?}");
        }
    }

    #[test]
    fn any_mismatch_is_refused() {
        let good = sign("whsec", NOW);
        let header = format!("t={NOW},v1={good}");
        assert_eq!(verify(&header, BODY, &ours(&["other"]), NOW), Err(Forged::NoMatch));
        assert_eq!(verify(&header, BODY, &[], NOW), Err(Forged::NoMatch));
        assert_eq!(verify(&header, b"{}", &ours(&["whsec"]), NOW), Err(Forged::NoMatch));
        let test_event = format!("t={NOW},v0={good}");
        assert_eq!(verify(&test_event, BODY, &ours(&["whsec"]), NOW), Err(Forged::Malformed));
        let other_time = format!("t={},v1={good}", NOW + 1);
        assert_eq!(verify(&other_time, BODY, &ours(&["whsec"]), NOW), Err(Forged::NoMatch));
    }

    #[test]
    fn old_and_future_events_are_refused() {
        for (age, expected) in [
            (0, Ok(())),
            (300, Ok(())),
            (-300, Ok(())),
            (301, Err(Forged::OtherTime)),
            (-301, Err(Forged::OtherTime)),
        ] {
            let at = NOW - age;
            let header = format!("t={at},v1={}", sign("whsec", at));
            assert_eq!(verify(&header, BODY, &ours(&["whsec"]), NOW), expected, "{age} s old");
        }
    }

    #[test]
    fn a_malformed_header_is_refused() {
        let good = sign("whsec", NOW);
        for header in [
            String::new(),
            format!("v1={good}"),
            format!("t=,v1={good}"),
            format!("t=x,v1={good}"),
            format!("t={NOW}"),
            format!("t={NOW},v1="),
            format!("t={NOW},v1={}", &good[..62]),
            format!("t={NOW},v1=zz{}", &good[2..]),
            format!("t={},v1={good}", "9".repeat(40)),
        ] {
            assert!(verify(&header, BODY, &ours(&["whsec"]), NOW).is_err(), "{header}");
        }
    }
}
