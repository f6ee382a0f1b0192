//! What checkout does: the use cases that handlers and tasks call.

mod admission_control;
mod orders;
mod place;
mod subscriptions;

pub use admission_control::Intake;
pub use orders::{Orders, visible};
pub use subscriptions::{Changes, Hub};
