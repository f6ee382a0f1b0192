//! The two stores of a room: Postgres records what must outlast Redis, Redis hands out the numbers.

mod record;
mod rooms;
mod scripts;

pub(crate) use record::{Record, RoomRow, Tick};
pub(crate) use rooms::{Rooms, TicketInRoom};
pub(crate) use scripts::{Answers, Joined, Place, Scripts};

use flashsale_redis::EvalError;
use uuid::Uuid;

/// Why a store has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The sale has no room.
    #[error("no room")]
    NotFound(Uuid),
    /// Concurrent restores or reservations won each time.
    #[error("the room is being put in place by others")]
    Busy,
    #[error(transparent)]
    Redis(#[from] EvalError),
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// A value of a store cannot be decoded.
    #[error("a store holds something unreadable: {0}")]
    Malformed(&'static str),
}
