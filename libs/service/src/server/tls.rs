//! TLS on the gRPC ports. The certificate and its key are read again while the process runs, and
//! count for the connections made from then on.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use anyhow::anyhow;
use flashsale_connect::pem;
use rustls::crypto::ring;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    AccessConfig, ServerConfig,
    clients::{Clients, JudgedLater, Presented},
    watched::Watched,
};

/// How long a caller may take over its side of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the ports speak TLS with.
#[derive(Debug)]
pub(super) struct Tls {
    server: Arc<Watched<rustls::ServerConfig>>,
    /// Whose certificates are asked for, if any.
    clients: Option<Arc<Clients>>,
}

impl Tls {
    /// Reads the files, if the configuration names any.
    ///
    /// # Errors
    /// If one cannot be read, is broken, or does not fit the other.
    pub(super) fn open(
        server: &ServerConfig,
        access: &AccessConfig,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        if server.tls_cert_file.is_empty() {
            return Ok(None);
        }
        let clients = Clients::open(access)?;
        let asks = clients.is_some();
        let paths = [&server.tls_cert_file, &server.tls_key_file].map(PathBuf::from).to_vec();
        let every = Duration::from_millis(access.reload_ms);
        let files =
            Watched::open("server.tls_cert_file", paths, every, move |texts| settings(texts, asks));
        let server = files.map_err(|problem| {
            anyhow!("the certificate that server.tls_cert_file names cannot be used: {problem}")
        })?;
        Ok(Some(Arc::new(Self { server, clients })))
    }

    /// Shakes hands with a caller, who may present a certificate.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Presented>)> {
        let accepting = TlsAcceptor::from(self.server.current()).accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await??;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let presented = self.clients.as_ref().and_then(|clients| clients.presented(chain));
        Ok((stream, presented))
    }
}

/// Of the texts of the certificate chain and its key.
fn settings(texts: &[String], asks: bool) -> Result<rustls::ServerConfig, String> {
    let [chain, key] = texts else { return Err("a file is missing".to_owned()) };
    let chain = pem::certificates(chain.as_bytes()).map_err(|error| error.to_string())?;
    let key = pem::private_key(key.as_bytes()).map_err(|error| error.to_string())?;
    let provider = Arc::new(ring::default_provider());
    let asked = asks.then(|| JudgedLater::new(&provider));
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match asked {
        Some(asked) => builder.with_client_cert_verifier(asked),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("the certificate and its key: {error}"))?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    Ok(server)
}
