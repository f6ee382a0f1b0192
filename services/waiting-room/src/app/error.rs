//! The failures of calls.

use std::time::Duration;

use flashsale_admission::TicketInvalid;
use uuid::Uuid;

use crate::store::StoreError;

/// Why a call with valid fields failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomError {
    #[error("the room is closed")]
    Closed(Uuid),
    #[error("buyers may not join yet")]
    TooEarly {
        sale_id: Uuid,
        /// When they may join, by the store's clock.
        joins_from_ms: i64,
        /// When the sale begins, if that is known.
        starts_at_ms: Option<i64>,
        /// How long it is until they may join.
        wait: Duration,
    },
    #[error("everything is sold")]
    SoldOut(Uuid),
    #[error(transparent)]
    Ticket(#[from] TicketInvalid),
    #[error("{limit} tickets are watched already")]
    TooManyWatchers { limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}
