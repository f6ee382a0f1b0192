//! `InventoryService`.

use std::{sync::Arc, time::Duration};

use flashsale_errors::Failure;
use flashsale_proto::inventory::{self as proto, inventory_service_server::InventoryService};
use flashsale_service::{Subrequests, wire};
use futures::{
    StreamExt as _,
    stream::{BoxStream, FuturesUnordered},
};
use tonic::{Request, Response, Status};

use super::{
    decode, encode,
    errors::{status, status_of_skus},
};
use crate::{
    app::{Inventory, admissions::Admissions, readings::Readings, watch::Watches},
    domain::{self, AdmissionFault, Answer, Proof},
};

/// The method under which each subrequest is served and measured.
const PLACE_HOLD: &str = "/flashsale.inventory.v1.InventoryService/PlaceHold";
/// The most holds that one call of PlaceHolds may place.
const MAX_HOLDS: usize = 64;
/// How long each of them may take by default, and at most.
const HOLD_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_HOLD_TIMEOUT: Duration = Duration::from_secs(10);

/// The data plane.
#[derive(Debug, Clone)]
pub struct Service {
    inventory: Arc<Inventory>,
    admissions: Admissions,
    readings: Readings,
    watches: Watches,
    subrequests: Subrequests,
}

impl Service {
    pub fn new(
        inventory: Arc<Inventory>,
        admissions: Admissions,
        readings: Readings,
        watches: Watches,
    ) -> Self {
        Self { inventory, admissions, readings, watches, subrequests: Subrequests::default() }
    }

    /// Takes `lines` with the admission that was sent, which is judged first unless `judged` has
    /// the result.
    async fn take(
        &self,
        request: &domain::Request,
        lines: &[proto::Line],
        admission: &str,
        judged: Option<Proof>,
    ) -> Result<Answer, Status> {
        let proof = match judged {
            Some(proof) => proof,
            None => self.admissions.judge(admission, request.sale_id, &request.buyer_id).await,
        };
        self.inventory.request(request, &proof).await.map_err(|refusal| {
            let skus = lines.iter().map(|line| line.sku.as_str());
            status_of_skus(refusal, skus, |index| format!("lines[{index}].sku"))
        })
    }

    /// Places a hold, or takes and places lines.
    async fn place(
        &self,
        message: &proto::PlaceHoldRequest,
        judged: Option<Proof>,
    ) -> Result<proto::PlaceHoldResponse, Status> {
        let request = decode::place(message)?;
        let answer = match request.content {
            domain::Content::PlaceLines(..) => {
                self.take(&request, &message.lines, &message.admission, judged).await?
            }
            domain::Content::PlaceHold(..)
            | domain::Content::Reserve(..)
            | domain::Content::Extend(..)
            | domain::Content::Release(..) => self.change(&request).await?,
        };
        Ok(proto::PlaceHoldResponse {
            placed: Some(encode::placed(request.sale_id, &answer.hold)),
            replayed: answer.replayed,
        })
    }

    async fn place_one_of_several(
        &self,
        index: i32,
        message: proto::HoldToPlace,
        judged: Option<Proof>,
    ) -> proto::HoldPlaced {
        let proto::HoldToPlace { request, timeout, traceparent } = message;
        let work = async {
            let timeout =
                timeout.map(|timeout| wire::std_duration("timeout", &timeout)).transpose()?;
            let timeout = timeout.unwrap_or(HOLD_TIMEOUT).min(MAX_HOLD_TIMEOUT);
            let request = request.unwrap_or_default();
            // Boxed before the layers that bound and measure it, each of which would move all of
            // it.
            let placing = Box::pin(self.place(&request, judged));
            self.subrequests.serve(PLACE_HOLD, &traceparent, timeout, placing).await
        };
        let outcome = match work.await {
            Ok(placed) => proto::hold_placed::Outcome::Placed(placed),
            Err(status) => proto::hold_placed::Outcome::Refused(encode::refused(&status)),
        };
        proto::HoldPlaced { index, outcome: Some(outcome) }
    }

    /// Judges the admissions that can be judged at once, before any hold is placed, so that the
    /// holds then share a run of the script.
    fn judge_known(&self, holds: &[proto::HoldToPlace]) -> Vec<Option<Proof>> {
        let none = proto::PlaceHoldRequest::default();
        let shown: Vec<_> = holds
            .iter()
            .map(|hold| {
                let request = hold.request.as_ref().unwrap_or(&none);
                // A malformed sale id is refused before the admission counts.
                let sale_id = request.sale_id.parse().unwrap_or_default();
                (request.admission.as_str(), sale_id, request.buyer_id.as_str())
            })
            .collect();
        self.admissions.judge_known(&shown)
    }

    /// Changes a hold, which has spent its admission already.
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
        let message = request.into_inner();
        let request = decode::reserve(&message)?;
        let answer = self.take(&request, &message.lines, &message.admission, None).await?;
        let hold = Some(encode::hold(request.sale_id, &answer.hold));
        Ok(Response::new(proto::ReserveResponse { hold }))
    }

    async fn place_hold(
        &self,
        request: Request<proto::PlaceHoldRequest>,
    ) -> Result<Response<proto::PlaceHoldResponse>, Status> {
        self.place(&request.into_inner(), None).await.map(Response::new)
    }

    type PlaceHoldsStream = BoxStream<'static, Result<proto::PlaceHoldsResponse, Status>>;

    async fn place_holds(
        &self,
        request: Request<proto::PlaceHoldsRequest>,
    ) -> Result<Response<Self::PlaceHoldsStream>, Status> {
        let holds = request.into_inner().holds;
        if !(1..=MAX_HOLDS).contains(&holds.len()) {
            let what = format!("are {}; send 1 to {MAX_HOLDS}", holds.len());
            return Err(Failure::invalid("holds", what).into());
        }
        let judged = self.judge_known(&holds);
        let service = Arc::new(self.clone());
        let placing: FuturesUnordered<_> = (0..)
            .zip(holds)
            .zip(judged)
            .map(|((index, hold), judged)| {
                let service = Arc::clone(&service);
                Box::pin(async move { service.place_one_of_several(index, hold, judged).await })
            })
            .collect();
        // Holds that shared a run of the script are done at the same time.
        let answers = placing.ready_chunks(MAX_HOLDS);
        Ok(Response::new(answers.map(|answers| Ok(proto::PlaceHoldsResponse { answers })).boxed()))
    }

    async fn get_hold(
        &self,
        request: Request<proto::GetHoldRequest>,
    ) -> Result<Response<proto::GetHoldResponse>, Status> {
        let message = request.into_inner();
        let (sale_id, id, buyer_id) = decode::get_hold(&message)?;
        let hold = self.inventory.hold(sale_id, id, buyer_id).await.map_err(status)?;
        Ok(Response::new(proto::GetHoldResponse {
            hold: Some(encode::hold(sale_id, &hold)),
            // A hold has a request id only once it is placed.
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
        let message = request.into_inner();
        let sale_id = decode::sale_id(&message.sale_id)?;
        let skus = decode::skus(&message.skus)?;
        let read = match (skus.is_empty(), message.fresh) {
            (true, false) => self.readings.shared(sale_id).await,
            (true, true) => self.readings.fresh(sale_id).await,
            (false, _) => self.inventory.read(sale_id, skus).await.map(Arc::new),
        };
        let view = read.map_err(|refusal| {
            let skus = skus.iter().map(String::as_str);
            status_of_skus(refusal, skus, |index| format!("skus[{index}]"))
        })?;
        Ok(Response::new(encode::stock(&view)))
    }

    type WatchStockStream = BoxStream<'static, Result<proto::WatchStockResponse, Status>>;

    async fn watch_stock(
        &self,
        request: Request<proto::WatchStockRequest>,
    ) -> Result<Response<Self::WatchStockStream>, Status> {
        let sale_id = decode::sale_id(&request.into_inner().sale_id)?;
        let updates = self.watches.follow(sale_id).map_err(status)?;
        let answers = updates.into_stream().filter_map(|heard| {
            let answer =
                heard.map(|heard| heard.map_err(status).map(|view| encode::watched(&view)));
            std::future::ready(answer)
        });
        Ok(Response::new(answers.boxed()))
    }
}
