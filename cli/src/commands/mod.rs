//! The commands that operate services that are running.

pub(crate) mod errors;
pub(crate) mod order;
pub(crate) mod sale;
pub(crate) mod stock;
