//! The background tasks.

pub mod rebuilder;
pub mod sweeper;
