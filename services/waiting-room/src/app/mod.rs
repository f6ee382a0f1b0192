//! What the waiting room does: the use cases that handlers and tasks call.

mod error;
mod feeds;
mod keys;
mod line;
mod room_admin;
mod watch;

pub(crate) use error::RoomError;
pub(crate) use feeds::{Feed, Feeds, Refresh};
pub(crate) use keys::SigningKeys;
pub(crate) use line::{Line, Standing};
pub(crate) use room_admin::RoomAdmin;
