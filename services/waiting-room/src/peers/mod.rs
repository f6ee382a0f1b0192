//! The services the waiting room calls.

mod answer;
mod checkout;
mod inventory;

pub(crate) use answer::LastAnswer;
pub(crate) use checkout::Checkout;
pub(crate) use inventory::Inventory;
