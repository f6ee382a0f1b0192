//! Inventory: loads and syncs the stock of sales, and says which units are out.

use std::collections::HashMap;

use flashsale_errors::Reason;
use flashsale_proto::inventory::{
    GetStockRequest, LoadStockRequest, SkuStock, SyncSaleRequest,
    inventory_admin_service_client::InventoryAdminServiceClient,
    inventory_service_client::InventoryServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{request::request_id, soon::soon, untold::Untold};
use crate::domain::{AtStock, PriceSwitch, Sale, UnitsOut};

const INVENTORY: &str = "inventory";

/// Inventory. A clone uses the same channel.
#[derive(Debug, Clone)]
pub struct Inventory {
    admin: InventoryAdminServiceClient<PeerChannel>,
    stock: InventoryServiceClient<PeerChannel>,
}

impl Inventory {
    /// Over a channel that may not be connected yet.
    pub fn new(channel: PeerChannel) -> Self {
        Self {
            admin: InventoryAdminServiceClient::new(channel.clone()),
            stock: InventoryServiceClient::new(channel),
        }
    }

    /// Loads the stock of a sale, unless it is loaded, and syncs what inventory keeps beside it.
    /// Also for a sale that ended before its stock was ever loaded: inventory takes a missing stock
    /// for a lost one. Tells what the store of its stock has decided, and when it switches prices.
    ///
    /// # Errors
    /// When a call fails, or inventory still has an older version of the sale.
    pub async fn tell(&self, sale: &Sale) -> Result<AtStock, Untold> {
        let mut admin = self.admin.clone();
        let load =
            LoadStockRequest { request_id: request_id(sale, "load"), sale_id: sale.id.to_string() };
        if let Err(status) = admin.load_stock(load).await {
            let refusal = Untold::from_status(INVENTORY, &status);
            if refusal.why != Reason::StockAlreadyLoaded.as_str() {
                return Err(refusal);
            }
        }
        let sync =
            SyncSaleRequest { request_id: request_id(sale, "sync"), sale_id: sale.id.to_string() };
        let synced = admin
            .sync_sale(sync)
            .await
            .map_err(|status| Untold::from_status(INVENTORY, &status))?
            .into_inner();
        if synced.version < sale.version {
            return Err(Untold { peer: INVENTORY, why: "BEHIND" });
        }
        let switches = synced.price_switches.iter().filter_map(|switch| {
            let at = wire::datetime("switch_time", switch.switch_time.as_ref()?).ok()?;
            Some(PriceSwitch { revision: switch.revision, at })
        });
        Ok(AtStock {
            cancelled: synced.cancelled,
            over: synced.over,
            price_switches: switches.collect(),
        })
    }

    /// The units of a sale that buyers hold or have in accepted orders, as of a moment after this
    /// call.
    ///
    /// # Errors
    /// When the call fails, or takes longer than 2 seconds or half of the caller's remaining time.
    pub async fn units_out(&self, sale_id: Uuid) -> Result<UnitsOut, Untold> {
        let stock = self.stock_of(sale_id).await?;
        Ok(UnitsOut {
            held: stock.iter().map(|sku| sku.held).sum(),
            placed: stock.iter().map(|sku| sku.placed).sum(),
        })
    }

    /// The same by sku.
    ///
    /// # Errors
    /// As [`Inventory::units_out`].
    pub async fn units_by_sku(&self, sale_id: Uuid) -> Result<HashMap<String, UnitsOut>, Untold> {
        let stock = self.stock_of(sale_id).await?.into_iter();
        Ok(stock.map(|sku| (sku.sku, UnitsOut { held: sku.held, placed: sku.placed })).collect())
    }

    async fn stock_of(&self, sale_id: Uuid) -> Result<Vec<SkuStock>, Untold> {
        let request =
            GetStockRequest { sale_id: sale_id.to_string(), skus: Vec::new(), fresh: true };
        Ok(soon(INVENTORY, self.stock.clone().get_stock(request)).await?.stock)
    }

    /// What the clock of the stock's store showed when it was asked for `sku` of a sale.
    ///
    /// # Errors
    /// As [`Inventory::units_out`]; also when the answer has no time.
    pub async fn clock(&self, sale_id: Uuid, sku: String) -> Result<OffsetDateTime, Untold> {
        let request =
            GetStockRequest { sale_id: sale_id.to_string(), skus: vec![sku], fresh: false };
        let answer = soon(INVENTORY, self.stock.clone().get_stock(request)).await?;
        answer
            .read_time
            .and_then(|at| wire::datetime("read_time", &at).ok())
            .ok_or(Untold { peer: INVENTORY, why: Reason::Internal.as_str() })
    }
}
