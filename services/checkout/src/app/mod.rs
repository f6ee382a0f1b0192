//! What checkout does: the use cases that handlers and tasks call.

mod admission_control;
mod cancel;
mod orders;
mod place;
mod retry_payment;
mod subscriptions;
mod watch;

pub use admission_control::{AdmissionControl, Backlog};
pub use orders::Orders;
pub use subscriptions::{OrderSubscription, OrderSubscriptions};
