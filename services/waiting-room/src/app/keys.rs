//! The keys that sign: where they come from, and where their public halves are read.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum::{Router, http::header, routing::get};
use flashsale_admission::Signer;

use crate::config::AdmissionConfig;

/// How long others may keep the public keys, in step with how often inventory asks for them.
const CACHE_CONTROL: &str = "public, max-age=30";

/// The signer that the configuration names.
pub(crate) fn signer(config: &AdmissionConfig) -> anyhow::Result<Arc<Signer>> {
    let path = &config.signing_keys_file;
    if !path.is_empty() {
        let json = std::fs::read_to_string(path)
            .with_context(|| format!("the signing keys in {path} cannot be read"))?;
        let signer = Signer::from_jwks(&json)
            .with_context(|| format!("the signing keys in {path} cannot be used"))?;
        return Ok(Arc::new(signer));
    }
    if !config.ephemeral_keys {
        bail!(
            "there is no key to sign with: set admission.signing_keys_file, or admission.ephemeral_keys = true for development"
        );
    }
    tracing::warn!(
        "signing with a key made just now: tickets and admissions end with this process"
    );
    Ok(Arc::new(Signer::generate()?))
}

/// The public keys over HTTP.
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
