//! Stripe, in the domain's terms.
//!
//! Requests are those of async-stripe; they are sent through our own stack (see [`stack`]), and of
//! the answers only the fields that are used are read (see [`object`]). Every POST carries an
//! idempotency key that is derived from the order, so that a repeated call cannot have a second
//! effect.

mod answer;
mod budget;
mod call;
mod client;
mod error;
mod event;
mod force;
mod key;
mod latency;
pub mod object;
mod stack;
mod timeout;
mod transport;

pub use answer::Answer;
pub use budget::BudgetPace;
pub use call::{Call, Endpoint, names_card, without_card};
pub use client::{Common, Stripe};
pub use error::{Advice, Later, NotSent, ProviderError, Refusal, Silence, Trace, Wait};
pub use event::Event;
pub use force::ForceSwitch;
pub use stack::{Gate, Stack, stack};
