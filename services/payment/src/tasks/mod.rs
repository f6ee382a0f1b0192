//! What goes on in the background: charging, giving back, and looking after what was left lying.

mod charge;
mod pacer;
mod reconcile;
mod refund;

pub use charge::Charger;
pub use pacer::{Bell, Pacer};
pub use reconcile::reconcile;
pub use refund::Refunder;
