//! The HTTP route of the public keys.

use axum::{Router, http::header, routing::get};
use flashsale_admission::Signer;

/// How long clients may cache the public keys, in step with how often inventory fetches them.
const CACHE_CONTROL: &str = "public, max-age=30";

pub(crate) fn routes(signer: &Signer) -> Router {
    let jwks = signer.public_jwks();
    Router::new().route(
        "/.well-known/jwks.json",
        get(move || {
            let jwks = jwks.clone();
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
