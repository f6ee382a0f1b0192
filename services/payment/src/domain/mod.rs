//! The rules, as plain values and functions: no clock, no store, no provider.

mod backoff;
mod order;
mod payment;
mod plan;
mod refund;
mod retry;
mod settle;

pub use backoff::Backoff;
pub use flashsale_record::{Inexpressible, minor_amount, provider_amount};
pub use order::{ChargeRuling, NotPayable, Order, charge, never_charge};
pub use payment::{
    Action, BuyersAction, CardRules, Decline, EndReason, Intent, IntentStatus, Payment,
    STUCK_AFTER, State,
};
pub use plan::{Overdue, Step, is_unwanted, next_step};
pub use refund::{
    MadeRefund, Refund, RefundChange, RefundReport, RefundRuling, RefundState, adopted_id, fitting,
    left, refund, refund_change, rest_id,
};
pub use retry::{Retry, RetryRuling, retry};
pub use settle::{CancelRuling, Outcome, Ruling, Standing, cancel, settle};

#[cfg(test)]
mod properties;
