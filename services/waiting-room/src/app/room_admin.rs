//! Operating rooms: creating, opening, pausing and closing them, and their rates.

use uuid::Uuid;

use super::{Feeds, RoomError};
use crate::{
    domain::{RoomState, RoomView, Window},
    store::Rooms,
};

/// The use cases of operators. Each sets a value and is idempotent.
#[derive(Debug)]
pub(crate) struct RoomAdmin {
    rooms: Rooms,
    feeds: Feeds,
}

impl RoomAdmin {
    pub(crate) fn new(rooms: Rooms, feeds: Feeds) -> Self {
        Self { rooms, feeds }
    }

    /// Creates a room, closed, or changes its settings. `None` keeps what it watches.
    pub(crate) async fn configure(
        &self,
        sale_id: Uuid,
        rate: f64,
        admission_ms: i64,
        window: Window,
        watches_stock: Option<bool>,
    ) -> Result<RoomView, RoomError> {
        Ok(self.rooms.configure(sale_id, rate, admission_ms, window, watches_stock).await?)
    }

    /// Opens, pauses or closes a room.
    pub(crate) async fn set_state(
        &self,
        sale_id: Uuid,
        state: RoomState,
    ) -> Result<RoomView, RoomError> {
        let room = self.rooms.set_state(sale_id, state).await?;
        // Ticked from now on, not only from the next reading of the list; and the next tick of a
        // room that was closed asks for its stock, which it did rarely until now.
        self.feeds.feed(sale_id).broadcast(room.clone());
        Ok(room)
    }

    pub(crate) async fn set_rate(&self, sale_id: Uuid, rate: f64) -> Result<RoomView, RoomError> {
        Ok(self.rooms.set_rate(sale_id, rate).await?)
    }

    pub(crate) async fn room(&self, sale_id: Uuid) -> Result<RoomView, RoomError> {
        Ok(self.rooms.room(sale_id).await?)
    }
}
