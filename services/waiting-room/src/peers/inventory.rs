//! The stock of a sale, as inventory counts it.

use flashsale_proto::inventory::{
    GetStockRequest, inventory_service_client::InventoryServiceClient,
};
use flashsale_service::peer::PeerChannel;
use uuid::Uuid;

use crate::domain::{Stock, StockCount};

/// The inventory service. Clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Inventory {
    client: InventoryServiceClient<PeerChannel>,
}

impl Inventory {
    pub(crate) fn new(channel: PeerChannel) -> Self {
        Self { client: InventoryServiceClient::new(channel) }
    }

    /// What is left of a sale; [`Stock::Unknown`] if inventory does not answer, fences the stock,
    /// or has none of the sale.
    pub(crate) async fn stock(&self, sale_id: Uuid) -> Stock {
        // Not fresh: each instance asks several times a second, and the next answer corrects this
        // one.
        let request =
            GetStockRequest { sale_id: sale_id.to_string(), ..GetStockRequest::default() };
        match self.client.clone().get_stock(request).await {
            Ok(response) => response
                .into_inner()
                .stock
                .iter()
                .fold(StockCount::default(), |sum, sku| StockCount {
                    allotted: sum.allotted.saturating_add(sku.allotted),
                    available: sum.available.saturating_add(sku.available),
                    may_return: sum.may_return.saturating_add(sku.held).saturating_add(sku.placed),
                })
                .verdict(),
            Err(status) => {
                tracing::debug!(%sale_id, code = ?status.code(), "stock unknown");
                Stock::Unknown
            }
        }
    }
}
