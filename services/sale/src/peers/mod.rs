//! Calls to other services.

pub(crate) mod inventory;
