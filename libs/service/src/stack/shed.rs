//! No more than `max_in_flight` calls are in work at once; one more is refused at once with `OVERLOADED` and a delay, before
//! anything was done. Waiting in line instead would only add to the deadline of everybody behind.
//!
//! Health and reflection are never refused: a process that sheds load is alive, and must not be restarted for it. A stream
//! counts until it begins; how many there are is bounded by connections and streams per connection.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use flashsale_errors::{Failure, Reason};
use futures::future::{self, BoxFuture};
use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::Service;

use super::body::refusal;
use crate::methods;

/// The calls that may be in work, for all connections together.
pub(super) fn permits(max_in_flight: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)))
}

/// The middleware.
#[derive(Debug, Clone)]
pub(super) struct Shed<S> {
    inner: S,
    permits: Arc<Semaphore>,
}

impl<S> Shed<S> {
    pub(super) fn new(inner: S, permits: Arc<Semaphore>) -> Self {
        Self { inner, permits }
    }
}

impl<S> Service<Request<Body>> for Shed<S>
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
        if methods::is_infrastructure(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            let failure = Failure::new(Reason::Overloaded, "too many calls are in work");
            return Box::pin(future::ready(Ok(refusal(failure))));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await;
            drop(permit);
            response
        })
    }
}
