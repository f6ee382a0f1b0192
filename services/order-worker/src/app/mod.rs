//! What the worker does for callers and tasks.

pub mod dead_letters;
pub(crate) mod history;
pub mod mail;
mod wakeups;

pub use wakeups::Wakeups;
