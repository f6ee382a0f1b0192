//! The waiting room's gRPC services: decode, call, encode.

mod admin;
mod decode;
mod encode;
mod errors;
mod room;

pub(crate) use admin::Admin;
pub(crate) use room::WaitingRoom;
