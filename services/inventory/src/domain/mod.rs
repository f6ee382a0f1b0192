//! The rules of stock, without stores or wire types.
//!
//! Transitions of a hold are decided in the scripts under `lua/`, in one step each. Here is what
//! has to be known before a script runs, and what its results mean.

mod adjustment;
mod admission;
mod hold;
mod lines;
mod prices;
pub mod reconcile;
mod recorded;
mod refusal;
mod request;
mod sale;
mod serving;
mod stock;

pub use adjustment::{Adjusted, Adjustment, AdjustmentRequest, AdjustmentState, Delta, MAX_DELTA};
pub use admission::{AdmissionFault, Proof};
pub use flashsale_record::MAX_LINE_UNITS;
pub use hold::{
    Answer, Hold, HoldId, HoldState, Listed, Outcome, PlacedLine, Settled, Settlement, Swept,
    UnreadableHold,
};
pub use lines::{Line, Lines, LinesError, MAX_LINES, MAX_TOTAL_MINOR};
pub use prices::{PriceRow, PriceStep, Priced, Revision, StandingNext, StandingPrices, Switch};
pub use recorded::{OrderUnits, RecordedOrder, Retaken, Straggler, one_order_a_hold};
pub use refusal::Refusal;
pub use request::{Amount, Content, Operation, Placing, Request};
pub use sale::{Item, Rules, Synced};
pub use serving::{
    BEAT_EVERY, COVER, Closing, Evidence, LOOK_COVER, LOOK_EVERY, MARKER_AFTER_CLEARING,
    MARKER_AFTER_CLOSING, MARKER_AFTER_RAISE, Recorded, SILENT_AFTER, may_raise,
};
pub use stock::{Phase, SkuBooks, StockView, Terms};

/// The longest life of a hold, in hold lengths after it was taken.
pub const MAX_HOLD_LENGTHS: u32 = 3;

/// The most bytes of details an order may carry.
pub const MAX_DETAILS_BYTES: usize = 8 * 1024;

/// The most holds one call may settle.
pub const MAX_SETTLEMENTS: usize = 500;

/// The most orders whose units one call may take again.
pub const MAX_RETAKEN: usize = 500;
