//! The rules of a room: the outlook of a ticket, and when more numbers are needed. No clock, no
//! store.

mod numbers;
mod outlook;
mod room;

pub use numbers::runs_low;
pub use outlook::{Mark, Outlook, Place, Progress, outlook};
pub use room::{Hold, Phase, RoomState, RoomView, Stock, StockCount, Window};
