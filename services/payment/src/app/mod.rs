//! What the service does for callers, tasks and the webhook.

pub mod settlement;
