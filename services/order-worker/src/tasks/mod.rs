//! Background loops: each runs until the drain starts, and several instances of each may run.

pub mod claimer;
pub(crate) mod dead_letters;
pub(crate) mod events_stream;
pub(crate) mod measurements;
pub mod outbox;
pub mod parked;
pub mod settlement;
