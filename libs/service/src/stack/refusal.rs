//! What middlewares have in common: an answer that is a failure.

use flashsale_errors::Failure;
use http::Response;
use tonic::{Status, body::Body};

/// The answer to a call that failed before, or instead of, its handler.
pub(crate) fn refusal(failure: Failure) -> Response<Body> {
    Status::from(failure).into_http()
}
