//! The services checkout calls.

pub mod inventory;
