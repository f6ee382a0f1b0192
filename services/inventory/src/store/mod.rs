//! Where stock is kept: in Redis by scripts, with the epoch and the allotments on record in Postgres.

mod adjustments;
mod clock;
mod epochs;
mod keys;
mod load;
mod record;
mod reply;
mod scripts;
mod stock;

pub use adjustments::Adjustments;
pub use epochs::Epochs;
pub use keys::keys;
pub use load::{Load, Loaded};
pub use record::{Claimed, Known, Record};
pub use scripts::Scripts;
pub use stock::{Answer, HoldId, Stock, Swept};
