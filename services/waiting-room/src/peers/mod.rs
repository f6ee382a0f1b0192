//! The services the waiting room calls.

mod checkout;
mod inventory;

pub(crate) use checkout::Checkout;
pub(crate) use inventory::Inventory;
