//! A request larger than `max_request_bytes` is refused while it is being read, before it fills the
//! memory. Of a stream of requests this is the bound of each; how many there may be, its handler
//! knows.

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
        let path = request.uri().path();
        if methods::is_infrastructure(path) {
            return self.inner.call(request);
        }
        let (max_bytes, is_stream) = (self.max_bytes, methods::takes_stream(path));
        self.inner.call(request.map(|body| {
            let messages = Messages::default();
            Body::new(Bounded { body, max_bytes, is_stream, messages, read_bytes: 0 })
        }))
    }
}

/// A body that fails once it, or of a stream a message in it, is larger than allowed.
struct Bounded {
    body: Body,
    max_bytes: usize,
    is_stream: bool,
    messages: Messages,
    read_bytes: usize,
}

/// Where the messages in a body begin: each says before it how long it is.
#[derive(Default)]
struct Messages {
    /// What there is so far of the prefix of the next: a flag, and the length in four bytes.
    prefix: Vec<u8>,
    /// Bytes to come of the one that has begun.
    left: usize,
}

impl Messages {
    /// Takes the next bytes of the body. Returns how long the longest message is that begins there.
    fn longest(&mut self, mut data: &[u8]) -> usize {
        let mut longest = 0;
        while !data.is_empty() {
            let of_message = self.left.min(data.len());
            self.left -= of_message;
            data = &data[of_message..];
            let Some((byte, behind)) = data.split_first() else { break };
            data = behind;
            self.prefix.push(*byte);
            if let [_, a, b, c, d] = self.prefix[..] {
                let length = u32::from_be_bytes([a, b, c, d]);
                self.left = usize::try_from(length).unwrap_or(usize::MAX);
                longest = longest.max(self.left);
                self.prefix.clear();
            }
        }
        longest
    }
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
            let announced = this.messages.longest(data);
            this.read_bytes += data.len();
            let whole = if this.is_stream { 0 } else { this.read_bytes };
            if whole.max(announced) > this.max_bytes {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_wherever_a_body_is_cut() {
        let message = |length: u8| {
            let mut message = vec![0, 0, 0, 0, length];
            message.resize(5 + usize::from(length), 0xff);
            message
        };
        let body = [message(7), message(0), message(200), message(3)].concat();
        for cut in 1..=body.len() {
            let mut messages = Messages::default();
            let lengths: Vec<usize> = body.chunks(cut).map(|data| messages.longest(data)).collect();
            assert_eq!(lengths.iter().max(), Some(&200), "{cut}");
            assert_eq!((messages.left, messages.prefix.len()), (0, 0), "{cut}");
        }
        assert_eq!(Messages::default().longest(&[0, 0xff, 0xff, 0xff, 0xff]), 0xffff_ffff);
    }
}
