//! Where Postgres is, and how it is reached there.

use flashsale_connect::{Tls, is_loopback, read_url as read};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::PgConfig;

/// What a URL of Postgres may say behind its `?`. The driver passes over anything else, and writes
/// it to the log.
const PARAMETERS: [&str; 17] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// A text that is not a URL of Postgres: why, with nothing of the text in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

/// Reads a URL of Postgres.
///
/// # Errors
/// [`UrlError`]
pub fn read_url(url: &SecretString) -> Result<PgConnectOptions, UrlError> {
    let text = url.expose_secret();
    let read = read(text).map_err(UrlError)?;
    if !["postgres://", "postgresql://"].iter().any(|begin| text.starts_with(begin)) {
        return Err(UrlError("must begin with postgres://".to_owned()));
    }
    let known = |key: &str| PARAMETERS.contains(&key) || key.starts_with("options[");
    if !read.query_pairs().all(|(key, _)| known(&key)) {
        let known = "sslmode, sslrootcert, sslcert, sslkey, options, application_name";
        return Err(UrlError(format!("has a parameter that is not known; there are {known}")));
    }
    // The driver's error may quote the value of a parameter.
    text.parse()
        .map_err(|_| UrlError("has a parameter with a value that cannot be used".to_owned()))
}

impl PgConfig {
    /// What the driver is told.
    ///
    /// # Errors
    /// [`UrlError`]
    pub(crate) fn options(&self) -> Result<PgConnectOptions, UrlError> {
        let mut options = read_url(&self.url)?;
        if !self.ca_file.is_empty() {
            options = options.ssl_root_cert(&self.ca_file);
        }
        if !self.cert_file.is_empty() {
            options = options.ssl_client_cert(&self.cert_file);
        }
        if !self.key_file.is_empty() {
            options = options.ssl_client_key(&self.key_file);
        }
        Ok(options)
    }

    /// What is wrong with the keys that say where Postgres is and how it is reached.
    pub(crate) fn connection_problems(&self) -> Vec<(String, String)> {
        let options = match read_url(&self.url) {
            Ok(options) => options,
            Err(UrlError(problem)) => return vec![("postgres.url".to_owned(), problem)],
        };
        let remote = options.get_socket().is_none() && !is_loopback(options.get_host());
        // The driver trusts the public authorities beside those of `ca_file`: without a check of
        // the name (verify-ca) a certificate that is for any host in the world would do.
        let verified = matches!(options.get_ssl_mode(), PgSslMode::VerifyFull);
        let tls = Tls {
            section: "postgres",
            ca_file: &self.ca_file,
            cert_file: &self.cert_file,
            key_file: &self.key_file,
            allow_plaintext: self.allow_plaintext,
        };
        tls.problems(
            verified,
            remote,
            "end it with ?sslmode=verify-full (prefer, which holds where nothing is said, goes on \
             without TLS; require and verify-ca take certificates of other hosts)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(url: &str) -> Vec<(String, String)> {
        PgConfig::at(url).problems()
    }

    #[test]
    fn odd_urls_are_refused_without_a_quote() {
        for (url, why) in [
            ("postgres://u:a/hunter2@host/db", "has an @ behind its host"),
            ("postgres://u:1?hunter2@host/db", "has an @ behind its host"),
            ("postgres://u:hunter2@/db", "cannot be read"),
            ("postgres:hunter2", "must begin with postgres://"),
            ("postgres://u:hunter2@host:x/db", "invalid port number"),
            ("mysql://u:hunter2@host/db", "must begin with postgres://"),
            ("postgres://localhost/db?pass=hunter2", "a parameter that is not known"),
            ("postgres://u:hunter2@localhost/db?sslmode=hunter2", "a value that cannot be used"),
        ] {
            let found = problems(url);
            let [(key, said)] = &found[..] else { panic!("{url}: {found:?}") };
            assert_eq!(key, "postgres.url");
            assert!(said.contains(why) && !said.contains("hunter2"), "{url}: {said}");
        }
    }

    #[test]
    fn another_machine_is_reached_with_a_checked_certificate() {
        for mode in ["disable", "allow", "prefer", "require", "verify-ca", ""] {
            let mode = Some(mode).filter(|mode| !mode.is_empty());
            let mode = mode.map(|mode| format!("?sslmode={mode}")).unwrap_or_default();
            let url = format!("postgres://u:hunter2@db.example/db{mode}");
            let found = problems(&url);
            let [(key, said)] = &found[..] else { panic!("{url}: {found:?}") };
            assert_eq!(key, "postgres.url");
            assert!(said.contains("sslmode=verify-full") && !said.contains("hunter2"), "{said}");
            assert!(said.contains("postgres.allow_plaintext"), "{said}");
            let allowed = PgConfig { allow_plaintext: true, ..PgConfig::at(url) };
            assert_eq!(allowed.problems(), []);
        }
        for url in [
            "postgres://u:p@db.example/db?sslmode=verify-full",
            "postgres://u@127.0.0.1/db",
            "postgres://u@localhost:5433/db?sslmode=disable",
            "postgres://u@[::1]/db",
            "postgres://u@%2Fvar%2Frun%2Fpostgresql/db",
        ] {
            assert_eq!(problems(url), [], "{url}");
        }
    }
}
