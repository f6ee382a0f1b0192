//! The layer and its service.

use std::{
    fmt,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};
use tower_resilience_circuitbreaker::{
    CircuitBreaker, CircuitBreakerError, CircuitBreakerLayer, FnClassifier,
};

use crate::Open;

type Judge<Res, Err> = FnClassifier<fn(&Result<Res, Err>) -> bool>;

/// Puts a service behind a breaker; made by [`breaker`](crate::breaker).
pub struct BreakerLayer<Req, Res, Err> {
    circuit: CircuitBreakerLayer<Judge<Res, Err>>,
    bypass: fn(&Req) -> bool,
}

impl<Req, Res, Err> BreakerLayer<Req, Res, Err> {
    pub(crate) fn new(
        circuit: CircuitBreakerLayer<Judge<Res, Err>>,
        bypass: fn(&Req) -> bool,
    ) -> Self {
        Self { circuit, bypass }
    }
}

impl<Req, Res, Err> fmt::Debug for BreakerLayer<Req, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer").finish_non_exhaustive()
    }
}

impl<S, Req, Res, Err> Layer<S> for BreakerLayer<Req, Res, Err>
where
    S: Clone,
{
    type Service = Breaker<S, Req, Res, Err>;

    fn layer(&self, inner: S) -> Self::Service {
        Breaker {
            guarded: self.circuit.layer_fn(inner.clone()),
            unguarded: inner,
            bypass: self.bypass,
        }
    }
}

/// A service behind a breaker. An open breaker answers [`Open`], converted to the service's error.
pub struct Breaker<S, Req, Res, Err> {
    guarded: CircuitBreaker<S, Judge<Res, Err>>,
    unguarded: S,
    bypass: fn(&Req) -> bool,
}

impl<S: Clone, Req, Res, Err> Clone for Breaker<S, Req, Res, Err> {
    fn clone(&self) -> Self {
        Self {
            guarded: self.guarded.clone(),
            unguarded: self.unguarded.clone(),
            bypass: self.bypass,
        }
    }
}

impl<S, Req, Res, Err> fmt::Debug for Breaker<S, Req, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("state", &self.guarded.state_sync()).finish_non_exhaustive()
    }
}

impl<S, Req, Res, Err> Service<Req> for Breaker<S, Req, Res, Err>
where
    S: Service<Req, Response = Res, Error = Err> + Clone + Send + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    Res: Send + 'static,
    Err: From<Open> + Send + 'static,
{
    type Response = Res;
    type Error = Err;
    type Future = BoxFuture<'static, Result<Res, Err>>;

    /// Always ready: whether a request bypasses the breaker is known only once it is there.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Err>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if (self.bypass)(&request) {
            return Box::pin(self.unguarded.clone().oneshot(request));
        }
        let guarded = self.guarded.clone();
        Box::pin(async move {
            guarded.oneshot(request).await.map_err(|error| match error {
                CircuitBreakerError::OpenCircuit => Open.into(),
                CircuitBreakerError::Inner(error) => error,
            })
        })
    }
}
