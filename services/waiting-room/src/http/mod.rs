//! The HTTP route of the public keys.

use std::sync::Arc;

use axum::{Router, http::header, routing::get};

use crate::app::SigningKeys;

/// How long clients may cache the public keys, in step with how often inventory fetches them.
const CACHE_CONTROL: &str = "public, max-age=30";

pub(crate) fn routes(keys: Arc<SigningKeys>) -> Router {
    Router::new().route(
        "/.well-known/jwks.json",
        get(move || {
            let jwks = keys.current().public_jwks();
            async move {
                let headers = [
                    (header::CONTENT_TYPE, "application/jwk-set+json"),
                    (header::CACHE_CONTROL, CACHE_CONTROL),
                ];
                (headers, jwks)
            }
        }),
    )
}
