//! The CheckoutAdminService.

use flashsale_proto::checkout::{
    GetIntakeRequest, GetIntakeResponse, checkout_admin_service_server::CheckoutAdminService,
};
use flashsale_service::wire;
use tonic::{Request, Response, Status};

use crate::app::Intake;

/// Checkout's door, over gRPC.
#[derive(Debug)]
pub struct Admin {
    intake: Intake,
}

impl Admin {
    /// Tells how `intake` stands.
    pub fn new(intake: Intake) -> Self {
        Self { intake }
    }
}

#[tonic::async_trait]
impl CheckoutAdminService for Admin {
    async fn get_intake(
        &self,
        _: Request<GetIntakeRequest>,
    ) -> Result<Response<GetIntakeResponse>, Status> {
        let standing = self.intake.standing();
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(Response::new(GetIntakeResponse {
            accepting: standing.accepting,
            backlog: count(standing.backlog),
            max_backlog: count(standing.max_backlog),
            claim_lag: Some(wire::duration(standing.claim_lag)),
            max_claim_lag: Some(wire::duration(standing.max_claim_lag)),
            claims_per_second: standing.claims_per_second as f64,
            queue_bytes: standing.queue.map_or(0, |queue| count(queue.bytes)),
            max_queue_bytes: standing.queue.map_or(0, |queue| count(queue.bound)),
        }))
    }
}
