//! Calls to other services and to the mail relay, a file each.

pub mod inventory;
pub mod payment;
pub mod smtp;
