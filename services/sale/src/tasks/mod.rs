//! Background loops: each runs until the drain starts, and several instances of each may run.

mod backoff;
pub(crate) mod propagation;
pub(crate) mod reports;
pub(crate) mod schedule;
pub(crate) mod watches;
