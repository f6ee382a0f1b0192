//! How a call to Stripe fails, and what that means for trying again.

use std::time::Duration;

use flashsale_breaker::Open;

use crate::domain::Intent;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// 402: the card was refused. An answer, not a failure.
    #[error("declined ({0})")]
    Declined(Box<Refusal>),
    /// 400 or 404: Stripe understood the request and will not do it.
    #[error("refused ({0})")]
    Refused(Box<Refusal>),
    /// Stripe does not accept our credentials or our use of a key: nothing happened, and an
    /// operator has to look.
    #[error("our request is at fault: {what} (status {status}, request {request_id})")]
    Misused {
        /// What is wrong.
        what: &'static str,
        /// The status; 0 when it was not sent.
        status: u16,
        /// Stripe's id of the request.
        request_id: String,
    },
    /// 409: another request with the same key, or on the same object, is under way.
    #[error("another request is under way (request {request_id})")]
    InFlight {
        /// Stripe's id of the request.
        request_id: String,
    },
    /// 429: nothing happened; it comes before anything else is looked at.
    #[error("rate limited (request {request_id})")]
    RateLimited {
        /// How long Stripe asks us to wait.
        retry_after: Option<Duration>,
        /// Stripe's id of the request.
        request_id: String,
    },
    /// It was not sent, or did not reach Stripe.
    #[error("not sent: {0}")]
    NotSent(#[from] NotSent),
    /// It may have happened or not: only retrieving the intent tells.
    #[error("unknown outcome: {what} (request {request_id})")]
    Unknown {
        /// What went wrong.
        what: String,
        /// How long Stripe asks us to wait.
        retry_after: Option<Duration>,
        /// The answer is a stored one: this key will say the same for a day.
        replayed: bool,
        /// Stripe's id of the request; empty when no answer came.
        request_id: String,
    },
}

/// Stripe's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `decline_code` where there is one, else `code`, else the type.
    pub code: String,
    /// The intent as it stands now, when the answer has it.
    pub intent: Option<Intent>,
    /// Stripe's id of the request, for its support.
    pub request_id: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not Stripe's message: it may quote what we sent.
        write!(f, "{}, request {}", self.code, self.request_id)
    }
}

/// Why a call was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// Operators have switched the provider off.
    #[error("the force switch is open")]
    ForcedOpen,
    /// The breaker is open.
    #[error("the breaker is open")]
    BreakerOpen,
    /// The endpoint's turns are taken for as long as we are ready to wait.
    #[error("no turn at this endpoint soon enough")]
    NoTurn,
    /// The switch or the budget could not be read.
    #[error("the store does not answer")]
    Store,
    /// No connection.
    #[error("no connection")]
    Connect,
}

impl From<Open> for ProviderError {
    fn from(_: Open) -> Self {
        Self::NotSent(NotSent::BreakerOpen)
    }
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice<'a> {
    /// It is Stripe's answer: act on it.
    Act(&'a Refusal),
    /// Try again later. No variant allows a retry that could charge twice: the later attempt
    /// retrieves the intent before anything is confirmed, and an intent is captured at most once.
    Later {
        /// Whether the call may have reached Stripe.
        asked: bool,
        /// How long Stripe asks us to wait.
        retry_after: Option<Duration>,
    },
}

impl ProviderError {
    /// What to do about it.
    pub fn advice(&self) -> Advice<'_> {
        match self {
            Self::Declined(refusal) | Self::Refused(refusal) => Advice::Act(refusal),
            Self::Misused { .. } | Self::InFlight { .. } => {
                Advice::Later { asked: true, retry_after: None }
            }
            Self::RateLimited { retry_after, .. } | Self::Unknown { retry_after, .. } => {
                Advice::Later { asked: true, retry_after: *retry_after }
            }
            Self::NotSent(
                NotSent::ForcedOpen
                | NotSent::BreakerOpen
                | NotSent::NoTurn
                | NotSent::Store
                | NotSent::Connect,
            ) => Advice::Later { asked: false, retry_after: None },
        }
    }

    /// Whether the breaker counts it as a failure of the provider. An answer never counts, whatever
    /// it says, and neither does a 429.
    pub fn counts_against_provider(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::NotSent(NotSent::Connect) => true,
            Self::Declined(_)
            | Self::Refused(_)
            | Self::Misused { .. }
            | Self::InFlight { .. }
            | Self::RateLimited { .. }
            | Self::NotSent(
                NotSent::ForcedOpen | NotSent::BreakerOpen | NotSent::NoTurn | NotSent::Store,
            ) => false,
        }
    }

    /// A name for the metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Declined(_) => "declined",
            Self::Refused(_) => "refused",
            Self::Misused { .. } => "misused",
            Self::InFlight { .. } => "in_flight",
            Self::RateLimited { .. } => "rate_limited",
            Self::NotSent(NotSent::ForcedOpen) => "forced_open",
            Self::NotSent(NotSent::BreakerOpen) => "breaker_open",
            Self::NotSent(NotSent::NoTurn) => "no_turn",
            Self::NotSent(NotSent::Store) => "store",
            Self::NotSent(NotSent::Connect) => "connect",
            Self::Unknown { .. } => "unknown",
        }
    }
}
