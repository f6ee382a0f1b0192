//! A circuit breaker as a tower layer, over `tower-resilience-circuitbreaker`.
//!
//! That crate does the counting; this one sets it up so that its pitfalls are avoided, and keeps
//! its types out of our stacks:
//!
//! - Its window is one of time. The crate's default, a window of calls, never slides: after a long
//!   healthy period it takes as many failures to open.
//! - One trial call decides whether the service is back. With several, trials further apart than
//!   the window forget each other's success while their permits stay used, and the breaker never
//!   closes.
//! - The caller's function says of every result whether it is a failure. No result is left
//!   uncounted: an answer, even a refusal, is a success, because it shows that the service is up.
//! - A force switch stays outside: the crate's own resets without being told to. Requests can
//!   bypass the breaker (`bypass`), though, for a switch that says "closed whatever happens".
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

/// Calls let through while half open; the crate's documentation says why it is one.
const TRIALS: usize = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused. After `open_ms` it stays in this state until the next call, the trial.
    Open,
    /// One trial call is under way; others are refused.
    HalfOpen,
}

/// The refusal of an open breaker: nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the breaker is open")]
pub struct Open;

/// A setting is out of range.
#[derive(Debug, thiserror::Error)]
#[error("the breaker {name} cannot be set up: {problem}")]
pub struct InvalidBreaker {
    name: &'static str,
    problem: String,
}

/// Shows a breaker's state outside its stack.
#[derive(Clone)]
pub struct BreakerHandle {
    state: Arc<dyn Fn() -> CircuitState + Send + Sync>,
}

impl BreakerHandle {
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

/// A breaker's layer and the handle that shows its state. All services made by the layer share one
/// breaker.
///
/// `is_failure` judges every result; `bypass` says which requests go past the breaker, uncounted.
///
/// # Errors
/// [`InvalidBreaker`] names the first setting out of range.
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
