//! No more than `max_in_flight` calls of one method are in work at once; one more is refused at
//! once with `OVERLOADED` and a delay, before its body is read. Queueing it would only use up the
//! deadlines of the calls behind it.
//!
//! Each method has permits of its own: calls that wait for an unavailable store leave those
//! that do without it, and no load of orders keeps buyers from watching theirs. Health and
//! reflection are never refused: a process that sheds load is alive, and must not be restarted for
//! it. A stream counts until it begins; how many there are is bounded by connections and streams
//! per connection.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use flashsale_errors::{Failure, Reason};
use futures::future::{self, BoxFuture};
use http::{Request, Response};
use opentelemetry::{KeyValue, metrics::Counter};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::Service;

use super::refusal::refusal;
use crate::methods::{self, OTHERS};

/// How many more calls may be in work, for all connections together.
#[derive(Debug)]
pub(super) struct Permits {
    methods: HashMap<&'static str, Arc<Semaphore>>,
    /// Of what is not in the contract, all of it together.
    others: Arc<Semaphore>,
    refused: Counter<u64>,
}

impl Permits {
    /// For `max_in_flight` calls of each method.
    pub(super) fn new(max_in_flight: usize) -> Arc<Self> {
        let permits = || Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)));
        let methods = methods::all().map(|method| (method.name.as_str(), permits())).collect();
        let refused = flashsale_telemetry::meter()
            .u64_counter("flashsale_shed_calls")
            .with_unit("{call}")
            .with_description("Calls refused at once because as many of their method were in work.")
            .build();
        // A series that begins at 0 shows its first increase.
        refused.add(0, &[KeyValue::new("rpc_method", OTHERS)]);
        Arc::new(Self { methods, others: permits(), refused })
    }
}

/// The middleware.
#[derive(Debug, Clone)]
pub(super) struct Shed<S> {
    inner: S,
    permits: Arc<Permits>,
}

impl<S> Shed<S> {
    pub(super) fn new(inner: S, permits: Arc<Permits>) -> Self {
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
        let path = request.uri().path();
        if methods::is_infrastructure(path) {
            return Box::pin(self.inner.call(request));
        }
        let method = methods::find(path).map(|method| method.name.as_str());
        let permits = method.and_then(|method| self.permits.methods.get(method));
        let permits = permits.unwrap_or(&self.permits.others);
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
            self.permits.refused.add(1, &[KeyValue::new("rpc_method", method.unwrap_or(OTHERS))]);
            let failure =
                Failure::new(Reason::Overloaded, "too many calls are in work").with_stepped_delay();
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
