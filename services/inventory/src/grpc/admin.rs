//! `InventoryAdminService`.

use std::sync::Arc;

use flashsale_proto::inventory::{
    self as proto, inventory_admin_service_server::InventoryAdminService,
};
use flashsale_service::{page, wire};
use tonic::{Request, Response, Status};

use super::{
    decode, encode,
    errors::{status, status_of_skus},
};
use crate::{
    app::Inventory,
    domain::{Refusal, Synced},
};

/// The control plane.
#[derive(Debug)]
pub struct AdminService {
    inventory: Arc<Inventory>,
}

impl AdminService {
    pub fn new(inventory: Arc<Inventory>) -> Self {
        Self { inventory }
    }
}

#[tonic::async_trait]
impl InventoryAdminService for AdminService {
    async fn load_stock(
        &self,
        request: Request<proto::LoadStockRequest>,
    ) -> Result<Response<proto::LoadStockResponse>, Status> {
        let message = request.into_inner();
        let request_id = wire::request_id(&message.request_id)?;
        let sale_id = decode::sale_id(&message.sale_id)?;
        let epoch = self.inventory.load(sale_id, request_id).await.map_err(status)?;
        Ok(Response::new(proto::LoadStockResponse { epoch }))
    }

    async fn sync_sale(
        &self,
        request: Request<proto::SyncSaleRequest>,
    ) -> Result<Response<proto::SyncSaleResponse>, Status> {
        let message = request.into_inner();
        wire::request_id(&message.request_id)?;
        let sale_id = decode::sale_id(&message.sale_id)?;
        let Synced { version, cancelled, over, switches } =
            self.inventory.sync(sale_id).await.map_err(status)?;
        let price_switches = switches.into_iter().map(encode::switch).collect();
        Ok(Response::new(proto::SyncSaleResponse { version, cancelled, over, price_switches }))
    }

    async fn settle_holds(
        &self,
        request: Request<proto::SettleHoldsRequest>,
    ) -> Result<Response<proto::SettleHoldsResponse>, Status> {
        let message = request.into_inner();
        wire::request_id(&message.request_id)?;
        let sale_id = decode::sale_id(&message.sale_id)?;
        let holds = decode::settlements(&message.settlements)?;
        let results = self.inventory.settle(sale_id, &holds).await.map_err(status)?;
        let results = results.into_iter().map(|result| encode::settled(result).into()).collect();
        Ok(Response::new(proto::SettleHoldsResponse { results }))
    }

    async fn list_placed_holds(
        &self,
        request: Request<proto::ListPlacedHoldsRequest>,
    ) -> Result<Response<proto::ListPlacedHoldsResponse>, Status> {
        let (sale_id, before_ms, limit) = decode::list_placed(&request.into_inner())?;
        let listed = self.inventory.list_placed(sale_id, before_ms, limit).await.map_err(status)?;
        let placed = listed.placed.iter().map(|hold| encode::placed(sale_id, hold)).collect();
        let unreadable = listed.unreadable.into_iter().map(encode::unreadable).collect();
        Ok(Response::new(proto::ListPlacedHoldsResponse { placed, unreadable }))
    }

    async fn adjust_stock(
        &self,
        request: Request<proto::AdjustStockRequest>,
    ) -> Result<Response<proto::AdjustStockResponse>, Status> {
        let request = decode::adjust(&request.into_inner())?;
        let done = self.inventory.adjust(&request).await.map_err(|refusal| {
            status_of_skus(refusal, [request.sku.as_str()], |_| "sku".to_owned())
        })?;
        Ok(Response::new(proto::AdjustStockResponse {
            stock: done
                .books
                .as_ref()
                .map(|books| encode::sku(books, &done.currency, done.at_sale_prices)),
            adjustment: Some(encode::adjustment(&done.adjustment)),
        }))
    }

    async fn reconcile(
        &self,
        request: Request<proto::ReconcileRequest>,
    ) -> Result<Response<proto::ReconcileResponse>, Status> {
        let message = request.into_inner();
        wire::request_id(&message.request_id)?;
        let sale_id = decode::sale_id(&message.sale_id)?;
        let report = self.inventory.reconcile(sale_id, message.repair).await.map_err(status)?;
        Ok(Response::new(encode::report(&report)))
    }

    async fn rebuild(
        &self,
        request: Request<proto::RebuildRequest>,
    ) -> Result<Response<proto::RebuildResponse>, Status> {
        let message = request.into_inner();
        wire::request_id(&message.request_id)?;
        let sale_id = decode::sale_id(&message.sale_id)?;
        let inventory = Arc::clone(&self.inventory);
        // Spawned, so that it continues when the caller gives up: the sale is closed until it is
        // done.
        let rebuild = tokio::spawn(async move { inventory.rebuild(sale_id, message.force).await });
        let rebuilt = rebuild
            .await
            .unwrap_or_else(|error| Err(Refusal::Fault { cause: error.to_string() }))
            .map_err(status)?;
        let proto = proto::RebuildResponse { epoch: rebuilt.epoch, rebuilt: rebuilt.rebuilt };
        Ok(Response::new(proto))
    }

    async fn take_over(
        &self,
        request: Request<proto::TakeOverRequest>,
    ) -> Result<Response<proto::TakeOverResponse>, Status> {
        let message = request.into_inner();
        let request_id = wire::request_id(&message.request_id)?;
        let reason = decode::reason(&message.reason)?;
        let (servers, retired) =
            self.inventory.take_over(request_id, reason).await.map_err(status)?;
        Ok(Response::new(proto::TakeOverResponse { servers, retired }))
    }

    async fn list_adjustments(
        &self,
        request: Request<proto::ListAdjustmentsRequest>,
    ) -> Result<Response<proto::ListAdjustmentsResponse>, Status> {
        let (sale_id, after, size) = decode::list_adjustments(&request.into_inner())?;
        let (listed, next) =
            self.inventory.adjustments(sale_id, after, size).await.map_err(status)?;
        Ok(Response::new(proto::ListAdjustmentsResponse {
            adjustments: listed.iter().map(encode::adjustment).collect(),
            next_page_token: page::token(
                &decode::adjustments_of(&sale_id.to_string()),
                next.as_ref(),
            ),
        }))
    }

    async fn retake_holds(
        &self,
        request: Request<proto::RetakeHoldsRequest>,
    ) -> Result<Response<proto::RetakeHoldsResponse>, Status> {
        let message = request.into_inner();
        wire::request_id(&message.request_id)?;
        let sale_id = decode::sale_id(&message.sale_id)?;
        let orders = decode::stragglers(&message)?;
        let (epoch, results) =
            self.inventory.retake(sale_id, message.min_epoch, &orders).await.map_err(status)?;
        let results = results.into_iter().map(|result| encode::retaken(result).into()).collect();
        Ok(Response::new(proto::RetakeHoldsResponse { results, epoch }))
    }
}
