//! What the service does for callers, tasks and the webhook.

pub mod abandon;
pub mod account;
mod bell;
pub mod events;
pub mod settlement;

pub use bell::Bell;
