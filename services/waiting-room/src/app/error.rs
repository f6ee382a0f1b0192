//! The failures of calls.

use flashsale_admission::TicketInvalid;
use uuid::Uuid;

use crate::store::StoreError;

/// Why a call with valid fields failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomError {
    #[error("the room is closed")]
    Closed(Uuid),
    #[error("everything is sold")]
    SoldOut(Uuid),
    #[error(transparent)]
    Ticket(#[from] TicketInvalid),
    #[error("{limit} tickets are watched already")]
    TooManyWatchers { limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}
