//! What inventory does, between the wire and the stores.

pub mod adjust;
pub mod admissions;
mod changes;
mod epochs;
pub mod inventory;
mod load;
pub mod rebuild;
pub mod reconcile;
pub mod serving;
pub mod watch;

pub use epochs::Standing;
pub use inventory::Inventory;
