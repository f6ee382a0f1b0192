//! The services checkout calls.

pub mod inventory;
pub mod payment;
