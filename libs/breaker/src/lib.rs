//! A circuit breaker as a tower layer, over `tower-resilience-circuitbreaker`.
//!
//! That crate does the counting; this one sets it up so that its traps stay shut, and keeps its types out of our stacks:
//!
//! - It counts by time. The crate's default count window never slides: after a long healthy while it takes as long a run
//!   of failures to open.
//! - One call tries whether the service is back. With more, trials that come further apart than the window forget each
//!   other's success while their places stay used up, and the breaker never closes again.
//! - What counts as a failure is the caller's function, which sees every result. There is no class for results that do
//!   not count: an answer, even an unwelcome one, is a success, because it shows that the service is there.
//! - A force switch stays outside: the crate's own recovers by itself. A request can be sent past the breaker, though
//!   (`bypass`), for a switch that says "closed whatever happens".
//!
//! A call whose future is dropped is not counted, so a timeout belongs inside the breaker.
//! The crate reads the system's clock, not tokio's: pausing time in a test does not move a breaker.

mod config;
mod layer;

use std::{fmt, sync::Arc, time::Duration};

pub use config::BreakerConfig;
pub use layer::{Breaker, BreakerLayer};
use tower_resilience_circuitbreaker::{
    CircuitBreakerLayer, CircuitState, FnClassifier, SlidingWindowType,
};

/// How many calls try whether the service is back; see the crate's documentation for why it is one.
const TRIALS: usize = 1;

/// What a breaker does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused. It stays in this state after its time until a call comes and tries.
    Open,
    /// One call is on its way to see whether the service is back; others are refused.
    HalfOpen,
}

/// The refusal of an open breaker: nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the breaker is open")]
pub struct Open;

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the breaker {name} cannot be set up: {problem}")]
pub struct InvalidBreaker {
    name: &'static str,
    problem: String,
}

/// Looks at a breaker from outside its stack.
#[derive(Clone)]
pub struct BreakerHandle {
    state: Arc<dyn Fn() -> CircuitState + Send + Sync>,
}

impl BreakerHandle {
    /// What the breaker does at the moment.
    pub fn state(&self) -> BreakerState {
        match (self.state)() {
            CircuitState::Closed => BreakerState::Closed,
            CircuitState::Open => BreakerState::Open,
            CircuitState::HalfOpen => BreakerState::HalfOpen,
        }
    }
}

impl fmt::Debug for BreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerHandle").field("state", &self.state()).finish()
    }
}

/// A breaker's layer and the handle that shows its state. All services made by the layer share one breaker.
///
/// `is_failure` judges every result; `bypass` says which requests go past the breaker, uncounted.
///
/// # Errors
/// When a setting is out of range.
pub fn breaker<Req, Res, Err>(
    name: &'static str,
    config: &BreakerConfig,
    is_failure: fn(&Result<Res, Err>) -> bool,
    bypass: fn(&Req) -> bool,
) -> Result<(BreakerLayer<Req, Res, Err>, BreakerHandle), InvalidBreaker>
where
    Res: 'static,
    Err: 'static,
{
    if let Some((key, problem)) = config.problems().into_iter().next() {
        return Err(InvalidBreaker { name, problem: format!("{key} {problem}") });
    }
    let (circuit, handle) = CircuitBreakerLayer::builder()
        .name(name)
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(Duration::from_millis(config.window_ms))
        .minimum_number_of_calls(config.min_calls)
        .failure_rate_threshold(config.failure_rate)
        .wait_duration_in_open(Duration::from_millis(config.open_ms))
        .permitted_calls_in_half_open(TRIALS)
        .on_state_transition(move |from, to| {
            tracing::warn!(breaker = name, ?from, ?to, "the breaker changed its state");
        })
        .failure_classifier_type(FnClassifier::new(is_failure))
        .build_with_handle()
        .map_err(|error| InvalidBreaker { name, problem: error.to_string() })?;
    let layer = BreakerLayer::new(circuit, bypass);
    Ok((layer, BreakerHandle { state: Arc::new(move || handle.state()) }))
}
