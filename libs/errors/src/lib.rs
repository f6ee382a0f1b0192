//! What a failed call tells its caller: one reason of a closed set, its numbers, and the next step
//! (AIP-193).
//!
//! Each service turns its own domain errors into a [`Failure`] in one exhaustive match; this crate
//! turns a `Failure` into a `tonic::Status` with `google.rpc` details, and back again on the side
//! of a client.

mod pages;
mod reason;

use std::{collections::BTreeMap, fmt, time::Duration};

pub use pages::{PAGES_URL, publish_pages_at};
pub use reason::{Reason, Retry};
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// The `google.rpc.ErrorInfo.domain` of every failure.
pub const DOMAIN: &str = "flashsale.dev";

/// A failure as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    reason: Reason,
    what: String,
    metadata: BTreeMap<String, String>,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
}

/// An invalid field of a request (`google.rpc.BadRequest`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, for example `lines[0].quantity`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub description: String,
}

impl Failure {
    /// A failure for `reason`; `what` says what happened, to what, without the next step, which the
    /// reason adds.
    pub fn new(reason: Reason, what: impl Into<String>) -> Self {
        let retry_after = match reason.retry() {
            Retry::SameAfter(delay) => Some(spread(delay)),
            Retry::Never => None,
        };
        Self {
            reason,
            what: what.into(),
            metadata: BTreeMap::new(),
            violations: Vec::new(),
            retry_after,
        }
    }

    /// A failure caused by one field, for a reason of its own.
    pub fn field(reason: Reason, field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        Self::new(reason, format!("{field}: {description}")).with_violation(field, description)
    }

    /// A failure caused by one malformed field ([`Reason::ArgumentInvalid`]).
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::field(Reason::ArgumentInvalid, field, description)
    }

    /// A fault of ours. `cause` goes to the log under an incident number; only the number leaves
    /// the service.
    pub fn internal(cause: impl fmt::Display) -> Self {
        let incident = uuid::Uuid::new_v4().simple().to_string();
        tracing::error!(incident, cause = %cause, "internal fault");
        Self::new(Reason::Internal, "the service failed").with("incident", incident)
    }

    /// A store that does not answer. `cause` is logged: driver text never leaves a service.
    pub fn store(store: &'static str, cause: impl fmt::Display) -> Self {
        tracing::warn!(store, cause = %cause, "store unavailable");
        Self::new(Reason::StoreUnavailable, format!("{store} does not answer")).with("store", store)
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    #[must_use]
    pub fn with_violation(
        mut self,
        field: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        self.violations.push(Violation { field: field.into(), description: description.into() });
        self
    }

    /// Replaces the reason's own delay by a computed one, with jitter added.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(spread(delay));
        self
    }

    /// Replaces the reason's own delay by the time until a moment that all callers wait for. Without
    /// jitter, which would have some of them miss it.
    #[must_use]
    pub fn retry_exactly_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Picks one of five delays between 1 and 1.5 times the reason's own: enough that callers do
    /// not retry together, and few enough that equal refusals are sent as an index into HPACK's
    /// dynamic table, at a fraction of the cost of their text.
    #[must_use]
    pub fn with_stepped_delay(mut self) -> Self {
        if let Retry::SameAfter(delay) = self.reason.retry() {
            self.retry_after = Some(delay * (8 + rand::random_range(0..=4)) / 8);
        }
        self
    }

    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What happened, without the next step.
    pub fn what(&self) -> &str {
        &self.what
    }

    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How long to wait before sending the same request again; `None` if that cannot help.
    pub fn delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Reads a failure back from a status one of our services sent; `None` for a status from
    /// elsewhere (a proxy, the transport).
    pub fn from_status(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info()?;
        if info.domain != DOMAIN {
            return None;
        }
        let reason = Reason::parse(&info.reason)?;
        let what = status.message();
        let what = what.strip_prefix(&format!("{}: ", reason.as_str())).unwrap_or(what);
        let what = what.strip_suffix(&format!(". {}", reason.next_step())).unwrap_or(what);
        let mut failure = Self::new(reason, what);
        failure.metadata = info.metadata.clone().into_iter().collect();
        failure.retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        if let Some(bad_request) = details.bad_request() {
            failure.violations = bad_request
                .field_violations
                .iter()
                .map(|violation| Violation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect();
        }
        Some(failure)
    }

    /// What a failed call to another of our services means to our own caller: its failure as it is,
    /// or [`Reason::PeerUnavailable`] when it was the transport that failed, or the peer does not
    /// know our own key: that is no fault of our caller's.
    pub fn from_peer(peer: &'static str, status: &Status) -> Self {
        let told = Self::from_status(status);
        let refused_us = |failure: &Self| {
            matches!(failure.reason, Reason::CallerUnknown | Reason::CallerNotAllowed)
        };
        if let Some(failure) = told.as_ref().filter(|failure| refused_us(failure)) {
            tracing::error!(
                peer,
                reason = failure.reason.as_str(),
                "the peer refuses this service"
            );
            return Self::new(Reason::PeerUnavailable, format!("{peer} refuses this service"))
                .with("peer", peer);
        }
        told.unwrap_or_else(|| {
            tracing::warn!(peer, code = ?status.code(), cause = status.message(), "peer unavailable");
            let reason = if status.code() == tonic::Code::DeadlineExceeded {
                Reason::DeadlineExceeded
            } else {
                Reason::PeerUnavailable
            };
            Self::new(reason, format!("{peer} does not answer")).with("peer", peer)
        })
    }
}

/// Up to half as much again, so that callers refused at the same moment do not all retry at the
/// same moment (a thundering herd).
fn spread(delay: Duration) -> Duration {
    delay.mul_f64(rand::random_range(1.0..=1.5))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tools like grpcurl show details badly, so the plain message has to suffice.
        write!(f, "{}: {}. {}", self.reason.as_str(), self.what, self.reason.next_step())
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let message = failure.to_string();
        let mut details = ErrorDetails::new();
        details.set_error_info(
            failure.reason.as_str(),
            DOMAIN,
            failure.metadata.into_iter().collect::<std::collections::HashMap<_, _>>(),
        );
        details.add_help_link(
            format!("What {} means and what to do", failure.reason.as_str()),
            failure.reason.help_url(),
        );
        if let Some(delay) = failure.retry_after {
            details.set_retry_info(Some(delay));
        }
        if !failure.violations.is_empty() {
            let violations: Vec<FieldViolation> = failure
                .violations
                .into_iter()
                .map(|violation| FieldViolation::new(violation.field, violation.description))
                .collect();
            details.set_bad_request(violations);
        }
        Status::with_error_details(failure.reason.code(), message, details)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flashsale_proto::errors::ErrorReason;

    use super::*;

    #[test]
    fn reasons_match_the_contract() {
        for reason in Reason::ALL {
            let name = format!("ERROR_REASON_{}", reason.as_str());
            assert!(
                ErrorReason::from_str_name(&name).is_some(),
                "{name} is not in error_reason.proto"
            );
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
        }
        let in_contract = (1..).map_while(|number| ErrorReason::try_from(number).ok()).count();
        assert_eq!(in_contract, Reason::ALL.len());
    }

    #[test]
    fn every_reason_has_its_own_page() {
        for reason in Reason::ALL {
            let expected = format!("{}.md", reason.as_str().to_lowercase().replace('_', "-"));
            assert_eq!(reason.page(), expected);
            let heading = format!("# {}\n", reason.as_str());
            assert!(reason.page_text().starts_with(&heading), "{expected}");
        }
    }

    #[test]
    fn failure_survives_the_wire() {
        for reason in Reason::ALL {
            let failure = Failure::new(*reason, "it went wrong")
                .with("sku", "TEE-M")
                .with_violation("lines[0].sku", "is empty")
                .retry_after(Duration::from_millis(1_250));
            let status = Status::from(failure.clone());
            assert_eq!(status.code(), reason.code());
            assert!(status.message().contains(reason.next_step()));
            let details = status.get_error_details();
            let links = &details.help().expect("a help link").links;
            assert_eq!(links.len(), 1);
            assert!(links[0].url.ends_with(reason.page()), "{}", links[0].url);
            assert_eq!(Failure::from_status(&status), Some(failure));
        }
    }

    #[test]
    fn retry_delays_match_the_status_codes() {
        for reason in Reason::ALL {
            let waits = matches!(
                reason.code(),
                tonic::Code::Unavailable
                    | tonic::Code::ResourceExhausted
                    | tonic::Code::DeadlineExceeded
            );
            assert_eq!(Failure::new(*reason, "x").delay().is_some(), waits, "{}", reason.as_str());
        }
    }

    #[test]
    fn retry_delays_are_spread() {
        let delays: std::collections::BTreeSet<Duration> =
            (0..100).filter_map(|_| Failure::new(Reason::Overloaded, "x").delay()).collect();
        assert!(delays.len() > 90, "{} delays of 100", delays.len());
        let bounds = Duration::from_millis(500)..=Duration::from_millis(750);
        assert!(delays.iter().all(|delay| bounds.contains(delay)), "{delays:?}");
    }

    #[test]
    fn delays_to_a_moment_are_exact() {
        let delay = Duration::from_millis(1_234);
        let failure = Failure::new(Reason::SaleNotOpen, "x").retry_exactly_after(delay);
        assert_eq!(failure.delay(), Some(delay));
    }

    #[test]
    fn stepped_delays_are_five() {
        let delays: std::collections::BTreeSet<u128> = (0..200)
            .filter_map(|_| Failure::new(Reason::Overloaded, "x").with_stepped_delay().delay())
            .map(|delay| delay.as_micros())
            .collect();
        assert_eq!(delays, [500_000, 562_500, 625_000, 687_500, 750_000].into());
        assert_eq!(Failure::new(Reason::SoldOut, "x").with_stepped_delay().delay(), None);
    }

    #[test]
    fn a_peer_that_refuses_our_key_is_no_fault_of_our_caller() {
        for reason in [Reason::CallerUnknown, Reason::CallerNotAllowed] {
            let refused = Status::from(Failure::new(reason, "the key is unknown"));
            let failure = Failure::from_peer("inventory", &refused);
            assert_eq!(failure.reason(), Reason::PeerUnavailable);
            assert!(failure.delay().is_some());
        }
        let sold_out = Status::from(Failure::new(Reason::SoldOut, "no"));
        assert_eq!(Failure::from_peer("inventory", &sold_out).reason(), Reason::SoldOut);
    }

    #[test]
    fn foreign_status_is_no_failure_of_ours() {
        assert_eq!(Failure::from_status(&Status::unavailable("SOLD_OUT: no")), None);
        let failure = Failure::from_peer("inventory", &Status::unavailable("connection refused"));
        assert_eq!(failure.reason(), Reason::PeerUnavailable);
        assert!(!failure.to_string().contains("refused"), "transport text left the service");
    }
}
