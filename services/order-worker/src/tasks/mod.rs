//! Background loops: each runs until the drain starts, and several instances of each may run.

pub mod claimer;
pub mod outbox;
pub mod parked;
pub mod settlement;
