//! The waiting room as inventory sees it: it hands out the keys of admissions.

use std::sync::Arc;

use flashsale_proto::waitingroom::{GetAdmissionKeysRequest, GetAdmissionKeysResponse};
use flashsale_testbed::fakes::waiting_room::waiting_room_service_server::WaitingRoomService;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

/// The public keys, as JSON.
pub(crate) struct Room {
    pub(crate) jwks: String,
    /// While its only permit is held, all callers wait.
    pub(crate) key_permit: Arc<Semaphore>,
}

#[tonic::async_trait]
impl WaitingRoomService for Room {
    async fn get_admission_keys(
        &self,
        _: Request<GetAdmissionKeysRequest>,
    ) -> Result<Response<GetAdmissionKeysResponse>, Status> {
        let _permit = self.key_permit.acquire().await.unwrap();
        Ok(Response::new(GetAdmissionKeysResponse { jwks_json: self.jwks.clone() }))
    }
}
