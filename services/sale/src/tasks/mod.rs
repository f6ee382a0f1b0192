//! Background loops: each runs until the drain starts, and several instances of each may run.

mod backoff;
pub(crate) mod lapsed;
pub(crate) mod propagation;
pub(crate) mod reports;
pub(crate) mod watches;
