//! A panic in a handler fails that one call, typed and with an incident number, instead of cutting
//! its connection.
//!
//! Handlers do not panic on purpose; this is for undetected faults. State shared between calls
//! must survive it: there is none behind a lock that a panic would poison, it lives in the stores.

use std::{
    any::Any,
    convert::Infallible,
    panic::AssertUnwindSafe,
    task::{Context, Poll},
};

use flashsale_errors::Failure;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::refusal::refusal;

/// The middleware.
#[derive(Debug, Clone)]
pub(super) struct Panics<S> {
    inner: S,
}

impl<S> Panics<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Request<Body>> for Panics<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            match AssertUnwindSafe(answer).catch_unwind().await {
                Ok(response) => response,
                Err(panic) => Ok(refusal(panicked(&*panic))),
            }
        })
    }
}

/// What is told of a call whose handler panicked.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Failure {
    Failure::internal(format_args!("a handler panicked: {}", words(panic)))
}

/// What the panic said.
pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no words)")
}
