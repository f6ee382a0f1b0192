//! Classifies an answer by its status, its headers and its body, which may be another server's (a
//! proxy's HTML, for example).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use stripe_shared::{ApiErrors, ApiErrorsType, PaymentIntent};

use super::error::{ProviderError, Refusal};
use crate::domain::Intent;

/// The longest `Retry-After` that is followed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// The body of a success, or what went wrong.
pub(super) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Bytes, ProviderError> {
    if status.is_success() {
        return Ok(body);
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let request_id = text("request-id").unwrap_or_default().to_owned();
    let replayed = text("idempotent-replayed") == Some("true");
    let retry_after = text(header::RETRY_AFTER.as_str())
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
    // The library's own reader; serde's for these types would cost minutes of every build.
    let error = std::str::from_utf8(&body)
        .ok()
        .and_then(|body| miniserde::json::from_str::<stripe_shared::Error>(body).ok())
        .map(|error| error.error);
    let unknown = |what: String| ProviderError::Unknown {
        what,
        retry_after,
        replayed,
        request_id: request_id.clone(),
    };
    Err(match status.as_u16() {
        429 => ProviderError::RateLimited { retry_after, request_id },
        409 => ProviderError::InFlight { request_id },
        401 | 403 => ProviderError::Misused {
            what: "the secret key is not accepted",
            status: status.as_u16(),
            request_id,
        },
        code @ (400 | 402 | 404) => match error {
            None => unknown(format!("status {code} without Stripe's own error")),
            Some(error) if error.type_ == ApiErrorsType::IdempotencyError => {
                ProviderError::Misused {
                    what: "a key came again with other parameters",
                    status: code,
                    request_id,
                }
            }
            Some(error) => {
                let refusal = Box::new(refusal(&error, request_id));
                if code == 402 {
                    ProviderError::Declined(refusal)
                } else {
                    ProviderError::Refused(refusal)
                }
            }
        },
        // `Stripe-Should-Retry` is not needed: in any case the intent is retrieved before anything
        // is repeated.
        code => unknown(format!("status {code}")),
    })
}

fn refusal(error: &ApiErrors, request_id: String) -> Refusal {
    Refusal {
        code: reason(error).unwrap_or_else(|| error.type_.as_str().to_owned()),
        intent: error.payment_intent.as_ref().map(intent),
        request_id,
    }
}

fn reason(error: &ApiErrors) -> Option<String> {
    error.decline_code.clone().or_else(|| error.code.as_ref().map(|code| code.as_str().to_owned()))
}

/// Stripe's intent in our words.
pub(super) fn intent(intent: &PaymentIntent) -> Intent {
    Intent {
        id: intent.id.as_str().to_owned(),
        status: intent.status.as_str().into(),
        received: intent.amount_received,
        decline: intent.last_payment_error.as_deref().and_then(reason),
        order_id: intent.metadata.get("order_id").and_then(|order| order.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn judged(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> ProviderError {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        judge(StatusCode::from_u16(status).unwrap(), &map, Bytes::from(body.to_owned()))
            .unwrap_err()
    }

    #[test]
    fn a_proxys_answer_leaves_the_outcome_unknown() {
        for (status, body) in [(502, "<html>Bad Gateway</html>"), (400, "<html>"), (503, "")] {
            let error = judged(status, &[("retry-after", "7")], body);
            let ProviderError::Unknown { what, retry_after, .. } = &error else {
                panic!("{error:?}")
            };
            assert!(what.contains(&status.to_string()));
            assert_eq!(*retry_after, Some(Duration::from_secs(7)));
            assert!(error.counts_against_provider());
        }
    }

    #[test]
    fn a_refused_card_is_no_failure() {
        let body =
            r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"lost_card"}}"#;
        let error = judged(402, &[("request-id", "req_1")], body);
        let ProviderError::Declined(refusal) = &error else { panic!("{error:?}") };
        assert_eq!((refusal.code.as_str(), refusal.request_id.as_str()), ("lost_card", "req_1"));
        assert!(!error.counts_against_provider());
    }

    #[test]
    fn each_status_is_classified() {
        let invalid = r#"{"error":{"type":"invalid_request_error","code":"resource_missing"}}"#;
        let key = r#"{"error":{"type":"idempotency_error"}}"#;
        let api = r#"{"error":{"type":"api_error"}}"#;
        for (status, body, kind, counts) in [
            (400, invalid, "refused", false),
            (404, invalid, "refused", false),
            (400, key, "misused", false),
            (401, invalid, "misused", false),
            (403, invalid, "misused", false),
            (409, key, "in_flight", false),
            (429, invalid, "rate_limited", false),
            (424, api, "unknown", true),
            (500, api, "unknown", true),
            (302, "", "unknown", true),
        ] {
            let error = judged(status, &[], body);
            assert_eq!((error.kind(), error.counts_against_provider()), (kind, counts), "{status}");
        }
    }

    #[test]
    fn a_stored_answer_is_recognised() {
        let api = r#"{"error":{"type":"api_error"}}"#;
        let error = judged(500, &[("idempotent-replayed", "true")], api);
        assert!(matches!(error, ProviderError::Unknown { replayed: true, .. }));
    }

    #[test]
    fn retry_after_is_bounded() {
        let error = judged(429, &[("retry-after", "86400")], "");
        assert!(matches!(
            error,
            ProviderError::RateLimited { retry_after: Some(LONGEST_RETRY_AFTER), .. }
        ));
    }
}
