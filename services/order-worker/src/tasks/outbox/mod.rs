//! The outbox handlers: each carries out consequences of one kind until they are confirmed.

mod cancel_charge;
mod charge;
mod close_hold;
mod dispatcher;
mod handler;
mod held_off;
mod publish_event;
mod refund;
mod send_mail;

pub use cancel_charge::CancelCharge;
pub use charge::Charge;
pub use close_hold::CloseHold;
pub use dispatcher::{DispatchPace, Dispatcher};
pub(crate) use handler::CALLS;
pub use handler::{Handler, Outcome};
pub use held_off::HeldOff;
pub use publish_event::PublishEvent;
pub use refund::Refund;
pub use send_mail::SendMail;
