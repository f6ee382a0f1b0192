//! What checkout does: the use cases that handlers and tasks call.

mod admission_control;
mod cancel;
mod orders;
mod place;
mod subscriptions;
mod watch;

pub use admission_control::{Intake, Waiting};
pub use orders::Orders;
pub use subscriptions::{Changes, Hub};
