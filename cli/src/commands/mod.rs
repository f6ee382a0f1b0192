//! The commands that operate running services.

pub(crate) mod errors;
pub(crate) mod order;
pub(crate) mod sale;
pub(crate) mod stock;
