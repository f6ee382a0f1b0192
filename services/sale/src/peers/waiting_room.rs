//! The waiting room: configures, opens, pauses and closes the rooms of sales.

use flashsale_errors::Reason;
use flashsale_proto::waitingroom::{
    CloseRoomRequest, ConfigureRoomRequest, OpenRoomRequest, PauseRoomRequest,
    waiting_room_admin_service_client::WaitingRoomAdminServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use tonic::Status;

use super::{request::request_id, untold::Untold};
use crate::domain::{Room, Sale, Settings};

const WAITING_ROOM: &str = "waiting-room";

/// The waiting room. A clone uses the same channel.
#[derive(Debug, Clone)]
pub struct WaitingRoom {
    admin: WaitingRoomAdminServiceClient<PeerChannel>,
}

impl WaitingRoom {
    /// Over a channel that may not be connected yet.
    pub fn new(channel: PeerChannel) -> Self {
        Self { admin: WaitingRoomAdminServiceClient::new(channel) }
    }

    /// Configures and opens the room of a sale: its head moves within the sale's window, and buyers
    /// may join as much earlier as the room says.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn open(&self, sale: &Sale, room: Room) -> Result<(), Untold> {
        self.configure(sale, room).await?;
        let open =
            OpenRoomRequest { request_id: request_id(sale, "open"), sale_id: sale.id.to_string() };
        self.admin.clone().open_room(open).await.map_err(untold)?;
        Ok(())
    }

    async fn configure(&self, sale: &Sale, room: Room) -> Result<(), Untold> {
        let Settings { starts_at, ends_at, .. } = sale.settings;
        let configure = ConfigureRoomRequest {
            request_id: request_id(sale, "configure"),
            sale_id: sale.id.to_string(),
            admissions_per_second: room.rate,
            admission_ttl: Some(wire::duration(room.admission)),
            joins_from: Some(wire::timestamp(starts_at - room.pre_queue)),
            admits_from: Some(wire::timestamp(starts_at)),
            admits_until: Some(wire::timestamp(ends_at)),
            watches_stock: None,
        };
        let answer = self.admin.clone().configure_room(configure).await.map_err(untold)?;
        // An instance of the version before the window takes the call and drops the window.
        match answer.into_inner().room.and_then(|room| room.admits_from) {
            Some(_) => Ok(()),
            None => Err(Untold { peer: WAITING_ROOM, why: "BEHIND" }),
        }
    }

    /// Configures and pauses the room of a sale: what changed while it is paused holds when it
    /// resumes, and its end does not come before the sale's.
    ///
    /// # Errors
    /// When a call fails.
    pub async fn pause(&self, sale: &Sale, room: Room) -> Result<(), Untold> {
        self.configure(sale, room).await?;
        let pause = PauseRoomRequest {
            request_id: request_id(sale, "pause"),
            sale_id: sale.id.to_string(),
        };
        self.admin.clone().pause_room(pause).await.map_err(untold)?;
        Ok(())
    }

    /// Closes the room of a sale, if it has one.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn close(&self, sale: &Sale) -> Result<(), Untold> {
        if sale.settings.room.is_none() {
            return Ok(());
        }
        let close = CloseRoomRequest {
            request_id: request_id(sale, "close"),
            sale_id: sale.id.to_string(),
        };
        unless_missing(self.admin.clone().close_room(close).await)
    }
}

fn untold(status: Status) -> Untold {
    Untold::from_status(WAITING_ROOM, &status)
}

/// A room that was never configured needs no closing.
fn unless_missing<T>(answer: Result<T, Status>) -> Result<(), Untold> {
    match answer.map_err(untold) {
        Err(refusal) if refusal.why != Reason::RoomNotFound.as_str() => Err(refusal),
        Ok(_) | Err(_) => Ok(()),
    }
}
