//! Calls to other services, a file each.

pub(crate) mod inventory;
