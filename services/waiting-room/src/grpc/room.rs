//! `WaitingRoomService`.

use flashsale_admission::{Ticket, TicketInvalid, Verdict};
use flashsale_errors::Failure;
use flashsale_proto::waitingroom::{
    AdmissionVerdict, GetAdmissionKeysRequest, GetAdmissionKeysResponse, GetPositionRequest,
    GetPositionResponse, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse,
    VerifyAdmissionRequest, VerifyAdmissionResponse, WatchPositionRequest, WatchPositionResponse,
    waiting_room_service_server::WaitingRoomService,
};
use flashsale_service::{caller, wire};
use futures::{StreamExt as _, stream::BoxStream};
use time::OffsetDateTime;
use tonic::{Request, Response, Status};

use super::{
    decode::{buyer_id, sale_id},
    encode,
};
use crate::app::{Line, RoomError};

#[derive(Debug)]
pub(crate) struct WaitingRoom {
    line: Line,
    leeway_ms: i64,
}

impl WaitingRoom {
    pub(crate) fn new(line: Line, leeway_ms: i64) -> Self {
        Self { line, leeway_ms }
    }

    /// The ticket that was sent. One of a sale that the caller does not reach is none, or of a
    /// buyer whom it does not speak for.
    fn ticket(&self, token: &str) -> Result<Ticket, Failure> {
        let ticket = self.line.ticket(token)?;
        if !caller::reaches(ticket.sale_id) || !caller::speaks_for(&ticket.buyer_id) {
            return Err(RoomError::Ticket(TicketInvalid).into());
        }
        Ok(ticket)
    }
}

#[tonic::async_trait]
impl WaitingRoomService for WaitingRoom {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        let sale_id = sale_id(&request.sale_id)?;
        let buyer_id = buyer_id(&request.buyer_id)?;
        let shown = match request.ticket.as_str() {
            "" => None,
            token => Some(self.ticket(token)?),
        };
        if shown
            .as_ref()
            .is_some_and(|shown| shown.sale_id != sale_id || shown.buyer_id != buyer_id)
        {
            return Err(Failure::from(RoomError::Ticket(TicketInvalid)).into());
        }
        let joined = self.line.join(sale_id, buyer_id, request_id, shown.as_ref()).await;
        let (ticket, standing) = joined.map_err(Failure::from)?;
        let position = Some(encode::position(standing));
        Ok(Response::new(JoinResponse { ticket, position }))
    }

    async fn get_position(
        &self,
        request: Request<GetPositionRequest>,
    ) -> Result<Response<GetPositionResponse>, Status> {
        let ticket = self.ticket(&request.get_ref().ticket)?;
        let (standing, _) = self.line.position(&ticket).await.map_err(Failure::from)?;
        let position = Some(encode::position(standing));
        Ok(Response::new(GetPositionResponse { position }))
    }

    type WatchPositionStream = BoxStream<'static, Result<WatchPositionResponse, Status>>;

    async fn watch_position(
        &self,
        request: Request<WatchPositionRequest>,
    ) -> Result<Response<Self::WatchPositionStream>, Status> {
        let ticket = self.ticket(&request.get_ref().ticket)?;
        let watcher = self.line.watch(ticket).map_err(Failure::from)?;
        let positions = watcher.stream().map(|standing| {
            let position = Some(encode::position(standing.map_err(Failure::from)?));
            Ok(WatchPositionResponse { position })
        });
        Ok(Response::new(positions.boxed()))
    }

    async fn leave(
        &self,
        request: Request<LeaveRequest>,
    ) -> Result<Response<LeaveResponse>, Status> {
        wire::request_id(&request.get_ref().request_id)?;
        let ticket = self.ticket(&request.get_ref().ticket)?;
        self.line.leave(&ticket).await.map_err(Failure::from)?;
        Ok(Response::new(LeaveResponse {}))
    }

    async fn verify_admission(
        &self,
        request: Request<VerifyAdmissionRequest>,
    ) -> Result<Response<VerifyAdmissionResponse>, Status> {
        let request = request.into_inner();
        let sale_id = sale_id(&request.sale_id)?;
        let buyer_id = buyer_id(&request.buyer_id)?;
        let now_ms = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let now_ms = i64::try_from(now_ms).map_err(Failure::internal)?;
        let (verdict, expires_at_ms) =
            self.line.verify(&request.admission, sale_id, buyer_id, now_ms, self.leeway_ms);
        let verdict = match verdict {
            Ok(_) => AdmissionVerdict::Valid,
            Err(Verdict::Invalid) => AdmissionVerdict::Invalid,
            Err(Verdict::Foreign) => AdmissionVerdict::Foreign,
            Err(Verdict::Expired) => AdmissionVerdict::Expired,
        };
        Ok(Response::new(VerifyAdmissionResponse {
            verdict: verdict.into(),
            expire_time: expires_at_ms.map(wire::timestamp_ms),
        }))
    }

    async fn get_admission_keys(
        &self,
        _: Request<GetAdmissionKeysRequest>,
    ) -> Result<Response<GetAdmissionKeysResponse>, Status> {
        let jwks_json = self.line.public_keys();
        Ok(Response::new(GetAdmissionKeysResponse { jwks_json }))
    }
}
