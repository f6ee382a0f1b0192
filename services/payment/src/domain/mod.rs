//! The rules, as plain values and functions: no clock, no store, no provider.

mod amount;
mod backoff;
mod order;
mod payment;
mod plan;
mod settle;

pub use amount::{Inexpressible, minor_amount, provider_amount};
pub use backoff::Backoff;
pub use order::{ChargeRuling, NotPayable, Order, charge, never_charge};
pub use payment::{BuyersAction, EndReason, Intent, IntentStatus, Payment, STUCK_AFTER, State};
pub use plan::{Overdue, Step, is_unwanted, next_step};
pub use settle::{CancelRuling, Outcome, RefundRuling, Ruling, Standing, cancel, refund, settle};

#[cfg(test)]
mod properties;
