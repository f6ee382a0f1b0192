//! What the waiting room does: the use cases that handlers and tasks call.

mod error;
mod farewell;
mod feeds;
mod keys;
mod line;
mod room_admin;
mod watch;

pub(crate) use error::RoomError;
pub(crate) use farewell::Farewell;
pub(crate) use feeds::{Feed, Feeds};
pub(crate) use keys::SigningKeys;
pub(crate) use line::{Line, Standing};
pub(crate) use room_admin::RoomAdmin;
