//! `InventoryAdminService`.

use std::sync::Arc;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{
    self as proto, inventory_admin_service_server::InventoryAdminService,
};
use flashsale_service::wire;
use tonic::{Request, Response, Status};

use super::{
    decode, encode,
    failure::{status, status_of_skus},
};
use crate::inventory::Inventory;

/// The control plane.
#[derive(Debug)]
pub struct AdminService {
    inventory: Arc<Inventory>,
}

impl AdminService {
    /// The service over `inventory`.
    pub fn new(inventory: Arc<Inventory>) -> Self {
        Self { inventory }
    }
}

fn not_built(rpc: &str) -> Status {
    Failure::new(Reason::NotImplemented, format!("{rpc} is not built yet")).into()
}

#[tonic::async_trait]
impl InventoryAdminService for AdminService {
    async fn load_stock(
        &self,
        request: Request<proto::LoadStockRequest>,
    ) -> Result<Response<proto::LoadStockResponse>, Status> {
        let asked = request.into_inner();
        let request_id = wire::request_id(&asked.request_id)?;
        let sale_id = decode::sale_id(&asked.sale_id)?;
        let epoch = self.inventory.load(sale_id, request_id).await.map_err(status)?;
        Ok(Response::new(proto::LoadStockResponse { epoch }))
    }

    async fn sync_sale(
        &self,
        request: Request<proto::SyncSaleRequest>,
    ) -> Result<Response<proto::SyncSaleResponse>, Status> {
        let asked = request.into_inner();
        wire::request_id(&asked.request_id)?;
        let sale_id = decode::sale_id(&asked.sale_id)?;
        let version = self.inventory.sync(sale_id).await.map_err(status)?;
        Ok(Response::new(proto::SyncSaleResponse { version }))
    }

    async fn settle_holds(
        &self,
        request: Request<proto::SettleHoldsRequest>,
    ) -> Result<Response<proto::SettleHoldsResponse>, Status> {
        let asked = request.into_inner();
        wire::request_id(&asked.request_id)?;
        let sale_id = decode::sale_id(&asked.sale_id)?;
        let holds = decode::settlements(&asked.settlements)?;
        let results = self.inventory.settle(sale_id, &holds).await.map_err(status)?;
        let results = results.into_iter().map(|result| encode::settled(result).into()).collect();
        Ok(Response::new(proto::SettleHoldsResponse { results }))
    }

    async fn list_placed_holds(
        &self,
        request: Request<proto::ListPlacedHoldsRequest>,
    ) -> Result<Response<proto::ListPlacedHoldsResponse>, Status> {
        let (sale_id, before_ms, limit) = decode::list_placed(&request.into_inner())?;
        let holds = self.inventory.list_placed(sale_id, before_ms, limit).await.map_err(status)?;
        let placed = holds.iter().map(|hold| encode::placed(sale_id, hold)).collect();
        Ok(Response::new(proto::ListPlacedHoldsResponse { placed }))
    }

    async fn adjust_stock(
        &self,
        request: Request<proto::AdjustStockRequest>,
    ) -> Result<Response<proto::AdjustStockResponse>, Status> {
        let ask = decode::adjust(&request.into_inner())?;
        let done =
            self.inventory.adjust(&ask).await.map_err(|refusal| {
                status_of_skus(refusal, [ask.sku.as_str()], |_| "sku".to_owned())
            })?;
        Ok(Response::new(proto::AdjustStockResponse {
            stock: encode::books(done.books.as_slice()).pop(),
            adjustment: Some(encode::adjustment(&done.adjustment)),
        }))
    }

    async fn reconcile(
        &self,
        _: Request<proto::ReconcileRequest>,
    ) -> Result<Response<proto::ReconcileResponse>, Status> {
        Err(not_built("Reconcile"))
    }

    async fn rebuild(
        &self,
        _: Request<proto::RebuildRequest>,
    ) -> Result<Response<proto::RebuildResponse>, Status> {
        Err(not_built("Rebuild"))
    }

    async fn list_adjustments(
        &self,
        request: Request<proto::ListAdjustmentsRequest>,
    ) -> Result<Response<proto::ListAdjustmentsResponse>, Status> {
        let (sale_id, after, size) = decode::list_adjustments(&request.into_inner())?;
        let (listed, next) =
            self.inventory.adjustments(sale_id, after.as_ref(), size).await.map_err(status)?;
        Ok(Response::new(proto::ListAdjustmentsResponse {
            adjustments: listed.iter().map(encode::adjustment).collect(),
            next_page_token: next.map(|token| token.encode(sale_id)).unwrap_or_default(),
        }))
    }

    async fn retake_holds(
        &self,
        _: Request<proto::RetakeHoldsRequest>,
    ) -> Result<Response<proto::RetakeHoldsResponse>, Status> {
        Err(not_built("RetakeHolds"))
    }
}
