//! Every call has a deadline: the caller's (`grpc-timeout`), never more than the server's ceiling,
//! which is also the one of a caller that sends none. Below here it is known as
//! [`crate::deadline::current`], and passed on to other services.
//!
//! When it passes, the work is dropped and the caller told `DEADLINE_EXCEEDED` in our own words.
//! The transport has a timer of its own on `grpc-timeout`, and answers CANCELLED, which meshes
//! retry: ours therefore fires a little earlier, which also lets the answer reach the caller before
//! its own timer fires.
//!
//! A stream has no ceiling; a caller's deadline counts until the stream of answers begins.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use flashsale_errors::{Failure, Reason};
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tokio::time::Instant;
use tonic::body::Body;
use tower::Service;

use super::refusal::refusal;
use crate::{deadline, methods};

/// The middleware.
#[derive(Debug, Clone)]
pub(super) struct Deadline<S> {
    inner: S,
    ceiling: Duration,
}

impl<S> Deadline<S> {
    pub(super) fn new(inner: S, ceiling: Duration) -> Self {
        Self { inner, ceiling }
    }
}

impl<S> Service<Request<Body>> for Deadline<S>
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
        let requested =
            requested(request.headers()).map(|timeout| timeout.saturating_sub(lead(timeout)));
        let timeout = if methods::streams(request.uri().path()) {
            requested
        } else {
            Some(requested.map_or(self.ceiling, |timeout| timeout.min(self.ceiling)))
        };
        let answer = self.inner.call(request);
        let Some(timeout) = timeout else { return Box::pin(answer) };
        let deadline = Instant::now() + timeout;
        Box::pin(async move {
            let answer = deadline::within(deadline, answer);
            match tokio::time::timeout_at(deadline, answer).await {
                Ok(response) => response,
                Err(_) => Ok(refusal(expired(timeout))),
            }
        })
    }
}

/// What is told of a call that took longer than it may.
pub(crate) fn expired(timeout: Duration) -> Failure {
    let ms = timeout.as_millis();
    Failure::new(Reason::DeadlineExceeded, format!("there was no answer within {ms} ms"))
        .with("timeout_ms", ms)
}

/// How much earlier than the caller's timer ours fires.
fn lead(timeout: Duration) -> Duration {
    (timeout / 10).clamp(Duration::from_millis(2), Duration::from_millis(20))
}

/// What the caller grants: `grpc-timeout`, up to eight digits and a unit. One that cannot be read
/// counts as none, as in the transport.
pub(crate) fn requested(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(deadline::HEADER)?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn of(value: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", http::HeaderValue::from_static(value));
        requested(&headers)
    }

    #[test]
    fn a_timeout_is_read_in_every_unit() {
        assert_eq!(of("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(of("2M"), Some(Duration::from_secs(120)));
        assert_eq!(of("2S"), Some(Duration::from_secs(2)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(of("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(of("5n"), Some(Duration::from_nanos(5)));
    }

    #[test]
    fn unreadable_timeout_counts_as_none() {
        for wrong in ["", "S", "5", "5x", "123456789S", "-5S", "+5S", "5 S"] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
        assert_eq!(requested(&HeaderMap::new()), None);
    }

    #[test]
    fn our_timer_fires_before_the_transports() {
        for ms in [5, 20, 200, 60_000] {
            let lead = lead(Duration::from_millis(ms));
            assert!((Duration::from_millis(2)..=Duration::from_millis(20)).contains(&lead));
        }
    }
}
