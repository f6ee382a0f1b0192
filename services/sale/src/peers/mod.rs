//! Calls to other services, a file each. Every call may be repeated: those that tell set a value,
//! and carry an id made from the sale and its version.

pub(crate) mod inventory;
pub(crate) mod payment;
mod request;
mod soon;
pub(crate) mod untold;
pub(crate) mod waiting_room;
