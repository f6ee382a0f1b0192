//! Background loops: charging, refunding, asking again about payments that were left alone, and
//! reading the events that were not sent to us.

mod charge;
mod compare;
mod differences;
pub(crate) mod measurements;
mod pacer;
mod reconcile;
mod refund;

pub use charge::Charger;
pub use compare::Comparer;
pub use differences::count_differences;
pub use pacer::Pacer;
pub use reconcile::{Reconciling, reconcile};
pub use refund::Refunder;
