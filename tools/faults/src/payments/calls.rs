//! Calls to payment.

use std::time::Duration;

use flashsale_proto::{
    NamedChannel,
    payment::{
        BreakerCause, BreakerForce, BreakerState, GetBreakerRequest, SetBreakerRequest,
        payment_admin_service_client::PaymentAdminServiceClient,
        payment_service_client::PaymentServiceClient,
    },
};
use tonic::Request;
use uuid::Uuid;

use crate::{patience::until_some, platform::Platform};

/// How long one attempt at a call may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long one may be tried.
const WITHIN: Duration = Duration::from_secs(30);

/// A call that is given up after a while.
pub(super) fn timely<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ATTEMPT);
    request
}

/// As a shop and an operator call it.
pub(super) fn client(platform: &Platform) -> anyhow::Result<PaymentServiceClient<NamedChannel>> {
    Ok(PaymentServiceClient::new(platform.services.payment.channel()?))
}

/// As one of our services calls it.
pub(super) fn client_as(
    platform: &Platform,
    service: &str,
) -> anyhow::Result<PaymentServiceClient<NamedChannel>> {
    Ok(PaymentServiceClient::new(platform.services.payment.channel_as(service)?))
}

/// As operators call it.
pub(super) fn admin(
    platform: &Platform,
) -> anyhow::Result<PaymentAdminServiceClient<NamedChannel>> {
    Ok(PaymentAdminServiceClient::new(platform.services.payment.channel()?))
}

/// The state of the breaker, and why it opened.
pub(super) async fn breaker(platform: &Platform) -> anyhow::Result<(BreakerState, BreakerCause)> {
    let answer = admin(platform)?.get_breaker(timely(GetBreakerRequest {})).await?.into_inner();
    Ok((answer.state(), answer.cause()))
}

/// Has operators decide about the breaker, until something else is decided.
pub(super) async fn force(platform: &Platform, force: BreakerForce) -> anyhow::Result<()> {
    let set = SetBreakerRequest {
        request_id: Uuid::new_v4().to_string(),
        force: force.into(),
        reason: "a fault on purpose".to_owned(),
        expire_time: None,
    };
    let admin = admin(platform)?;
    until_some(WITHIN, "the breaker is set", async || {
        admin.clone().set_breaker(timely(set.clone())).await.map(Some)
    })
    .await
    .map(|_| ())
}
