//! TLS on the gRPC ports. The certificate, its key and the authority of the clients are read again
//! while the process runs, and count for the connections made from then on.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use flashsale_access::{Certified, Reloaded};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{AccessConfig, ServerConfig, stack::Presented, watched::Watched};

/// How long a caller may take over its side of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the ports speak TLS with.
#[derive(Debug)]
pub(super) struct Tls(Watched<Present>);

/// What the files hold at present.
#[derive(Debug)]
struct Present {
    server: Arc<rustls::ServerConfig>,
    /// Judges the certificates of clients, where they are asked for one.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    /// Reads the files, if the configuration names any.
    ///
    /// # Errors
    /// If one cannot be read, is broken, or does not fit the others.
    pub(super) fn open(
        server: &ServerConfig,
        access: &AccessConfig,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        if server.tls_cert_file.is_empty() {
            return Ok(None);
        }
        let files = [&server.tls_cert_file, &server.tls_key_file, &access.client_ca_file];
        let named = files.into_iter().filter(|path| !path.is_empty());
        let paths: Vec<PathBuf> = named.map(|path| Path::new(path).to_owned()).collect();
        let every = Duration::from_millis(access.reload_ms);
        let files = Reloaded::open_all(paths, every, Present::of).map_err(|problem| {
            anyhow!("the certificate that server.tls_cert_file names cannot be used: {problem}")
        })?;
        Ok(Some(Arc::new(Self(Watched::new("server.tls_cert_file", files)))))
    }

    /// Shakes hands with a caller, and judges the certificate that it presents, if any.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Presented>)> {
        let present = self.0.current();
        let accepting = TlsAcceptor::from(Arc::clone(&present.server)).accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await??;
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        let presented = match (&present.clients, chain.split_first()) {
            (Some(judge), Some((own, others))) => Some(judged(&**judge, own, others)),
            _ => None,
        };
        Ok((stream, presented))
    }
}

impl Present {
    /// Of the texts of the certificate chain, its key and, maybe, the clients' authority.
    fn of(texts: &[String]) -> Result<Self, String> {
        let [chain, key, authority @ ..] = texts else { return Err("a file is missing".into()) };
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| "the key is not a PEM file with a private key")?;
        let provider = Arc::new(ring::default_provider());
        let clients = match authority.first() {
            Some(authority) => Some(judge(authority, &provider)?),
            None => None,
        };
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &clients {
            Some(judge) => {
                builder.with_client_cert_verifier(Arc::new(JudgedLater(Arc::clone(judge))))
            }
            None => builder.with_no_client_auth(),
        };
        let mut server = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("the certificate and its key: {error}"))?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { server: Arc::new(server), clients })
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err("the certificate is not a PEM file with certificates".to_owned()),
    }
}

fn judge(
    authority: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).map_err(|error| format!("access.client_ca_file: {error}"))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("access.client_ca_file: {error}"))
}

/// What a client's certificate is worth: the name in it, or why it has none.
fn judged(
    judge: &dyn ClientCertVerifier,
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
) -> Presented {
    use rustls::{CertificateError as Wrong, Error};
    let verdict = judge.verify_client_cert(own, others, UnixTime::now());
    Arc::new(match verdict {
        Ok(_) => Certified::read(own).map_err(|error| error.as_str()),
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
    })
}

/// Asks for a certificate and has the handshake prove that the caller holds its key. What the
/// certificate itself is worth is judged behind the handshake, by the same judge: a caller without a
/// certificate, or with one that is not believed, is told so by its first call in words, where TLS
/// would cut the connection with a number.
#[derive(Debug)]
struct JudgedLater(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for JudgedLater {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
