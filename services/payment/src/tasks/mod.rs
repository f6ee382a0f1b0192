//! Background loops: charging, refunding, and asking again about payments that were left alone.

mod charge;
pub(crate) mod measurements;
mod pacer;
mod reconcile;
mod refund;

pub use charge::Charger;
pub use pacer::Pacer;
pub use reconcile::{Reconciling, reconcile};
pub use refund::Refunder;
