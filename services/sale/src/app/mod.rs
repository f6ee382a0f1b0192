//! What the service does with sales.

pub(crate) mod check;
pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod propagation;
pub(crate) mod reports;
pub(crate) mod sales;
pub(crate) mod uploads;
pub(crate) mod watches;
