//! What every call passes on its way to a handler, outermost first. One middleware a file.

mod access;
mod deadline;
mod ending;
mod panics;
mod refusal;
mod request_size;
mod shed;
mod trace;

use std::{convert::Infallible, sync::Arc};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Service, ServiceBuilder, layer::layer_fn};

pub(crate) use access::{Door, Gate, Origin};
pub(crate) use deadline::{expired, requested as requested_timeout};
pub(crate) use panics::{panicked, words as panic_words};
pub(crate) use trace::{Call, Instruments};

use crate::{Drain, ServerConfig};

/// What the stacks of a process have in common.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    gate: Arc<Gate>,
    permits: Arc<shed::Permits>,
    instruments: Instruments,
}

impl Shared {
    /// What `config` allows, for callers that `gate` knows.
    pub(crate) fn new(config: &ServerConfig, gate: Arc<Gate>) -> Self {
        let permits = shed::Permits::new(config.max_in_flight);
        Self { gate, permits, instruments: Instruments::new() }
    }
}

/// The stack around `routes`.
pub(crate) fn around(
    routes: axum::Router,
    config: &ServerConfig,
    shared: Shared,
    door: Door,
    drain: Drain,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ 'static {
    let Shared { gate, permits, instruments } = shared;
    let max_deadline = config.max_deadline();
    let max_request_bytes = config.max_request_bytes;
    ServiceBuilder::new()
        // Outermost, so that it sees the answer of everything below: also of a panic, a deadline, a
        // refusal.
        .layer(layer_fn(move |inner| trace::Trace::new(inner, instruments.clone())))
        // Around everything that can panic, inside the span, so that the incident carries the trace
        // id.
        .layer(layer_fn(panics::Panics::new))
        // Before anything of the request is read or waited for: a stranger costs a look at a table,
        // or one signature.
        .layer(layer_fn(move |inner| access::Access::new(inner, Arc::clone(&gate), door)))
        // Before the call counts as in work: an expired call is answered at once.
        .layer(layer_fn(move |inner| deadline::Deadline::new(inner, max_deadline)))
        // Just before the work, so that what is refused has cost nothing.
        .layer(layer_fn(move |inner| shed::Shed::new(inner, Arc::clone(&permits))))
        // Around the routes it is about; a refusal above has nothing to end.
        .layer(layer_fn(move |inner| ending::Ending::new(inner, drain.clone())))
        // The body is read by the handler, so that its bound sits right around it.
        .layer(layer_fn(move |inner| request_size::RequestSize::new(inner, max_request_bytes)))
        .service(tonic::service::Routes::from(routes))
}
