//! The stores: stock in Redis, changed by scripts; epochs and allotments on record in Postgres; the
//! order queue in JetStream.

mod adjustments;
mod batch;
mod beats;
mod clock;
mod compare;
mod fill;
mod inspect;
mod keys;
mod postgres;
mod prices;
mod queue;
mod reading;
mod rebuilds;
mod record;
mod reply;
mod runner;
mod scripts;
mod servers;
mod stock;
mod stored_hold;

pub use adjustments::Adjustments;
pub use beats::{Beats, Slot};
pub use compare::Floor;
pub use fill::InRedis;
pub use keys::keys;
pub use prices::Prices;
pub use queue::{FoundOrders, Look, Queue};
pub use rebuilds::Snapshot;
pub use record::{Known, LoadBegun, Record};
pub use scripts::Scripts;
pub use servers::{SaleEpoch, Servers, Unchanged};
pub use stock::Stock;
