//! What inventory does, between the wire and the stores.

pub mod adjust;
pub mod admissions;
mod changes;
mod closed_sales;
mod epochs;
mod holds;
pub mod inventory;
mod load;
mod prices;
pub mod readings;
pub mod rebuild;
pub mod reconcile;
mod servers;
pub mod serving;
pub mod watch;

pub use inventory::Inventory;
