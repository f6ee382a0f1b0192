//! One span and one measurement per call.
//!
//! The span continues the caller's trace. The measurement is OpenTelemetry's
//! `rpc.server.call.duration` in seconds, by method and status. Names are those of the semantic
//! conventions 1.45, the first in which they are stable: `rpc.method` is the whole name, with its
//! service, and only a status that is the server's own failure is also an `error.type` (a refusal
//! is an answer). Both end with the answer's last byte, or when the caller goes away (`CANCELLED`).

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
    time::Instant,
};

use flashsale_telemetry::propagate;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use opentelemetry::{Context, KeyValue, metrics::Histogram};
use tonic::{Code, Status, body::Body};
use tower::Service;
use tracing::{Instrument as _, Span, field::Empty};

use crate::methods;

/// The bounds of the histogram, in seconds.
const BOUNDARIES: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What calls are measured with.
#[derive(Debug, Clone)]
pub(crate) struct Instruments {
    duration: Arc<Histogram<f64>>,
}

impl Instruments {
    pub(crate) fn new() -> Self {
        let duration = flashsale_telemetry::meter()
            .f64_histogram("rpc.server.call.duration")
            .with_unit("s")
            .with_description(
                "How long calls took, from their first byte to the last of the answer.",
            )
            .with_boundaries(BOUNDARIES.to_vec())
            .build();
        Self { duration: Arc::new(duration) }
    }
}

/// The middleware.
#[derive(Debug, Clone)]
pub(super) struct Trace<S> {
    inner: S,
    instruments: Instruments,
}

impl<S> Trace<S> {
    pub(super) fn new(inner: S, instruments: Instruments) -> Self {
        Self { inner, instruments }
    }
}

impl<S> Service<Request<Body>> for Trace<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let caller = propagate::extract_http(request.headers());
        let call = Call::begin(request.uri().path(), caller, self.instruments.clone());
        let span = call.span.clone();
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let mut call = call;
                let response = answer.await?;
                // A failure without a body has its status among the headers.
                if let Some(code) = status_in(response.headers()) {
                    call.end(code);
                }
                Ok(response.map(|body| Body::new(Measured { body, call })))
            }
            .instrument(span),
        )
    }
}

/// One call, from its headers to the end of its answer.
pub(crate) struct Call {
    /// As in the contract; what a caller made up is not worth a time series.
    method: &'static str,
    began: Instant,
    pub(crate) span: Span,
    instruments: Instruments,
    ended: bool,
}

impl Call {
    pub(crate) fn begin(path: &str, caller: Context, instruments: Instruments) -> Self {
        let method = methods::find(path).map_or(methods::OTHERS, |method| method.name.as_str());
        let span = tracing::info_span!(
            "call",
            otel.name = method,
            otel.kind = "server",
            otel.status_code = Empty,
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.response.status_code = Empty,
            error.type = Empty,
        );
        propagate::set_parent(&span, caller);
        Self { method, began: Instant::now(), span, instruments, ended: false }
    }

    pub(crate) fn end(&mut self, code: Code) {
        if self.ended {
            return;
        }
        self.ended = true;
        let status = name_of(code);
        self.span.record("rpc.response.status_code", status);
        let labels = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", self.method),
            KeyValue::new("rpc.response.status_code", status),
            KeyValue::new("error.type", status),
        ];
        let labels = if is_failure_of_the_server(code) {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("error.type", status);
            &labels[..]
        } else {
            &labels[..3]
        };
        self.instruments.duration.record(self.began.elapsed().as_secs_f64(), labels);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// The answer's body: its trailers tell how the call ended.
struct Measured {
    body: Body,
    call: Call,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let span = this.call.span.clone();
        let frame = span.in_scope(|| Pin::new(&mut this.body).poll_frame(context));
        let frame = ready!(frame);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(status_in) {
                    this.call.end(code);
                }
            }
            Some(Err(status)) => this.call.end(status.code()),
            None => this.call.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn status_in(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// Whether the conventions count the code, on the server's side, as an error.
fn is_failure_of_the_server(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

/// The name OpenTelemetry's conventions give the code.
fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
