//! What happens to orders, in plain Rust: no clocks, no stores, no network.

mod backoff;
mod books;
mod claim;
mod consequence;
#[cfg(test)]
mod fixtures;
pub mod mail;
mod message;
pub(crate) mod money;
mod new_order;
mod order;
mod parked;
mod prices;
mod settle;

pub use backoff::Backoff;
pub use books::{Books, Known, SaleFacts};
pub use claim::{Decision, Straggler, decide};
pub use consequence::{About, Consequence, Kind, Occurrence, consequences};
pub use flashsale_record::{FIRST_PRICE_REVISION, Line, OrderDetails, OrderState, PaymentState};
pub use message::{CancelTarget, Message, PlacedOrder, Unacceptable};
pub use new_order::NewOrder;
pub use order::{Change, EndReason, Impossible};
pub use parked::{Answers, ParkedDecision, Retaken, Standing, Verdict, decide_parked, verdict};
pub use prices::{Price, Prices};
pub use settle::{PaymentWord, Settlement, settle};
