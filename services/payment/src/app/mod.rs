//! What the service does for callers, tasks and the webhook.

mod bell;
pub mod events;
pub mod settlement;

pub use bell::Bell;
