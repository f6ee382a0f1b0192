//! Where stock is kept: in Redis by scripts, with the epoch and the allotments on record in Postgres.

mod adjustments;
mod clock;
mod compare;
mod fill;
mod inspect;
mod keys;
mod queue;
mod record;
mod reply;
mod runner;
mod scripts;
mod servers;
mod stock;
mod takes;

pub use adjustments::Adjustments;
pub use compare::Floor;
pub use fill::InRedis;
pub use keys::{beat_key, keys};
pub use queue::{Found, Look, Queue};
pub use record::{Claimed, Known, Record, Snapshot};
pub use scripts::Scripts;
pub use servers::{SaleEpoch, Servers, Unchanged};
pub use stock::{Answer, HoldId, Stock, Swept};
