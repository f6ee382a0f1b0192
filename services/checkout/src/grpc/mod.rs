//! Checkout's gRPC services: decode, call, encode.

mod admin;
mod checkout;
mod decode;
mod encode;

pub use admin::Admin;
pub use checkout::Checkout;
