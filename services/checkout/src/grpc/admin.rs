//! `CheckoutAdminService`.

use flashsale_proto::checkout::{
    GetIntakeRequest, GetIntakeResponse, checkout_admin_service_server::CheckoutAdminService,
};
use flashsale_service::wire;
use tonic::{Request, Response, Status};

use crate::app::AdmissionControl;

#[derive(Debug)]
pub struct Admin {
    admission_control: AdmissionControl,
}

impl Admin {
    pub fn new(admission_control: AdmissionControl) -> Self {
        Self { admission_control }
    }
}

#[tonic::async_trait]
impl CheckoutAdminService for Admin {
    async fn get_intake(
        &self,
        _: Request<GetIntakeRequest>,
    ) -> Result<Response<GetIntakeResponse>, Status> {
        let status = self.admission_control.status();
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Ok(Response::new(GetIntakeResponse {
            accepting: status.accepting,
            backlog: count(status.backlog),
            max_backlog: count(status.max_backlog),
            claim_lag: Some(wire::duration(status.claim_lag)),
            max_claim_lag: Some(wire::duration(status.max_claim_lag)),
            claims_per_second: status.claims_per_second as f64,
            queue_bytes: status.queue.map_or(0, |queue| count(queue.bytes)),
            max_queue_bytes: status.queue.map_or(0, |queue| count(queue.bound)),
        }))
    }
}
