//! The two stores of a room: Postgres records what must outlast Redis, Redis hands out the numbers.

mod record;
mod rooms;
mod scripts;

pub(crate) use record::{Record, RoomRow};
pub(crate) use rooms::{Rooms, TicketInRoom};
pub(crate) use scripts::{Joined, Scripts};

use flashsale_redis::EvalError;
use uuid::Uuid;

/// Why a store has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The sale has no room.
    #[error("no room")]
    NotFound(Uuid),
    /// Others kept getting in the way.
    #[error("the room is being put in place by others")]
    Busy,
    /// Redis.
    #[error(transparent)]
    Redis(#[from] EvalError),
    /// Postgres.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// What a store holds cannot be read.
    #[error("a store holds something unreadable: {0}")]
    Malformed(&'static str),
}
