//! The longest time on the wire. After it the outcome is unknown: the call may have had its effect.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};

use super::error::{ProviderError, Silence};

/// Gives a service this long.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeoutLayer(pub(super) Duration);

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, limit: self.0 }
    }
}

/// A service that is given up after a while.
#[derive(Debug, Clone)]
pub(super) struct Timeout<S> {
    inner: S,
    limit: Duration,
}

impl<S, Req> Service<Req> for Timeout<S>
where
    S: Service<Req, Error = ProviderError> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send,
    Req: Send + 'static,
{
    type Response = S::Response;
    type Error = ProviderError;
    type Future = BoxFuture<'static, Result<S::Response, ProviderError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProviderError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (inner, limit) = (self.inner.clone(), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, inner.oneshot(request)).await {
                Ok(result) => result,
                Err(_) => Err(ProviderError::Unknown {
                    what: format!("no answer within {} ms", limit.as_millis()),
                    silence: Silence::Timeout,
                    retry_after: None,
                    replayed: false,
                    request_id: String::new(),
                }),
            }
        })
    }
}
