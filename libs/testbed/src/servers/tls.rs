//! An authority of one's own, and what it signs, for stores that are reached over TLS.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::keys::write_secret;

/// An authority that exists for one run.
pub struct Authority {
    dir: PathBuf,
    ca_file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// A certificate and its private key, PEM.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The certificate.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

/// What a store speaks TLS with. It takes no client without a certificate of the authority.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// The authority of its clients.
    pub ca_file: PathBuf,
    /// Its own certificate.
    pub own: Signed,
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Now,
    /// It was, years ago.
    Past,
}

impl Authority {
    /// A new authority, whose files are in `dir`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn create(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority of one run");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        let ca_file = dir.join("ca.pem");
        fs::write(&ca_file, certificate.pem())?;
        Ok(Self { dir: dir.to_owned(), ca_file, issuer: Issuer::new(params, key) })
    }

    /// Its own certificate, PEM.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Signs a certificate for the hosts or addresses `names`. Its files are called `file`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn sign(&self, file: &str, names: &[&str], validity: Validity) -> io::Result<Signed> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if validity == Validity::Past {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let signed = Signed {
            cert_file: self.dir.join(format!("{file}.pem")),
            key_file: self.dir.join(format!("{file}.key")),
        };
        fs::write(&signed.cert_file, certificate.pem())?;
        write_secret(&signed.key_file, &key.serialize_pem())?;
        Ok(signed)
    }

    /// What a store on this machine speaks TLS with.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn server(&self, file: &str) -> io::Result<ServerTls> {
        self.server_for(file, &["127.0.0.1", "localhost"], Validity::Now)
    }

    /// The same with a certificate for other names, or of another time.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn server_for(
        &self,
        file: &str,
        names: &[&str],
        validity: Validity,
    ) -> io::Result<ServerTls> {
        let own = self.sign(file, names, validity)?;
        Ok(ServerTls { ca_file: self.ca_file.clone(), own })
    }
}
