//! Checkout's background loops.

pub mod backlog;
pub mod order_events;
pub mod orders_stream;
mod relay;

pub use relay::Relay;
