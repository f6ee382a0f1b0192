//! The rules, as plain values and functions: no clock, no store, no provider.

mod amount;
mod backoff;
mod order;
mod payment;
mod plan;
mod settle;

pub use amount::{Inexpressible, provider_amount};
pub use backoff::Backoff;
pub use order::{ChargeRuling, NotPayable, Order, charge, never_charge};
pub use payment::{Intent, IntentStatus, Payment, State};
pub use plan::{Patience, Step, next_step};
pub use settle::{CancelRuling, Outcome, RefundRuling, Ruling, cancel, refund, settle};

#[cfg(test)]
mod properties;
