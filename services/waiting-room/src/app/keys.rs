//! The keys that sign tickets and admissions.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{anyhow, bail};
use flashsale_admission::Signer;
use flashsale_service::Watched;

use crate::config::AdmissionConfig;

/// The keys of a file, which is read again while the process runs so that they rotate without a
/// restart; or a key that ends with the process.
#[derive(Debug)]
pub(crate) enum SigningKeys {
    File(Arc<Watched<Signer>>),
    Ephemeral(Arc<Signer>),
}

impl SigningKeys {
    /// The keys of the configured file, or a generated key where the configuration allows one.
    pub(crate) fn load(config: &AdmissionConfig) -> anyhow::Result<Arc<Self>> {
        let path = &config.signing_keys_file;
        if !path.is_empty() {
            let every = Duration::from_millis(config.reload_ms);
            let parse = |texts: &[String]| {
                let json = texts.first().map_or("", String::as_str);
                Signer::from_jwks(json).map_err(|error| error.to_string())
            };
            let paths = vec![PathBuf::from(path)];
            let file = Watched::open("admission.signing_keys_file", paths, every, parse)
                .map_err(|problem| anyhow!("the signing keys in {path}: {problem}"))?;
            return Ok(Arc::new(Self::File(file)));
        }
        if !config.ephemeral_keys {
            bail!(
                "there is no key to sign with: set admission.signing_keys_file, or admission.ephemeral_keys = true for development"
            );
        }
        tracing::warn!(
            "signing with a key made just now: tickets and admissions end with this process"
        );
        Ok(Arc::new(Self::Ephemeral(Arc::new(Signer::generate()?))))
    }

    /// The present keys.
    pub(crate) fn current(&self) -> Arc<Signer> {
        match self {
            Self::File(file) => file.current(),
            Self::Ephemeral(signer) => Arc::clone(signer),
        }
    }
}
