//! The certificates of clients: what one that a connection was made with is worth, at the moment of
//! a call.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use flashsale_access::certificate_name;
use flashsale_connect::pem;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use crate::{AccessConfig, watched::Watched};

/// How long a verdict about a connection's certificate counts: it ends, its authority may be taken
/// out of the file, or be added to it.
const VERDICT_FOR: Duration = Duration::from_secs(1);

/// The authorities of clients.
#[derive(Debug)]
pub(crate) struct Clients(Arc<Watched<Judge>>);

type Judge = Arc<dyn ClientCertVerifier>;

impl Clients {
    /// Reads the file of authorities, if the configuration names one.
    ///
    /// # Errors
    /// If it cannot be read or has none.
    pub(crate) fn open(access: &AccessConfig) -> anyhow::Result<Option<Arc<Self>>> {
        let path = &access.client_ca_file;
        if path.is_empty() {
            return Ok(None);
        }
        let every = Duration::from_millis(access.reload_ms);
        let file =
            Watched::open("access.client_ca_file", vec![PathBuf::from(path)], every, |texts| {
                judge(texts.first().map_or("", String::as_str))
            });
        let file = file.map_err(|problem| anyhow!("access.client_ca_file {path}: {problem}"))?;
        Ok(Some(Arc::new(Self(file))))
    }

    /// What a client has presented, its own certificate first; `None` if it has none.
    pub(crate) fn presented(self: &Arc<Self>, chain: &[CertificateDer<'_>]) -> Option<Presented> {
        let chain: Vec<_> =
            chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        let clients = Arc::clone(self);
        let own = Certificates { chain, clients, verdict: Mutex::new(None) };
        (!own.chain.is_empty()).then(|| Presented(Arc::new(own)))
    }
}

fn judge(authorities: &str) -> Result<Judge, String> {
    let roots = pem::authorities(authorities.as_bytes()).map_err(|error| error.to_string())?;
    let roots = Arc::new(roots);
    WebPkiClientVerifier::builder_with_provider(roots, Arc::new(ring::default_provider()))
        .build()
        .map_err(|error| error.to_string())
}

/// The certificates that a connection was made with.
#[derive(Debug, Clone)]
pub(crate) struct Presented(Arc<Certificates>);

#[derive(Debug)]
struct Certificates {
    chain: Vec<CertificateDer<'static>>,
    clients: Arc<Clients>,
    verdict: Mutex<Option<(Instant, Verdict)>>,
}

/// The name in a client's certificate, or why it has none that counts.
type Verdict = Result<Arc<str>, &'static str>;

impl Presented {
    /// The name in the client's certificate.
    ///
    /// # Errors
    /// If the certificate is not believed.
    pub(crate) fn name(&self) -> Verdict {
        let Certificates { chain, clients, verdict } = &*self.0;
        let mut verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner);
        match &*verdict {
            Some((at, verdict)) if at.elapsed() < VERDICT_FOR => verdict.clone(),
            _ => {
                let new = judged(&**clients.0.current(), chain);
                *verdict = Some((Instant::now(), new.clone()));
                new
            }
        }
    }
}

fn judged(judge: &dyn ClientCertVerifier, chain: &[CertificateDer<'_>]) -> Verdict {
    use CertificateError as Wrong;
    let (own, others) = chain.split_first().ok_or("there is no certificate")?;
    match judge.verify_client_cert(own, others, UnixTime::now()) {
        Ok(_) => certificate_name(own).map(Arc::from).map_err(|error| error.as_str()),
        Err(Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. })) => {
            Err("the certificate has expired")
        }
        Err(Error::InvalidCertificate(Wrong::NotValidYet | Wrong::NotValidYetContext { .. })) => {
            Err("the certificate is not valid yet")
        }
        Err(Error::InvalidCertificate(Wrong::UnknownIssuer)) => {
            Err("the certificate is of an authority that is not trusted here")
        }
        Err(_) => Err("the certificate is not one of a client, or is broken"),
    }
}

/// Asks for a certificate and has the handshake prove that the caller holds its key. What the
/// certificate itself is worth is judged with each call: a caller without a certificate, or with
/// one that is not believed, is told so by its first call in words, where TLS would cut the
/// connection with a number; and one whose authority has gone since the handshake is not believed
/// any more.
#[derive(Debug)]
pub(crate) struct JudgedLater(WebPkiSupportedAlgorithms);

impl JudgedLater {
    pub(crate) fn new(provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self(provider.signature_verification_algorithms))
    }
}

impl ClientCertVerifier for JudgedLater {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None, which means any: the authorities may change while connections stand.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
