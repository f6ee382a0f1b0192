//! The services the waiting room calls.

mod checkout;
mod inventory;

pub(crate) use checkout::Intake;
pub(crate) use inventory::Inventory;
