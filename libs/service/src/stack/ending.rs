//! Health's `Watch` and reflection are streams that their servers never end. When the drain starts
//! they end here, with UNAVAILABLE, so that watchers go to another instance; otherwise one watcher
//! would delay every shutdown until its connection is cut.
//!
//! The streams of our own services end themselves: what an end means there is theirs to say.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tonic::{Status, body::Body};
use tower::Service;

use crate::{Drain, methods};

/// The middleware.
#[derive(Debug, Clone)]
pub(super) struct Ending<S> {
    inner: S,
    drain: Drain,
}

impl<S> Ending<S> {
    pub(super) fn new(inner: S, drain: Drain) -> Self {
        Self { inner, drain }
    }
}

impl<S> Service<Request<Body>> for Ending<S>
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
        let ends = methods::is_infrastructure(path) && methods::streams(path);
        let answer = self.inner.call(request);
        if !ends {
            return answer.boxed();
        }
        let started = self.drain.started().boxed();
        async move {
            let response = answer.await?;
            Ok(response.map(|body| Body::new(Until { body, started, ended: false })))
        }
        .boxed()
    }
}

/// A stream that ends when the drain starts.
struct Until {
    body: Body,
    started: BoxFuture<'static, ()>,
    ended: bool,
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        this.started.as_mut().poll(context).map(|()| {
            this.ended = true;
            let mut trailers = HeaderMap::new();
            let status = Status::unavailable("the server is draining");
            Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
