//! How a call to Stripe fails, and what that means for trying again.

use std::time::Duration;

use flashsale_breaker::{Open, Verdict};

use crate::domain::Intent;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The card, or what was given for it, is refused: 402, or 400 about it. An answer, not a
    /// failure.
    #[error("declined ({0})")]
    Declined(Box<Refusal>),
    /// The amount or the currency cannot be charged, by any card.
    #[error("not chargeable ({0})")]
    NotChargeable(Box<Refusal>),
    /// The object is in another state by now: it has to be looked at.
    #[error("it has moved ({0})")]
    Moved(Box<Refusal>),
    /// Stripe does not accept our credentials, a parameter or our use of a key: nothing happened,
    /// nothing is over, and an operator has to look.
    #[error("our request is at fault: {what} (status {status}, request {request_id})")]
    Misused {
        /// What is wrong.
        what: String,
        /// The status; 0 when it was not sent.
        status: u16,
        /// Whether nothing that a buyer chose can have caused it.
        ours: bool,
        /// Whether the key came with other parameters before, so that it needs another.
        key_is_used: bool,
        /// Stripe's id of the request.
        request_id: String,
    },
    /// 409, or a 429 about a lock: another request with the same key, or on the same object, is
    /// under way.
    #[error("another request is under way (request {request_id})")]
    Busy {
        /// Stripe's id of the request.
        request_id: String,
    },
    /// 429 about a rate: nothing happened; it comes before anything else is looked at.
    #[error("rate limited by {limit} (request {request_id})")]
    Limited {
        /// Which limit it was.
        limit: String,
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
        /// What came in place of an answer.
        silence: Silence,
        /// How long Stripe asks us to wait.
        retry_after: Option<Duration>,
        /// The answer is a stored one: this key will say the same for a day.
        replayed: bool,
        /// Stripe's id of the request; empty when no answer came.
        request_id: String,
    },
}

/// What came in place of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nothing, for as long as a call may take.
    Timeout,
    /// An error of Stripe's or of what stands before it, or the end of the connection.
    Broken,
    /// An answer that we cannot read.
    Unreadable,
}

/// Stripe's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `decline_code` where there is one, else `code`, else the type.
    pub code: String,
    /// The intent as it stands now, when the answer has it. Of a stored answer it is as it stood
    /// then.
    pub intent: Option<Intent>,
    /// The answer is a stored one: this key will say the same for a day.
    pub replayed: bool,
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
    /// Look at the object before anything else.
    Look(&'a Refusal),
    /// Try again later. No variant allows a retry that could charge twice: the later attempt
    /// retrieves the intent before anything is confirmed, and an intent is captured at most once.
    Later(Later),
}

/// When and how to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// What the call has told us, or may have done.
    pub trace: Trace,
    /// When at the earliest.
    pub wait: Wait,
}

/// What a failed call left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// It did not reach Stripe's books.
    None,
    /// Another call of the same kind is under way: not an attempt, but Stripe has heard of it.
    Heard,
    /// An attempt whose outcome is unknown.
    Attempt,
    /// An attempt that shows that our requests or our reading of its answers are wrong.
    Fault,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// By the attempts so far, and no shorter than Stripe asks.
    Backoff(Option<Duration>),
    /// A moment, and no shorter than Stripe asks: what stands in the way is about to pass.
    Moment(Option<Duration>),
}

impl ProviderError {
    /// What to do about it.
    pub fn advice(&self) -> Advice<'_> {
        let later = |trace, wait| Advice::Later(Later { trace, wait });
        match self {
            Self::Declined(refusal) | Self::NotChargeable(refusal) => Advice::Act(refusal),
            Self::Moved(refusal) => Advice::Look(refusal),
            Self::Misused { .. } => later(Trace::Fault, Wait::Backoff(None)),
            Self::Busy { .. } => later(Trace::Heard, Wait::Moment(None)),
            Self::Limited { retry_after, .. } => later(Trace::None, Wait::Moment(*retry_after)),
            Self::Unknown { silence, retry_after, .. } => {
                let trace = match silence {
                    Silence::Timeout | Silence::Broken => Trace::Attempt,
                    Silence::Unreadable => Trace::Fault,
                };
                later(trace, Wait::Backoff(*retry_after))
            }
            Self::NotSent(
                NotSent::ForcedOpen
                | NotSent::BreakerOpen
                | NotSent::NoTurn
                | NotSent::Store
                | NotSent::Connect,
            ) => later(Trace::None, Wait::Backoff(None)),
        }
    }

    /// Whether the key is of no use for a day: its answer is a stored one, or was given to other
    /// parameters.
    pub fn is_replayed(&self) -> bool {
        match self {
            Self::Declined(refusal) | Self::NotChargeable(refusal) | Self::Moved(refusal) => {
                refusal.replayed
            }
            Self::Unknown { replayed, .. } => *replayed,
            Self::Misused { key_is_used, .. } => *key_is_used,
            Self::Busy { .. } | Self::Limited { .. } | Self::NotSent(_) => false,
        }
    }

    /// Whether Stripe says that it has no such object. Another server's 404, or one about the path,
    /// says nothing of the object.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Misused { what, status: 404, .. } => what.starts_with("resource_missing"),
            Self::Misused { .. }
            | Self::Declined(_)
            | Self::NotChargeable(_)
            | Self::Moved(_)
            | Self::Busy { .. }
            | Self::Limited { .. }
            | Self::NotSent(_)
            | Self::Unknown { .. } => false,
        }
    }

    /// What it means to the breaker. An answer is no failure, whatever it says of a buyer's card.
    /// One that says our request is wrong is, unless a buyer may have made it so: with a key that
    /// is not accepted nothing goes through, and payments wait instead of failing one by one. A
    /// limit, a lock, and what a buyer may have brought about, say nothing of the provider.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Declined(_) | Self::NotChargeable(_) | Self::Moved(_) => Verdict::Success,
            Self::Misused { ours: true, .. } | Self::NotSent(NotSent::Connect) => Verdict::Failure,
            Self::Unknown { silence: Silence::Timeout, .. } => Verdict::Timeout,
            Self::Unknown { silence: Silence::Broken | Silence::Unreadable, .. } => {
                Verdict::Failure
            }
            Self::Misused { ours: false, .. }
            | Self::Busy { .. }
            | Self::Limited { .. }
            | Self::NotSent(
                NotSent::ForcedOpen | NotSent::BreakerOpen | NotSent::NoTurn | NotSent::Store,
            ) => Verdict::Ignored,
        }
    }

    /// A name for the metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Declined(_) => "declined",
            Self::NotChargeable(_) => "not_chargeable",
            Self::Moved(_) => "moved",
            Self::Misused { .. } => "misused",
            Self::Busy { .. } => "busy",
            Self::Limited { .. } => "limited",
            Self::NotSent(NotSent::ForcedOpen) => "forced_open",
            Self::NotSent(NotSent::BreakerOpen) => "breaker_open",
            Self::NotSent(NotSent::NoTurn) => "no_turn",
            Self::NotSent(NotSent::Store) => "store",
            Self::NotSent(NotSent::Connect) => "connect",
            Self::Unknown { .. } => "unknown",
        }
    }
}
