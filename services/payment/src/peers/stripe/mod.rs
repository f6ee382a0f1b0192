//! Stripe, in the domain's terms.
//!
//! Requests and answers are those of async-stripe; they are sent through our own stack (see
//! [`stack`]). Every POST carries an idempotency key that is derived from the order, so that a
//! repeated call cannot have a second effect.

mod answer;
mod budget;
mod call;
mod client;
mod error;
mod force;
mod key;
mod stack;
mod timeout;
mod transport;

pub use call::{Call, Endpoint};
pub use client::{RefundReport, Stripe};
pub use error::{Advice, NotSent, ProviderError, Refusal};
pub use force::ForceSwitch;
pub use stack::{Gate, Stack, stack};
