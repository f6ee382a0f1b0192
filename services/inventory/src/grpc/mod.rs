//! The two gRPC services: decode, call, encode.

mod admin;
mod decode;
mod encode;
mod errors;
mod inventory;

pub use admin::AdminService;
pub use inventory::Service;
