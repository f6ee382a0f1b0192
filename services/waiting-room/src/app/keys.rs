//! Loads the keys that sign tickets and admissions.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use flashsale_admission::Signer;

use crate::config::AdmissionConfig;

/// The signer of the configured key file, or of a generated key where the configuration allows one.
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
