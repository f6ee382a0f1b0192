//! A request larger than `max_request_bytes` is refused while it is being read, before it fills the
//! memory.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use flashsale_errors::{Failure, Reason};
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tonic::{Status, body::Body};
use tower::Service;

use crate::methods;

/// The middleware.
#[derive(Debug, Clone)]
pub(super) struct RequestSize<S> {
    inner: S,
    max_bytes: usize,
}

impl<S> RequestSize<S> {
    pub(super) fn new(inner: S, max_bytes: usize) -> Self {
        Self { inner, max_bytes }
    }
}

impl<S> Service<Request<Body>> for RequestSize<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // Reflection is one endless request of small questions.
        if methods::is_infrastructure(request.uri().path()) {
            return self.inner.call(request);
        }
        let max_bytes = self.max_bytes;
        self.inner.call(request.map(|body| Body::new(Bounded { body, max_bytes, read_bytes: 0 })))
    }
}

/// A body that fails once it is larger than allowed.
struct Bounded {
    body: Body,
    max_bytes: usize,
    read_bytes: usize,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            let data = frame.data_ref().map_or(&[][..], |data| data);
            // A message says how long it is before it begins.
            let announced = match data {
                [_, a, b, c, d, ..] if this.read_bytes == 0 => u32::from_be_bytes([*a, *b, *c, *d]),
                _ => 0,
            };
            this.read_bytes += data.len();
            let announced = usize::try_from(announced).unwrap_or(usize::MAX);
            if this.read_bytes.max(announced) > this.max_bytes {
                let failure = Failure::new(
                    Reason::ArgumentInvalid,
                    format!("the request is larger than {} bytes", this.max_bytes),
                )
                .with("max_request_bytes", this.max_bytes);
                return Poll::Ready(Some(Err(failure.into())));
            }
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
