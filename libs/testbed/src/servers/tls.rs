//! An authority of one's own, and what it signs, for stores that are reached over TLS.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use time::macros::datetime;

use crate::{keys::write_secret, pki::Authority};

/// An authority that exists for one run, with the files of what it signs.
#[derive(Debug)]
pub struct AuthorityFolder {
    dir: PathBuf,
    ca_file: PathBuf,
    authority: Authority,
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

impl AuthorityFolder {
    /// A new authority, whose files are in `dir`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn create(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let authority = Authority::new("an authority of one run").map_err(io::Error::other)?;
        let ca_file = dir.join("ca.pem");
        fs::write(&ca_file, authority.pem())?;
        Ok(Self { dir: dir.to_owned(), ca_file, authority })
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
        let issued = match validity {
            Validity::Now => self.authority.issue(names),
            Validity::Past => self.authority.issue_until(names, datetime!(2021-01-01 0:00 UTC)),
        };
        let issued = issued.map_err(io::Error::other)?;
        let signed = Signed {
            cert_file: self.dir.join(format!("{file}.pem")),
            key_file: self.dir.join(format!("{file}.key")),
        };
        fs::write(&signed.cert_file, &issued.certificate)?;
        write_secret(&signed.key_file, &issued.key)?;
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
