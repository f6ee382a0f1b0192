//! What happens to orders, in plain Rust: no clocks, no stores, no network.

mod claim;
mod consequence;
mod message;
pub(crate) mod money;
mod order;
mod parked;
mod settle;

pub use claim::{Birth, Books, Decision, Known, SaleFacts, Straggler, decide};
pub use consequence::{Consequence, Kind, Occurrence, consequences};
pub(crate) use consequence::{HOLD_RELEASED, HOLD_SOLD};
pub use message::{Intake, OrderLine, PlacedOrder, Unacceptable};
pub use order::{Change, EndReason, Impossible, OrderState};
pub use parked::{Answers, ParkedDecision, Retaken, Standing, Verdict, decide_parked, verdict};
pub use settle::{PaymentState, Settlement, settle};
