//! What the worker does for callers and tasks: dead letters, mails, and the wake-ups between tasks.

pub mod dead_letters;
pub mod mail;
mod wakeups;

pub use wakeups::Wakeups;
