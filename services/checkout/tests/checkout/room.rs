//! The waiting room as inventory sees it: it hands out the keys of admissions.

use std::sync::Arc;

use flashsale_proto::waitingroom::{
    GetAdmissionKeysRequest, GetAdmissionKeysResponse, GetPositionRequest, GetPositionResponse,
    JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, VerifyAdmissionRequest,
    VerifyAdmissionResponse, WatchPositionRequest, WatchPositionResponse,
    waiting_room_service_server::WaitingRoomService,
};
use futures::stream::BoxStream;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

/// The public keys, as JSON.
pub(crate) struct Room {
    pub(crate) jwks: String,
    /// While its only permit is held, all callers wait.
    pub(crate) key_permit: Arc<Semaphore>,
}

type Answer<T> = Result<Response<T>, Status>;

fn not_called<T>() -> Answer<T> {
    Err(Status::unimplemented("not called here"))
}

#[tonic::async_trait]
impl WaitingRoomService for Room {
    async fn join(&self, _: Request<JoinRequest>) -> Answer<JoinResponse> {
        not_called()
    }

    async fn get_position(&self, _: Request<GetPositionRequest>) -> Answer<GetPositionResponse> {
        not_called()
    }

    type WatchPositionStream = BoxStream<'static, Result<WatchPositionResponse, Status>>;

    async fn watch_position(
        &self,
        _: Request<WatchPositionRequest>,
    ) -> Answer<Self::WatchPositionStream> {
        not_called()
    }

    async fn leave(&self, _: Request<LeaveRequest>) -> Answer<LeaveResponse> {
        not_called()
    }

    async fn verify_admission(
        &self,
        _: Request<VerifyAdmissionRequest>,
    ) -> Answer<VerifyAdmissionResponse> {
        not_called()
    }

    async fn get_admission_keys(
        &self,
        _: Request<GetAdmissionKeysRequest>,
    ) -> Answer<GetAdmissionKeysResponse> {
        let _permit = self.key_permit.acquire().await.unwrap();
        Ok(Response::new(GetAdmissionKeysResponse { jwks_json: self.jwks.clone() }))
    }
}
