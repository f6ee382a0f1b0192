//! The gRPC face: decode, call, encode.

mod admin;
mod encode;
mod room;

pub(crate) use admin::Admin;
pub(crate) use room::WaitingRoom;

use flashsale_errors::{Failure, Reason};
use flashsale_service::wire;
use uuid::Uuid;

/// The sale a request is about.
fn sale_id(value: &str) -> Result<Uuid, Failure> {
    wire::uuid("sale_id", value, Reason::ArgumentInvalid)
}
