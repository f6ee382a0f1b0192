//! A circuit breaker as a tower layer.
//!
//! - Its window is one of time, in buckets of a second: a long healthy period does not delay it,
//!   and a call costs the same however many there were.
//! - It opens on the share of calls that fail, on the share that are slow, and when no call is
//!   answered in time any more; [`BreakerConfig`] has the figures.
//! - The caller's function says of every result what it means ([`Verdict`]). One that says nothing
//!   of the service, a limit for example, is ignored: it neither opens the breaker nor makes a
//!   failing service look better.
//! - A few probes decide whether the service is back, and all have to succeed, in time.
//! - A force switch stays outside: requests can bypass the breaker, for a switch that says "closed
//!   whatever happens".
//!
//! A call whose future is dropped is not counted, so a timeout belongs inside the breaker. The
//! clock is tokio's: pausing time in a test moves a breaker.

mod circuit;
mod config;
mod layer;
mod window;

pub use circuit::{BreakerState, Cause, Snapshot, Verdict};
pub use config::BreakerConfig;
pub use layer::{Breaker, BreakerLayer, Rules};

use crate::circuit::Circuit;

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

/// Shows a breaker outside its stack.
#[derive(Debug, Clone)]
pub struct BreakerHandle {
    circuit: Circuit,
}

impl BreakerHandle {
    pub fn state(&self) -> BreakerState {
        self.snapshot().state
    }

    /// The breaker as it stands.
    pub fn snapshot(&self) -> Snapshot {
        self.circuit.snapshot()
    }

    /// How many of `wanted` calls it would let through now: all, none, or what is left of its
    /// probes.
    pub fn admits(&self, wanted: usize) -> usize {
        self.circuit.admits(wanted)
    }
}

/// A breaker's layer and the handle that shows its state. All services made by the layer share one
/// breaker.
///
/// # Errors
/// [`InvalidBreaker`] names the first setting out of range.
pub fn breaker<Req, Res, Err>(
    name: &'static str,
    config: &BreakerConfig,
    rules: Rules<Req, Res, Err>,
) -> Result<(BreakerLayer<Req, Res, Err>, BreakerHandle), InvalidBreaker> {
    if let Some((key, problem)) = config.problems().into_iter().next() {
        return Err(InvalidBreaker { name, problem: format!("{key} {problem}") });
    }
    let circuit = Circuit::new(name, config.clone());
    Ok((BreakerLayer { circuit: circuit.clone(), rules }, BreakerHandle { circuit }))
}
