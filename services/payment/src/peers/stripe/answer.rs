//! What Stripe's answers mean: one table of the errors, and the objects of a success.
//!
//! A body may be another server's (a proxy's HTML, for example). A success that cannot be read is
//! an error like a lost answer: it happened, and we do not know what. Sources:
//! docs.stripe.com/api/errors, /error-codes, /error-low-level and /rate-limits.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::{
    call::{Endpoint, Object},
    error::{ProviderError, Refusal, Silence},
    event::Event,
    object::{AccountObject, ErrorBody, ErrorObject, IntentObject, List, RefundObject},
};

/// The longest `Retry-After` that is followed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// A success.
#[derive(Debug)]
pub enum Answer {
    /// An intent.
    Intent(Box<IntentObject>),
    /// A page of intents, of a list or of a search.
    Intents(List<IntentObject>),
    /// A refund.
    Refund(RefundObject),
    /// A page of refunds.
    Refunds(List<RefundObject>),
    /// A page of events.
    Events(List<Event>),
    /// The account of the key.
    Account(AccountObject),
}

/// The answer, or what went wrong. `names_card` is [`Call::names_card`] of what is answered.
///
/// [`Call::names_card`]: super::call::Call::names_card
pub(super) fn judge(
    endpoint: Endpoint,
    names_card: bool,
    status: StatusCode,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, ProviderError> {
    let head = Head::read(headers);
    if status.is_success() {
        return success(endpoint, body).map_err(|what| ProviderError::Unknown {
            what: format!("status {} that cannot be read: {what}", status.as_u16()),
            silence: Silence::Unreadable,
            retry_after: None,
            replayed: head.replayed,
            request_id: head.request_id,
        });
    }
    let error = serde_json::from_slice::<ErrorBody>(body).ok().map(|body| body.error);
    Err(failure(endpoint, names_card, status.as_u16(), error, head))
}

fn success(endpoint: Endpoint, body: &Bytes) -> Result<Answer, String> {
    Ok(match endpoint.object() {
        Object::Intent => {
            let intent: Box<IntentObject> = read(body)?;
            // Of an intent that is asked for nothing may be missing: asking again would say no
            // more. Of any other answer it may, and then the intent is looked at.
            let seen = intent.intent();
            let silent = seen.status == crate::domain::IntentStatus::Succeeded
                && seen.received.is_none()
                && endpoint == Endpoint::RetrieveIntent;
            if silent {
                return Err("neither amount_received nor the charge says what was captured".into());
            }
            Answer::Intent(intent)
        }
        Object::Intents => Answer::Intents(read(body)?),
        Object::Refund => Answer::Refund(read(body)?),
        Object::Refunds => Answer::Refunds(read(body)?),
        Object::Events => Answer::Events(read(body)?),
        Object::Account => Answer::Account(read(body)?),
    })
}

/// Reads an object; the error says what is missing and quotes nothing.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => error.to_string(),
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => "it is not JSON".to_owned(),
    })
}

/// What the headers say.
#[derive(Debug)]
struct Head {
    request_id: String,
    /// The answer is the one that was stored under the key.
    replayed: bool,
    retry_after: Option<Duration>,
    /// The limit that a 429 is about. A 429 without it is about a lock.
    limit: Option<String>,
}

impl Head {
    fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            request_id: text("request-id").unwrap_or_default().to_owned(),
            replayed: text("idempotent-replayed") == Some("true"),
            retry_after: text(header::RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY_AFTER)),
            limit: text("stripe-rate-limited-reason").map(str::to_owned),
        }
    }
}

/// The one table of errors.
fn failure(
    endpoint: Endpoint,
    names_card: bool,
    status: u16,
    error: Option<ErrorObject>,
    head: Head,
) -> ProviderError {
    let Head { request_id, replayed, retry_after, limit } = head;
    match (status, error) {
        (429, _) => match limit {
            Some(limit) => ProviderError::Limited { limit, retry_after, request_id },
            // `lock_timeout`: another request holds the object.
            None => ProviderError::Busy { request_id },
        },
        // A request with the same key, or on the same object, is under way.
        (409, _) => ProviderError::Busy { request_id },
        // A 403 that is not Stripe's is that of a proxy, and says nothing of the key.
        (401, _) | (403, Some(_)) => ProviderError::Misused {
            what: "the secret key is not accepted".to_owned(),
            status,
            ours: true,
            key_is_used: false,
            request_id,
        },
        (402, Some(error)) => ProviderError::Declined(refusal(&error, replayed, request_id)),
        (400 | 404, Some(error)) => {
            let refusal = refusal(&error, replayed, request_id);
            match blame(endpoint, status, &error) {
                Blame::Method => ProviderError::Declined(refusal),
                Blame::Amount => ProviderError::NotChargeable(refusal),
                Blame::State => ProviderError::Moved(refusal),
                Blame::Request => ProviderError::Misused {
                    what: match &error.param {
                        Some(param) => format!("{} at {param}", error.name()),
                        None => error.name(),
                    },
                    status,
                    // What a buyer chose goes along with these: a hostile one must not be able to
                    // open the breaker for all. And that one intent is gone says nothing of the
                    // provider.
                    ours: !endpoint.carries_buyers_choice() && !names_card && status != 404,
                    key_is_used: error.kind == "idempotency_error" || replayed,
                    request_id: refusal.request_id,
                },
            }
        }
        // `Stripe-Should-Retry` is not needed: in any case the intent is retrieved before anything
        // is repeated.
        (status, _) => ProviderError::Unknown {
            what: format!("status {status}"),
            silence: match status {
                400 | 402 | 404 => Silence::Unreadable,
                _ => Silence::Broken,
            },
            retry_after,
            replayed,
            request_id,
        },
    }
}

/// What a refused request is refused for.
enum Blame {
    /// The means of payment.
    Method,
    /// The amount or the currency of an intent.
    Amount,
    /// The state of the object: another request, or the buyer, came first.
    State,
    /// Anything else: the request is wrong, and sending it again will not help.
    Request,
}

fn blame(endpoint: Endpoint, status: u16, error: &ErrorObject) -> Blame {
    let (code, param) = (error.code.as_deref().unwrap_or_default(), error.param.as_deref());
    if code == "payment_intent_unexpected_state" || code == "charge_already_refunded" {
        return Blame::State;
    }
    // "Refund amount is greater than unrefunded amount on charge" has no code: other refunds, by
    // hand for example, have taken of the money.
    if endpoint == Endpoint::CreateRefund && param == Some("amount") && status == 400 {
        return Blame::State;
    }
    if status == 404 || error.kind == "idempotency_error" || !endpoint.charges() {
        return Blame::Request;
    }
    let of_method = error.method_is_used
        || code.starts_with("payment_method_")
        || code == "payment_intent_incompatible_payment_method";
    match param {
        Some("payment_method" | "confirmation_token") => Blame::Method,
        _ if of_method => Blame::Method,
        Some("currency") => Blame::Amount,
        _ if code.starts_with("amount_") => Blame::Amount,
        Some(_) | None => Blame::Request,
    }
}

fn refusal(error: &ErrorObject, replayed: bool, request_id: String) -> Box<Refusal> {
    Box::new(Refusal {
        code: error.name(),
        intent: error.payment_intent.as_ref().map(|intent| intent.intent()),
        replayed,
        request_id,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flashsale_breaker::Verdict;

    use super::*;

    fn judged(
        endpoint: Endpoint,
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &str,
    ) -> ProviderError {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let body = Bytes::from(body.to_owned());
        judge(endpoint, false, StatusCode::from_u16(status).unwrap(), &map, &body).unwrap_err()
    }

    #[test]
    fn a_proxys_answer_leaves_the_outcome_unknown() {
        for (status, body) in [(502, "<html>Bad Gateway</html>"), (400, "<html>"), (503, "")] {
            let error = judged(Endpoint::ConfirmIntent, status, &[("retry-after", "7")], body);
            let ProviderError::Unknown { what, retry_after, .. } = &error else {
                panic!("{error:?}")
            };
            assert!(what.contains(&status.to_string()));
            assert_eq!(*retry_after, Some(Duration::from_secs(7)));
            assert_eq!(error.verdict(), Verdict::Failure);
        }
    }

    #[test]
    fn a_success_that_cannot_be_read_says_what_is_missing() {
        for (endpoint, body, missing) in [
            (Endpoint::CreateIntent, r#"{"status":"succeeded"}"#, "missing field `id`"),
            (Endpoint::ConfirmIntent, "<html>", "not JSON"),
            (Endpoint::ConfirmIntent, r#"{"id":"pi_1"}"#, "missing field `status`"),
            (Endpoint::RetrieveIntent, r#"{"id":"pi_1","status":"succeeded"}"#, "amount_received"),
            (Endpoint::ListIntents, r#"{"object":"list"}"#, "missing field `data`"),
            (Endpoint::CreateRefund, r#"{"status":"succeeded"}"#, "missing field `id`"),
        ] {
            let error = judged(endpoint, 200, &[], body);
            let ProviderError::Unknown { what, silence: Silence::Unreadable, .. } = &error else {
                panic!("{error:?}")
            };
            assert!(what.contains(missing), "{what}");
            assert_eq!(error.verdict(), Verdict::Failure);
        }
    }

    #[test]
    fn an_answer_that_leaves_out_the_amount_is_looked_into() {
        let body = Bytes::from_static(br#"{"id":"pi_1","status":"succeeded"}"#);
        let answer =
            judge(Endpoint::ConfirmIntent, false, StatusCode::OK, &HeaderMap::new(), &body)
                .unwrap();
        let Answer::Intent(intent) = answer else { panic!("{answer:?}") };
        assert_eq!(intent.intent().received, None);
    }

    #[test]
    fn a_refused_card_is_no_failure() {
        let body =
            r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"lost_card"}}"#;
        let error = judged(Endpoint::ConfirmIntent, 402, &[("request-id", "req_1")], body);
        let ProviderError::Declined(refusal) = &error else { panic!("{error:?}") };
        assert_eq!((refusal.code.as_str(), refusal.request_id.as_str()), ("lost_card", "req_1"));
        assert_eq!(error.verdict(), Verdict::Success);
    }

    /// Every row of the table, and what it means to the breaker.
    #[test]
    fn each_answer_has_its_class() {
        use Endpoint::{CancelIntent, ConfirmIntent, CreateIntent, CreateRefund, RetrieveIntent};
        use Verdict::{Failure, Ignored, Success};
        let error =
            |fields: &str| format!(r#"{{"error":{{"type":"invalid_request_error",{fields}}}}}"#);
        let method = error(r#""code":"resource_missing","param":"payment_method""#);
        let token = error(r#""code":"resource_missing","param":"confirmation_token""#);
        let small = error(r#""code":"amount_too_small","param":"amount""#);
        let currency = error(r#""param":"currency""#);
        let unknown = error(r#""code":"parameter_unknown","param":"metadata2""#);
        let missing = error(r#""code":"resource_missing","param":"intent""#);
        let state = error(r#""code":"payment_intent_unexpected_state""#);
        let refunded = error(r#""code":"charge_already_refunded""#);
        let limited = error(r#""code":"rate_limit""#);
        let lock = error(r#""code":"lock_timeout""#);
        let used = r#"{"error":{"type":"invalid_request_error","message":"The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment."}}"#;
        let unfit = error(r#""code":"payment_method_unactivated""#);
        let key = r#"{"error":{"type":"idempotency_error"}}"#;
        let api = r#"{"error":{"type":"api_error"}}"#;
        let card = r#"{"error":{"type":"card_error","code":"card_declined"}}"#;
        let reason = [("stripe-rate-limited-reason", "endpoint-rate")];
        for (endpoint, status, headers, body, kind, verdict) in [
            (ConfirmIntent, 402, &[][..], card, "declined", Success),
            (CreateIntent, 400, &[], method.as_str(), "declined", Success),
            (ConfirmIntent, 400, &[], &token, "declined", Success),
            (CreateIntent, 400, &[], used, "declined", Success),
            (CreateIntent, 400, &[], &unfit, "declined", Success),
            (CreateIntent, 400, &[], &small, "not_chargeable", Success),
            (CreateIntent, 400, &[], &currency, "not_chargeable", Success),
            // A refund's amount is no failed payment: other refunds may have come first.
            (CreateRefund, 400, &[], &small, "moved", Success),
            (CreateRefund, 400, &[], &unknown, "misused", Failure),
            (ConfirmIntent, 400, &[], &state, "moved", Success),
            (CancelIntent, 400, &[], &state, "moved", Success),
            (CreateRefund, 400, &[], &refunded, "moved", Success),
            (CreateIntent, 401, &[], &unknown, "misused", Failure),
            (ConfirmIntent, 403, &[], &unknown, "misused", Failure),
            (CreateIntent, 400, &[], &unknown, "misused", Failure),
            (ConfirmIntent, 400, &[], &unknown, "misused", Ignored),
            (CreateIntent, 400, &[], key, "misused", Failure),
            (ConfirmIntent, 400, &[], key, "misused", Ignored),
            (CancelIntent, 400, &[], &unknown, "misused", Failure),
            (RetrieveIntent, 404, &[], &missing, "misused", Ignored),
            (ConfirmIntent, 429, &reason, &limited, "limited", Ignored),
            (ConfirmIntent, 429, &[], &lock, "busy", Ignored),
            (ConfirmIntent, 409, &[], key, "busy", Ignored),
            (ConfirmIntent, 424, &[], api, "unknown", Failure),
            (ConfirmIntent, 500, &[], api, "unknown", Failure),
            (ConfirmIntent, 302, &[], "", "unknown", Failure),
        ] {
            let error = judged(endpoint, status, headers, body);
            let judged = (error.kind(), error.verdict());
            assert_eq!(judged, (kind, verdict), "{endpoint:?} {status} {body}");
        }
    }

    /// A creation that names a card may be refused over it in words that we do not know.
    #[test]
    fn a_buyers_card_opens_no_breaker() {
        let wrong =
            Bytes::from_static(br#"{"error":{"type":"invalid_request_error","code":"any"}}"#);
        let refused = |names_card, status| {
            let headers = HeaderMap::new();
            judge(Endpoint::CreateIntent, names_card, status, &headers, &wrong).unwrap_err()
        };
        assert_eq!(refused(false, StatusCode::BAD_REQUEST).verdict(), Verdict::Failure);
        assert_eq!(refused(true, StatusCode::BAD_REQUEST).verdict(), Verdict::Ignored);
        // A key that is not accepted is no buyer's doing.
        assert_eq!(refused(true, StatusCode::UNAUTHORIZED).verdict(), Verdict::Failure);
    }

    #[test]
    fn only_stripes_word_says_that_an_intent_is_missing() {
        let missing = r#"{"error":{"type":"invalid_request_error","code":"resource_missing","param":"intent"}}"#;
        let path = r#"{"error":{"type":"invalid_request_error"}}"#;
        for (status, body, is_missing) in [
            (404, missing, true),
            (404, path, false),
            (404, "<html>", false),
            (400, missing, false),
            (401, missing, false),
            (500, missing, false),
        ] {
            let error = judged(Endpoint::RetrieveIntent, status, &[], body);
            assert_eq!(error.is_missing(), is_missing, "{status} {body}");
        }
    }

    /// What passes takes nothing of the wait for the next attempt.
    #[test]
    fn limits_and_locks_are_no_attempts() {
        use super::super::error::{Advice, Trace};
        let reason = [("stripe-rate-limited-reason", "endpoint-rate")];
        for (headers, trace) in [(&reason[..], Trace::None), (&[], Trace::Heard)] {
            let error = judged(Endpoint::ConfirmIntent, 429, headers, "{}");
            let Advice::Later(later) = error.advice() else { panic!("{error:?}") };
            assert_eq!(later.trace, trace, "{error:?}");
        }
    }

    #[test]
    fn a_stored_answer_is_recognised() {
        let api = r#"{"error":{"type":"api_error"}}"#;
        let error = judged(Endpoint::CreateIntent, 500, &[("idempotent-replayed", "true")], api);
        assert!(matches!(error, ProviderError::Unknown { replayed: true, .. }));
        // Whatever it says: once the cause is mended, only another key helps.
        let wrong = r#"{"error":{"type":"invalid_request_error","code":"any"}}"#;
        for headers in [&[("idempotent-replayed", "true")][..], &[]] {
            let error = judged(Endpoint::CreateIntent, 400, headers, wrong);
            assert_eq!(error.is_replayed(), !headers.is_empty(), "{error:?}");
        }
    }

    #[test]
    fn retry_after_is_bounded() {
        let headers = [("retry-after", "86400"), ("stripe-rate-limited-reason", "global-rate")];
        let error = judged(Endpoint::CreateIntent, 429, &headers, "");
        assert!(matches!(
            error,
            ProviderError::Limited { retry_after: Some(LONGEST_RETRY_AFTER), .. }
        ));
    }
}
