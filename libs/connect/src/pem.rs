//! Certificates and keys in PEM.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Why the content of a file cannot be used. Nothing of it is in the text.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// There is none, or one is malformed.
    #[error("it is not a PEM file with certificates")]
    NoCertificate,
    /// There is none, or it is malformed.
    #[error("it is not a PEM file with a private key")]
    NoPrivateKey,
    /// A certificate that cannot be an authority's.
    #[error("a certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// The certificates in a file, at least one.
///
/// # Errors
/// [`PemError::NoCertificate`]
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.ok().filter(|certificates| !certificates.is_empty()).ok_or(PemError::NoCertificate)
}

/// The authorities in a file, at least one.
///
/// # Errors
/// If there is none, or one cannot be used.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The private key in a file.
///
/// # Errors
/// [`PemError::NoPrivateKey`]
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| PemError::NoPrivateKey)
}
