//! Where NATS is, and how it is reached there.

use std::{io, path::Path, sync::Arc, time::Duration};

use async_nats::{ConnectOptions, ServerAddr};
use flashsale_connect::{Outage, Tls, Url, is_loopback, read_url};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};

use crate::NatsConfig;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The URL cannot be used.
    #[error("nats.url {0}")]
    Url(String),
    /// The file of credentials cannot be used.
    #[error("nats.credentials_file cannot be used: {0}")]
    Credentials(io::Error),
    /// The client cannot be set up.
    #[error(transparent)]
    Connect(#[from] async_nats::ConnectError),
}

/// A client that connects in the background and again whenever the connection breaks. While it
/// cannot, the log says why.
///
/// # Errors
/// `nats.url` or `nats.credentials_file` cannot be used. A server that does not answer is no error.
pub async fn connect(config: &NatsConfig, name: &str) -> Result<async_nats::Client, NatsError> {
    let servers = Servers::read(&config.url).map_err(NatsError::Url)?;
    let outage = Arc::new(Outage::of("nats"));
    let mut options = ConnectOptions::new()
        .name(name)
        // Each user may listen to its own inbox alone.
        .custom_inbox_prefix(format!("_INBOX.{name}"))
        .retry_on_initial_connect()
        .connection_timeout(Duration::from_secs(2))
        .request_timeout(Some(Duration::from_millis(config.publish_timeout_ms)))
        // A server that hangs with its connection open is noticed after two missed pings.
        .ping_interval(Duration::from_secs(5))
        .client_capacity(8_192)
        // What a server says of itself comes in plaintext: it could leave out that it has TLS.
        .require_tls(servers.tls)
        // Chooses no server. It is where the client shows why its last tries have failed: its
        // events tell the kind of an error and not the cause.
        .reconnect_to_server_callback(move |servers, _| {
            for cause in servers.iter().filter_map(|server| server.last_error.as_ref()) {
                outage.tell(cause);
            }
            async { None }
        });
    if !config.ca_file.is_empty() {
        options = options.add_root_certificates(config.ca_file.clone().into());
    }
    if !config.cert_file.is_empty() {
        options = options.add_client_certificate(
            config.cert_file.clone().into(),
            config.key_file.clone().into(),
        );
    }
    if !config.credentials_file.is_empty() {
        let credentials = tokio::fs::read_to_string(&config.credentials_file).await;
        let credentials = SecretString::from(credentials.map_err(NatsError::Credentials)?);
        let with = options.credentials(credentials.expose_secret());
        options = with.map_err(NatsError::Credentials)?;
    } else if let Some(login) = &servers.login {
        let password = login.password.expose_secret().to_owned();
        options = match &login.user {
            Some(user) => options.user_and_password(user.clone(), password),
            None => options.token(password),
        };
    }
    Ok(options.connect(servers.addresses).await?)
}

/// The servers of a URL.
struct Servers {
    /// Without user and password: the client uses none that stand there, and shows addresses in its
    /// log.
    addresses: Vec<ServerAddr>,
    login: Option<Login>,
    tls: bool,
    remote: bool,
}

/// What stands before the `@` of a URL.
struct Login {
    /// None: the password is a token, which stands there alone.
    user: Option<String>,
    password: SecretString,
}

impl Login {
    fn of(url: &Url) -> Option<Self> {
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(decode);
        match url.password().map(decode) {
            Some(password) => Some(Self { user, password: password.into() }),
            None => user.map(|token| Self { user: None, password: token.into() }),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.user == other.user && self.password.expose_secret() == other.password.expose_secret()
    }
}

impl Servers {
    /// Reads URLs with commas between.
    ///
    /// # Errors
    /// What is wrong, with nothing of the URLs in it.
    fn read(urls: &SecretString) -> Result<Self, String> {
        let unlike = || "is not a NATS URL such as nats://host:4222 or tls://host:4222".to_owned();
        let mut all = Self { addresses: Vec::new(), login: None, tls: false, remote: false };
        for text in urls.expose_secret().split(',').map(str::trim) {
            let with_scheme = if text.contains("://") { text } else { &format!("nats://{text}") };
            let mut url = read_url(with_scheme)?;
            let tls = url.scheme() == "tls";
            let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(unlike)?;
            if !(tls || url.scheme() == "nats") {
                return Err(unlike());
            }
            if !all.addresses.is_empty() && tls != all.tls {
                return Err("must begin each server with tls://, or none".to_owned());
            }
            all.remote |= !is_loopback(host);
            all.tls = tls;
            if let Some(login) = Login::of(&url) {
                if all.login.as_ref().is_some_and(|other| !login.is(other)) {
                    return Err("has several users: all servers are spoken to as one".to_owned());
                }
                all.login = Some(login);
            }
            let cleared = url.set_username("").and_then(|()| url.set_password(None));
            cleared.map_err(|()| unlike())?;
            all.addresses.push(ServerAddr::from_url(url).map_err(|_| unlike())?);
        }
        Ok(all)
    }
}

impl NatsConfig {
    /// What is wrong with the keys that say where NATS is and how it is reached.
    pub(crate) fn connection_problems(&self) -> Vec<(String, String)> {
        let servers = match Servers::read(&self.url) {
            Ok(servers) => servers,
            Err(problem) => return vec![("nats.url".to_owned(), problem)],
        };
        let tls = Tls {
            section: "nats",
            ca_file: &self.ca_file,
            cert_file: &self.cert_file,
            key_file: &self.key_file,
            allow_plaintext: self.allow_plaintext,
        };
        let mut problems =
            tls.problems(servers.tls, servers.remote, "begin each of its servers with tls://");
        let key = || "nats.credentials_file".to_owned();
        let path = &self.credentials_file;
        if !path.is_empty() {
            if !Path::new(path).is_file() {
                problems.push((key(), format!("names {path}, which is not a file")));
            } else if let Err(why) = readable(path) {
                problems.push((key(), format!("names {path}, which {why}")));
            }
            if servers.login.is_some() {
                let problem = "must not be set together with a user in nats.url".to_owned();
                problems.push((key(), problem));
            }
        }
        problems
    }
}

/// Why a file of credentials cannot be used.
fn readable(path: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = SecretString::from(text);
    ConnectOptions::with_credentials(text.expose_secret())
        .map(drop)
        .map_err(|_| "has no user JWT with its seed".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn problems(url: &str) -> Vec<(String, String)> {
        NatsConfig::at(url).problems()
    }

    #[test]
    fn odd_urls_are_refused_without_a_quote() {
        for url in [
            "nats://u:a/hunter2@host",
            "nats://u:hunter2@host:x",
            "nats://u:hunter2@",
            "nats://u:p,hunter2@host",
            "http://u:hunter2@host",
            "ws://u:hunter2@host",
            "tls://u:hunter2@host,nats://u:hunter2@host",
            "tls://u:hunter2@host,tls://v:hunter2@host",
            "",
        ] {
            let found = problems(url);
            let [(key, said)] = &found[..] else { panic!("{url}: {found:?}") };
            assert_eq!(key, "nats.url");
            assert!(!said.contains("hunter2"), "{url}: {said}");
        }
    }

    #[test]
    fn other_machines_are_reached_over_tls() {
        for url in ["nats://u:hunter2@nats.example", "nats.example:4222", "127.0.0.1,nats.example"]
        {
            let found = problems(url);
            let [(key, said)] = &found[..] else { panic!("{url}: {found:?}") };
            assert_eq!(key, "nats.url");
            assert!(said.contains("tls://") && said.contains("nats.allow_plaintext"), "{said}");
            let allowed = NatsConfig { allow_plaintext: true, ..NatsConfig::at(url) };
            assert_eq!(allowed.problems(), []);
        }
        for url in ["nats://127.0.0.1:1, nats://localhost", "tls://u:p@a.example,tls://b.example"] {
            assert_eq!(problems(url), [], "{url}");
        }
    }

    #[test]
    fn user_and_password_are_no_part_of_the_address() {
        let servers = Servers::read(&"nats://a%2Fb:hunter%402@host:1".into()).unwrap();
        assert_eq!(servers.addresses[0].as_url_str(), "nats://host:1");
        let login = servers.login.unwrap();
        assert_eq!(login.user.as_deref(), Some("a/b"));
        assert_eq!(login.password.expose_secret(), "hunter@2");
    }
}
