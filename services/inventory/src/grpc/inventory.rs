//! `InventoryService`.

use std::sync::Arc;

use flashsale_proto::inventory::{self as proto, inventory_service_server::InventoryService};
use flashsale_service::wire;
use futures::{StreamExt as _, stream::BoxStream};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use super::{
    decode, encode,
    failure::{status, status_of_skus},
};
use crate::{
    admissions::Admissions,
    domain::{self, AdmissionFault, Proof},
    inventory::Inventory,
    store::Answer,
    watch::Watches,
};

/// The data plane.
#[derive(Debug)]
pub struct Service {
    inventory: Arc<Inventory>,
    admissions: Admissions,
    watches: Watches,
}

impl Service {
    /// The service over `inventory`.
    pub fn new(inventory: Arc<Inventory>, admissions: Admissions, watches: Watches) -> Self {
        Self { inventory, admissions, watches }
    }

    /// Asks for `lines`, with the admission that came along.
    async fn take(
        &self,
        request: &domain::Request,
        lines: &[proto::Line],
        admission: &str,
    ) -> Result<Answer, Status> {
        let proof = self.admissions.judge(admission, request.sale_id, &request.buyer_id).await;
        self.inventory.request(request, &proof).await.map_err(|refusal| {
            let skus = lines.iter().map(|line| line.sku.as_str());
            status_of_skus(refusal, skus, |index| format!("lines[{index}].sku"))
        })
    }

    /// Asks about a hold there is, which has spent its admission already.
    async fn change(&self, request: &domain::Request) -> Result<Answer, Status> {
        let proof = Proof::Fault(AdmissionFault::Required);
        self.inventory.request(request, &proof).await.map_err(status)
    }
}

#[tonic::async_trait]
impl InventoryService for Service {
    async fn reserve(
        &self,
        request: Request<proto::ReserveRequest>,
    ) -> Result<Response<proto::ReserveResponse>, Status> {
        let asked = request.into_inner();
        let request = decode::reserve(&asked)?;
        let answer = self.take(&request, &asked.lines, &asked.admission).await?;
        let hold = Some(encode::hold(request.sale_id, &answer.hold));
        Ok(Response::new(proto::ReserveResponse { hold }))
    }

    async fn place_hold(
        &self,
        request: Request<proto::PlaceHoldRequest>,
    ) -> Result<Response<proto::PlaceHoldResponse>, Status> {
        let asked = request.into_inner();
        let request = decode::place(&asked)?;
        let answer = match request.content {
            domain::Content::PlaceLines(..) => {
                self.take(&request, &asked.lines, &asked.admission).await?
            }
            domain::Content::PlaceHold(..)
            | domain::Content::Reserve(..)
            | domain::Content::Extend(..)
            | domain::Content::Release(..) => self.change(&request).await?,
        };
        Ok(Response::new(proto::PlaceHoldResponse {
            placed: Some(encode::placed(request.sale_id, &answer.hold)),
            replayed: answer.replayed,
        }))
    }

    async fn get_hold(
        &self,
        request: Request<proto::GetHoldRequest>,
    ) -> Result<Response<proto::GetHoldResponse>, Status> {
        let asked = request.into_inner();
        let (sale_id, id, buyer_id) = decode::get_hold(&asked)?;
        let hold = self.inventory.hold(sale_id, id, buyer_id).await.map_err(status)?;
        Ok(Response::new(proto::GetHoldResponse {
            hold: Some(encode::hold(sale_id, &hold)),
            // A hold has a request id from its placing on.
            placed: hold.request_id.is_some().then(|| encode::placed(sale_id, &hold)),
        }))
    }

    async fn extend_hold(
        &self,
        request: Request<proto::ExtendHoldRequest>,
    ) -> Result<Response<proto::ExtendHoldResponse>, Status> {
        let request = decode::extend(&request.into_inner())?;
        let answer = self.change(&request).await?;
        let hold = Some(encode::hold(request.sale_id, &answer.hold));
        Ok(Response::new(proto::ExtendHoldResponse { hold }))
    }

    async fn release_hold(
        &self,
        request: Request<proto::ReleaseHoldRequest>,
    ) -> Result<Response<proto::ReleaseHoldResponse>, Status> {
        let request = decode::release(&request.into_inner())?;
        let answer = self.change(&request).await?;
        let hold = Some(encode::hold(request.sale_id, &answer.hold));
        Ok(Response::new(proto::ReleaseHoldResponse { hold }))
    }

    async fn get_stock(
        &self,
        request: Request<proto::GetStockRequest>,
    ) -> Result<Response<proto::GetStockResponse>, Status> {
        let asked = request.into_inner();
        let sale_id = decode::sale_id(&asked.sale_id)?;
        let skus = decode::skus(&asked.skus)?;
        let view = self.inventory.read(sale_id, skus).await.map_err(|refusal| {
            let skus = skus.iter().map(String::as_str);
            status_of_skus(refusal, skus, |index| format!("skus[{index}]"))
        })?;
        Ok(Response::new(proto::GetStockResponse {
            stock: encode::books(&view.skus),
            epoch: view.epoch,
            read_time: Some(wire::timestamp_ms(view.read_ms)),
        }))
    }

    type WatchStockStream = BoxStream<'static, Result<proto::WatchStockResponse, Status>>;

    async fn watch_stock(
        &self,
        request: Request<proto::WatchStockRequest>,
    ) -> Result<Response<Self::WatchStockStream>, Status> {
        let sale_id = decode::sale_id(&request.into_inner().sale_id)?;
        let (heard, permit) = self.watches.follow(sale_id).map_err(status)?;
        let answers = WatchStream::new(heard).filter_map(move |heard| {
            // Given up with the stream.
            let _kept = &permit;
            let answer = heard.map(|heard| {
                heard.map_err(status).map(|view| proto::WatchStockResponse {
                    stock: encode::books(&view.skus),
                    epoch: view.epoch,
                    read_time: Some(wire::timestamp_ms(view.read_ms)),
                })
            });
            std::future::ready(answer)
        });
        Ok(Response::new(answers.boxed()))
    }
}
