//! The waiting room, which has the public keys of admissions.

use flashsale_proto::waitingroom::{
    GetAdmissionKeysRequest, waiting_room_service_client::WaitingRoomServiceClient,
};
use flashsale_service::peer::PeerChannel;
use tonic::Status;

/// A client of the waiting room. A clone shares the connection.
#[derive(Debug, Clone)]
pub struct WaitingRoom(WaitingRoomServiceClient<PeerChannel>);

impl WaitingRoom {
    pub fn new(channel: PeerChannel) -> Self {
        Self(WaitingRoomServiceClient::new(channel))
    }

    /// The public keys of admissions, as a JWK set.
    ///
    /// # Errors
    /// The status of the call.
    pub async fn admission_keys(&self) -> Result<String, Status> {
        let response = self.0.clone().get_admission_keys(GetAdmissionKeysRequest {}).await?;
        Ok(response.into_inner().jwks_json)
    }
}
