//! The layer and its service.

use std::{
    fmt,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tower::{Layer, Service, ServiceExt as _};

use crate::{
    Open,
    circuit::{Circuit, Verdict},
};

/// What a service's results mean to a breaker, and which requests go past it.
pub struct Rules<Req, Res, Err> {
    /// What a call came to.
    pub judge: fn(&Result<Res, Err>) -> Verdict,
    /// Whether a request goes past the breaker, uncounted.
    pub bypass: fn(&Req) -> bool,
}

impl<Req, Res, Err> fmt::Debug for Rules<Req, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl<Req, Res, Err> Clone for Rules<Req, Res, Err> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Req, Res, Err> Copy for Rules<Req, Res, Err> {}

/// Puts a service behind a breaker; made by [`breaker`](crate::breaker).
pub struct BreakerLayer<Req, Res, Err> {
    pub(crate) circuit: Circuit,
    pub(crate) rules: Rules<Req, Res, Err>,
}

impl<Req, Res, Err> fmt::Debug for BreakerLayer<Req, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer").field("circuit", &self.circuit).finish_non_exhaustive()
    }
}

impl<S, Req, Res, Err> Layer<S> for BreakerLayer<Req, Res, Err> {
    type Service = Breaker<S, Req, Res, Err>;

    fn layer(&self, inner: S) -> Self::Service {
        Breaker { inner, circuit: self.circuit.clone(), rules: self.rules }
    }
}

/// A service behind a breaker. An open breaker answers [`Open`], converted to the service's error.
pub struct Breaker<S, Req, Res, Err> {
    inner: S,
    circuit: Circuit,
    rules: Rules<Req, Res, Err>,
}

impl<S: Clone, Req, Res, Err> Clone for Breaker<S, Req, Res, Err> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), circuit: self.circuit.clone(), rules: self.rules }
    }
}

impl<S, Req, Res, Err> fmt::Debug for Breaker<S, Req, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("circuit", &self.circuit).finish_non_exhaustive()
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
        let inner = self.inner.clone();
        if (self.rules.bypass)(&request) {
            return Box::pin(inner.oneshot(request));
        }
        let (circuit, judge) = (self.circuit.clone(), self.rules.judge);
        Box::pin(async move {
            let permit = circuit.enter().ok_or(Open)?;
            let result = inner.oneshot(request).await;
            permit.judge(judge(&result));
            result
        })
    }
}
