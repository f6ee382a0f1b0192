//! The waiting room's background loops.

mod head_mover;
mod store_check;

pub(crate) use head_mover::{AtOnce, HeadMover};
pub(crate) use store_check::check_store;
