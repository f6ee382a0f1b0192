//! TLS to a store, as its section of the configuration says.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use crate::pem;

/// The keys of a store's section that say how it is reached.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// The name of the section, which the names of its keys begin with.
    pub section: &'static str,
    /// The authorities that may sign the store's certificate, PEM. Empty: the public ones.
    pub ca_file: &'a str,
    /// The client certificate and what it is signed by, PEM. Empty: none.
    pub cert_file: &'a str,
    /// Its private key, PEM. Empty: none.
    pub key_file: &'a str,
    /// Whether the store may be on another machine without TLS.
    pub allow_plaintext: bool,
}

/// What is wrong with a URL that leads to another machine and does not ask for TLS with a check of
/// the certificate. `remedy` says what would have to change in it.
pub fn plaintext(section: &str, remedy: &str) -> String {
    format!(
        "leads to another machine, in plaintext or without a check of its certificate: {remedy}; or \
         set {section}.allow_plaintext = true if what lies between encrypts (a mesh, a sidecar)"
    )
}

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the files. The texts are those of [`Tls::problems`].
    #[error("{key} {problem}")]
    File {
        /// The key that names it.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// They are read, and do not go together: the key is another certificate's, say.
    #[error("the certificates cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The system's list of public authorities.
    #[error("the system's authorities cannot be read: {0}")]
    System(rustls_native_certs::Error),
}

impl Tls<'_> {
    /// What is wrong with the section, each as (key, problem). `verified` says whether its URL has
    /// every connection encrypted and the store's certificate checked, `remote` whether it names
    /// another machine, and `remedy` what would have to change in the URL.
    pub fn problems(&self, verified: bool, remote: bool, remedy: &str) -> Vec<(String, String)> {
        let Self { section, .. } = *self;
        let mut problems = Vec::new();
        if !verified && remote && !self.allow_plaintext {
            problems.push((self.name("url"), plaintext(section, remedy)));
        }
        let files = self.files();
        let mut of_files: Vec<_> = files.iter().filter_map(|file| file.problem()).collect();
        match (self.cert_file.is_empty(), self.key_file.is_empty()) {
            (true, false) => of_files.push((
                self.name("cert_file"),
                format!("must be set together with {section}.key_file"),
            )),
            (false, true) => of_files.push((
                self.name("key_file"),
                format!("must be set together with {section}.cert_file"),
            )),
            (true, true) | (false, false) => {}
        }
        let is_set = files.iter().any(|file| !file.path.is_empty());
        if is_set && of_files.is_empty() {
            let unusable = self.client_config().err();
            of_files.extend(unusable.map(|error| (self.name("cert_file"), error.to_string())));
        }
        problems.extend(of_files);
        if let Some(file) = files.iter().find(|file| !file.path.is_empty()).filter(|_| !verified) {
            let problem = format!("is for TLS, which {section}.url does not ask for: {remedy}");
            problems.push((file.key.clone(), problem));
        }
        problems
    }

    /// What a client speaks TLS with.
    ///
    /// # Errors
    /// When the files cannot be used, or `ca_file` is empty and the system's list of authorities
    /// cannot be read.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let [ca, cert, key] = self.files();
        let mut roots = RootCertStore::empty();
        if ca.path.is_empty() {
            let mut system = rustls_native_certs::load_native_certs();
            if let Some(error) = system.errors.pop() {
                return Err(TlsError::System(error));
            }
            roots.add_parsable_certificates(system.certs);
        } else {
            for authority in ca.certificates()? {
                roots.add(authority)?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        if cert.path.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        Ok(builder.with_client_auth_cert(cert.certificates()?, key.private_key()?)?)
    }

    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.section)
    }

    fn files(&self) -> [PemFile<'_>; 3] {
        let file = |key, path, kind| PemFile { key: self.name(key), path, kind };
        [
            file("ca_file", self.ca_file, Kind::Certificates),
            file("cert_file", self.cert_file, Kind::Certificates),
            file("key_file", self.key_file, Kind::PrivateKey),
        ]
    }
}

/// A file that a key names.
struct PemFile<'a> {
    key: String,
    path: &'a str,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Certificates,
    PrivateKey,
}

impl PemFile<'_> {
    fn problem(&self) -> Option<(String, String)> {
        if self.path.is_empty() {
            return None;
        }
        let read = match self.kind {
            Kind::Certificates => self.certificates().map(drop),
            Kind::PrivateKey => self.private_key().map(drop),
        };
        match read {
            Ok(()) => None,
            Err(TlsError::File { key, problem }) => Some((key, problem)),
            Err(other @ (TlsError::Unusable(_) | TlsError::System(_))) => {
                Some((self.key.clone(), other.to_string()))
            }
        }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        pem::certificates(&self.read()?).map_err(|_| self.unusable("has no certificate in PEM"))
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        pem::private_key(&self.read()?).map_err(|_| self.unusable("has no private key in PEM"))
    }

    fn read(&self) -> Result<Vec<u8>, TlsError> {
        if !Path::new(self.path).is_file() {
            return Err(self.unusable("is not a file"));
        }
        fs::read(self.path).map_err(|error| self.unusable(&format!("cannot be read: {error}")))
    }

    fn unusable(&self, why: &str) -> TlsError {
        let problem = format!("names {}, which {why}", self.path);
        TlsError::File { key: self.key.clone(), problem }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    struct Folder(TempDir);

    impl Folder {
        fn new() -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            for name in ["one", "two"] {
                let own = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
                folder.write(&format!("{name}.pem"), &own.cert.pem());
                folder.write(&format!("{name}.key"), &own.signing_key.serialize_pem());
            }
            folder.write("text", "hunter2");
            folder
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// What is wrong with these files, each named in this folder, beside a URL that asks for
        /// TLS or does not.
        fn problems(&self, [ca, cert, key]: [&str; 3], verified: bool) -> Vec<(String, String)> {
            let path = |name: &str| match name {
                "" => String::new(),
                name => self.path(name).display().to_string(),
            };
            let (ca_file, cert_file, key_file) = (&path(ca), &path(cert), &path(key));
            let tls =
                Tls { section: "redis", ca_file, cert_file, key_file, allow_plaintext: false };
            tls.problems(verified, false, "say rediss")
        }
    }

    #[test]
    fn each_wrong_file_is_named() {
        let folder = Folder::new();
        for (files, key, why) in [
            (["nowhere", "", ""], "ca_file", "which is not a file"),
            (["text", "", ""], "ca_file", "has no certificate in PEM"),
            (["one.key", "", ""], "ca_file", "has no certificate in PEM"),
            (["", "one.pem", ""], "key_file", "together with redis.cert_file"),
            (["", "", "one.key"], "cert_file", "together with redis.key_file"),
            (["", "one.pem", "one.pem"], "key_file", "has no private key in PEM"),
            (["", "text", "one.key"], "cert_file", "has no certificate in PEM"),
            (["one.pem", "one.pem", "two.key"], "cert_file", "cannot be used"),
        ] {
            let found = folder.problems(files, true);
            let [(at, said)] = &found[..] else { panic!("{files:?}: {found:?}") };
            assert_eq!(*at, format!("redis.{key}"));
            assert!(said.contains(why) && !said.contains("hunter2"), "{files:?}: {said}");
        }
        assert_eq!(folder.problems(["one.pem", "two.pem", "two.key"], true), []);
        assert_eq!(folder.problems(["", "", ""], false), []);
    }

    #[test]
    fn files_ask_for_tls() {
        let folder = Folder::new();
        for (files, key) in
            [(["one.pem", "", ""], "ca_file"), (["", "one.pem", "one.key"], "cert_file")]
        {
            let found = folder.problems(files, false);
            let [(at, said)] = &found[..] else { panic!("{files:?}: {found:?}") };
            assert_eq!(*at, format!("redis.{key}"));
            assert!(said.contains("redis.url does not ask for: say rediss"), "{said}");
        }
    }
}
