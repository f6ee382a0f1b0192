//! What the other services are told of a sale, and what inventory is asked about it. Every call may be repeated: those that tell set a
//! value, and carry an id made from the sale and its version.

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    inventory::{
        GetStockRequest, LoadStockRequest, SyncSaleRequest,
        inventory_admin_service_client::InventoryAdminServiceClient,
        inventory_service_client::InventoryServiceClient,
    },
    waitingroom::{
        CloseRoomRequest, ConfigureRoomRequest, OpenRoomRequest, PauseRoomRequest,
        waiting_room_admin_service_client::WaitingRoomAdminServiceClient,
    },
};
use flashsale_service::{deadline, peer::PeerChannel, wire};
use tonic::Status;
use uuid::Uuid;

use crate::domain::{Room, Sale, SaleState, UnitsOut};

const INVENTORY: &str = "inventory";
const WAITING_ROOM: &str = "waiting-room";
/// How long a report waits for what is held, at most.
const STOCK_WITHIN: Duration = Duration::from_secs(2);

/// Why somebody could not be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untold {
    /// Who.
    pub peer: &'static str,
    /// The reason it gave, or the transport did.
    pub why: &'static str,
}

/// Inventory and the waiting room.
#[derive(Debug, Clone)]
pub struct Peers {
    inventory: InventoryAdminServiceClient<PeerChannel>,
    stock: InventoryServiceClient<PeerChannel>,
    waiting_room: WaitingRoomAdminServiceClient<PeerChannel>,
}

impl Peers {
    /// Over channels, which may not be connected yet.
    pub fn new(inventory: PeerChannel, waiting_room: PeerChannel) -> Self {
        Self {
            inventory: InventoryAdminServiceClient::new(inventory.clone()),
            stock: InventoryServiceClient::new(inventory),
            waiting_room: WaitingRoomAdminServiceClient::new(waiting_room),
        }
    }

    /// Tells everybody how the sale stands.
    ///
    /// # Errors
    /// When one of them could not be told; the others may have been.
    pub async fn tell(&self, sale: &Sale) -> Result<(), Untold> {
        match sale.state {
            // Nobody else's business yet.
            SaleState::Draft | SaleState::Scheduled => Ok(()),
            // The stock first: whoever is admitted must find it open.
            SaleState::Open => {
                self.tell_inventory(sale).await?;
                match sale.settings.room {
                    Some(room) => self.open_room(sale, room).await,
                    None => Ok(()),
                }
            }
            // The room first, so that nobody is admitted to what takes no more holds; and each of them even if the other is away.
            SaleState::Paused => {
                let paused = self.pause_room(sale).await;
                self.tell_inventory(sale).await.and(paused)
            }
            SaleState::Ended => {
                let closed = self.close_room(sale).await;
                self.tell_inventory(sale).await.and(closed)
            }
        }
    }

    /// The units of a sale that buyers hold or have in accepted orders.
    ///
    /// # Errors
    /// When inventory cannot say.
    pub async fn units_out(&self, sale_id: Uuid) -> Result<UnitsOut, Untold> {
        let asked = GetStockRequest { sale_id: sale_id.to_string(), skus: Vec::new() };
        // What is left of the caller's time is also for the record, which is there without inventory.
        let within = deadline::remaining().map_or(STOCK_WITHIN, |left| STOCK_WITHIN.min(left / 2));
        let answer = tokio::time::timeout(within, self.stock.clone().get_stock(asked)).await;
        let late = Untold { peer: INVENTORY, why: Reason::DeadlineExceeded.as_str() };
        let answer = answer.map_err(|_| late)?;
        let stock = answer.map_err(|status| untold(INVENTORY, &status))?.into_inner().stock;
        Ok(UnitsOut {
            held: stock.iter().map(|sku| sku.held).sum(),
            placed: stock.iter().map(|sku| sku.placed).sum(),
        })
    }

    /// Loads the stock, unless it is, and brings what stands beside it up to date. Also for a sale that ended before its stock
    /// was ever loaded: an empty place reads as one that lost its stock.
    async fn tell_inventory(&self, sale: &Sale) -> Result<(), Untold> {
        let mut inventory = self.inventory.clone();
        let load =
            LoadStockRequest { request_id: request_id(sale, "load"), sale_id: sale.id.to_string() };
        if let Err(status) = inventory.load_stock(load).await {
            let refusal = untold(INVENTORY, &status);
            if refusal.why != Reason::StockAlreadyLoaded.as_str() {
                return Err(refusal);
            }
        }
        let sync =
            SyncSaleRequest { request_id: request_id(sale, "sync"), sale_id: sale.id.to_string() };
        let synced = inventory.sync_sale(sync).await;
        let synced = synced.map_err(|status| untold(INVENTORY, &status))?.into_inner();
        if synced.version < sale.version {
            return Err(Untold { peer: INVENTORY, why: "BEHIND" });
        }
        Ok(())
    }

    async fn open_room(&self, sale: &Sale, room: Room) -> Result<(), Untold> {
        let mut waiting_room = self.waiting_room.clone();
        let configure = ConfigureRoomRequest {
            request_id: request_id(sale, "configure"),
            sale_id: sale.id.to_string(),
            admissions_per_second: room.rate,
            admission_ttl: Some(wire::duration(room.admission)),
        };
        let untold = |status: Status| untold(WAITING_ROOM, &status);
        waiting_room.configure_room(configure).await.map_err(untold)?;
        let open =
            OpenRoomRequest { request_id: request_id(sale, "open"), sale_id: sale.id.to_string() };
        waiting_room.open_room(open).await.map_err(untold)?;
        Ok(())
    }

    async fn pause_room(&self, sale: &Sale) -> Result<(), Untold> {
        if sale.settings.room.is_none() {
            return Ok(());
        }
        let pause = PauseRoomRequest {
            request_id: request_id(sale, "pause"),
            sale_id: sale.id.to_string(),
        };
        if_there(self.waiting_room.clone().pause_room(pause).await)
    }

    async fn close_room(&self, sale: &Sale) -> Result<(), Untold> {
        if sale.settings.room.is_none() {
            return Ok(());
        }
        let close = CloseRoomRequest {
            request_id: request_id(sale, "close"),
            sale_id: sale.id.to_string(),
        };
        if_there(self.waiting_room.clone().close_room(close).await)
    }
}

/// A room that was never made needs no closing.
fn if_there<T>(answer: Result<T, Status>) -> Result<(), Untold> {
    match answer.map_err(|status| untold(WAITING_ROOM, &status)) {
        Err(refusal) if refusal.why != Reason::RoomNotFound.as_str() => Err(refusal),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The same for every attempt to tell of this version.
fn request_id(sale: &Sale, operation: &str) -> String {
    Uuid::new_v5(&sale.id, format!("{operation}:{}", sale.version).as_bytes()).to_string()
}

fn untold(peer: &'static str, status: &Status) -> Untold {
    Untold { peer, why: Failure::from_peer(peer, status).reason().as_str() }
}
