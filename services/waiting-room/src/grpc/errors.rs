//! Failures as reasons of the public contract.

use std::time::Duration;

use flashsale_admission::TicketInvalid;
use flashsale_errors::{Failure, Reason};
use flashsale_redis::EvalError;

use crate::{app::RoomError, store::StoreError};

/// The longest delay that a buyer who comes too early is told: the room may be changed meanwhile.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

impl From<RoomError> for Failure {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Closed(sale_id) => Self::new(Reason::SaleNotOpen, "the room is closed")
                .with("sale_id", sale_id)
                .with("state", "CLOSED"),
            RoomError::TooEarly { sale_id, joins_from_ms, starts_at_ms, wait } => {
                let failure = Self::new(Reason::SaleNotOpen, "buyers may not join yet")
                    .with("sale_id", sale_id)
                    .with("state", "NOT_STARTED")
                    .with("joins_from_ms", joins_from_ms)
                    .retry_exactly_after(wait.min(LONGEST_DELAY));
                match starts_at_ms {
                    Some(starts_at_ms) => failure.with("starts_at_ms", starts_at_ms),
                    None => failure,
                }
            }
            RoomError::SoldOut(sale_id) => {
                Self::new(Reason::SaleNotOpen, "everything is sold, and nothing will come back")
                    .with("sale_id", sale_id)
                    .with("state", "SOLD_OUT")
            }
            RoomError::Ticket(TicketInvalid) => {
                Self::field(Reason::TicketInvalid, "ticket", "is not a ticket that we have signed")
            }
            RoomError::TooManyWatchers { limit } => {
                Self::new(Reason::Overloaded, "too many tickets are watched here")
                    .with("limit", limit)
            }
            RoomError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(sale_id) => {
                Self::new(Reason::RoomNotFound, format!("sale {sale_id} has no room"))
                    .with("sale_id", sale_id)
            }
            StoreError::Busy => Self::store("redis", "the room is being put in place by others"),
            // A script whose reply was lost is harmless: the retry of the call has the same effect.
            StoreError::Redis(
                error @ (EvalError::Timeout | EvalError::Unavailable | EvalError::Refusing(_)),
            ) => Self::store("redis", error),
            StoreError::Redis(error @ EvalError::Other(_)) => Self::internal(error),
            StoreError::Postgres(error) => flashsale_pg::failure(error),
            StoreError::Malformed(_) => Self::internal(error),
        }
    }
}
