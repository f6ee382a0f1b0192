//! The stores: the record of orders in Postgres, and the queue in NATS.

mod events;
mod queue;
mod record;

pub use events::OrderEvents;
pub use queue::{Queue, unavailable};
pub use record::{ClaimPosition, ReadError, Record};
