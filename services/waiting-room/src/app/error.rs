//! Everything that can go wrong with a call.

use flashsale_admission::TicketInvalid;
use uuid::Uuid;

use crate::store::StoreError;

/// Why a call failed, once its fields were in order.
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
