//! Checkout's background loops.

mod relay;

pub use relay::Relay;
