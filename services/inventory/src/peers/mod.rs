//! The services that inventory calls.

mod waiting_room;

pub use waiting_room::WaitingRoom;
