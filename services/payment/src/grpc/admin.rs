//! `flashsale.payment.v1.PaymentAdminService`.

use std::time::Duration;

use flashsale_breaker::{BreakerState as Breaker, Cause};
use flashsale_errors::Failure;
use flashsale_proto::payment::{
    BreakerCause, BreakerForce, BreakerState, GetBreakerRequest, GetBreakerResponse,
    SetBreakerRequest, SetBreakerResponse, payment_admin_service_server::PaymentAdminService,
};
use flashsale_service::wire;
use tonic::{Request, Response, Status};

use crate::{
    app::Bell,
    peers::stripe::Gate,
    store::{Force, Store},
};

/// What operators do.
#[derive(Debug)]
pub struct Admin {
    /// Keeps the decision.
    pub store: Store,
    /// What stands in front of the provider.
    pub gate: Gate,
    /// Rung when payments may go on.
    pub charges: Bell,
}

#[tonic::async_trait]
impl PaymentAdminService for Admin {
    async fn get_breaker(
        &self,
        _: Request<GetBreakerRequest>,
    ) -> Result<Response<GetBreakerResponse>, Status> {
        let force = self.store.force().await.map_err(flashsale_pg::failure)?;
        let open = self.store.open_payments().await.map_err(flashsale_pg::failure)?;
        let oldest_wait = open.oldest.map(|oldest| {
            let waited = flashsale_failpoint::now_utc() - oldest;
            wire::duration(Duration::try_from(waited).unwrap_or_default())
        });
        let breaker = self.gate.breaker.snapshot();
        let state = match breaker.state {
            Breaker::Closed => BreakerState::Closed,
            Breaker::Open => BreakerState::Open,
            Breaker::HalfOpen => BreakerState::HalfOpen,
        };
        let cause = match breaker.cause {
            None => BreakerCause::Unspecified,
            Some(Cause::Failures) => BreakerCause::Failures,
            Some(Cause::Slow) => BreakerCause::Slow,
            Some(Cause::Timeouts) => BreakerCause::Timeouts,
            Some(Cause::Probe) => BreakerCause::Probe,
        };
        Ok(Response::new(GetBreakerResponse {
            state: state.into(),
            force: encode(force).into(),
            open_payments: open.count,
            oldest_wait,
            cause: cause.into(),
            failure_rate: breaker.failure_rate,
            slow_rate: breaker.slow_rate,
            next_probe: breaker.next_probe.map(wire::duration),
        }))
    }

    async fn set_breaker(
        &self,
        request: Request<SetBreakerRequest>,
    ) -> Result<Response<SetBreakerResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        let force = match BreakerForce::try_from(request.force) {
            Ok(BreakerForce::Auto) => Force::Auto,
            Ok(BreakerForce::Open) => Force::Open,
            Ok(BreakerForce::Closed) => Force::Closed,
            Ok(BreakerForce::Unspecified) | Err(_) => {
                let what = "must be BREAKER_FORCE_AUTO, BREAKER_FORCE_OPEN or BREAKER_FORCE_CLOSED";
                return Err(Failure::invalid("force", what).into());
            }
        };
        self.store.set_force(force).await.map_err(flashsale_pg::failure)?;
        // This instance follows at once, the others within a second.
        self.gate.switch.forget().await;
        self.charges.ring();
        tracing::warn!(%request_id, force = force.as_str(), "operators set the force switch");
        Ok(Response::new(SetBreakerResponse { force: encode(force).into() }))
    }
}

fn encode(force: Force) -> BreakerForce {
    match force {
        Force::Auto => BreakerForce::Auto,
        Force::Open => BreakerForce::Open,
        Force::Closed => BreakerForce::Closed,
    }
}
