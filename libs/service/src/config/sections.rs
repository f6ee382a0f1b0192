//! The sections that all services share.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::{Problem, common};

/// The `[server]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Where gRPC is served.
    pub grpc_listen: SocketAddr,
    /// Where what only operators and services may call is served, and everything else as well.
    /// `grpc_listen` then refuses it. Empty: all calls are served at `grpc_listen`.
    pub internal_listen: String,
    /// Where `/metrics`, `/livez`, `/readyz` and, without `routes_listen`, the service's own HTTP
    /// routes are served.
    pub http_listen: SocketAddr,
    /// Where the service's own HTTP routes are served: Stripe's webhook, the keys of admissions.
    /// Empty: at `http_listen`.
    pub routes_listen: String,
    /// Calls at once on one connection.
    pub max_concurrent_streams: u32,
    /// Connections at once, on each port.
    pub max_connections: usize,
    /// Calls of one method in work at once in this process; more are refused with `OVERLOADED`.
    pub max_in_flight: usize,
    /// The largest request.
    pub max_request_bytes: usize,
    /// The deadline of a call whose caller sends none, and the longest there is. Streams have none.
    pub max_deadline_ms: u64,
    /// How often an idle connection is asked whether it is alive.
    pub keepalive_interval_ms: u64,
    /// How long the answer to that may take.
    pub keepalive_timeout_ms: u64,
    /// How long the server goes on serving after it has reported NOT_SERVING, until no new calls
    /// are routed to it.
    pub drain_delay_ms: u64,
    /// How long calls in work may then take to end, before their connections are cut.
    pub drain_timeout_ms: u64,
    /// The certificate chain, PEM. Empty: no TLS.
    pub tls_cert_file: String,
    /// Its private key, PEM. Empty: no TLS.
    pub tls_key_file: String,
    /// Where the two addresses are written, separated by a space, once they are served. Empty:
    /// nowhere.
    pub ready_file: String,
    /// Whether reflection is served, to anyone.
    pub reflection: bool,
    /// Where `docs/errors/` is published: what the help link of an error begins with. Empty:
    /// [`flashsale_errors::PAGES_URL`].
    pub error_pages_url: String,
}

impl ServerConfig {
    /// The common defaults, at these addresses.
    pub fn at(grpc_listen: SocketAddr, http_listen: SocketAddr) -> Self {
        let own = format!(
            "server = {{ grpc_listen = \"{grpc_listen}\", http_listen = \"{http_listen}\" }}"
        );
        common("server", &own)
    }

    /// What is wrong with the section.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, is_zero) in [
            ("server.max_concurrent_streams", self.max_concurrent_streams == 0),
            ("server.max_connections", self.max_connections == 0),
            ("server.max_in_flight", self.max_in_flight == 0),
            ("server.max_request_bytes", self.max_request_bytes == 0),
            ("server.max_deadline_ms", self.max_deadline_ms == 0),
            ("server.keepalive_interval_ms", self.keepalive_interval_ms == 0),
            ("server.keepalive_timeout_ms", self.keepalive_timeout_ms == 0),
            ("server.drain_timeout_ms", self.drain_timeout_ms == 0),
        ] {
            if is_zero {
                problems.push(Problem::new(key, "must be above 0"));
            }
        }
        problems.extend(self.address_problems());
        match (self.tls_cert_file.is_empty(), self.tls_key_file.is_empty()) {
            (true, false) => problems.push(Problem::new(
                "server.tls_cert_file",
                "must be set together with server.tls_key_file",
            )),
            (false, true) => problems.push(Problem::new(
                "server.tls_key_file",
                "must be set together with server.tls_cert_file",
            )),
            (true, true) | (false, false) => {}
        }
        let pages = &self.error_pages_url;
        if !(pages.is_empty() || pages.starts_with("https://") || pages.starts_with("http://")) {
            problems.push(Problem::new(
                "server.error_pages_url",
                "must be a URL such as https://docs.example.com/flashsale/errors, or empty",
            ));
        }
        for (key, path) in [
            ("server.tls_cert_file", &self.tls_cert_file),
            ("server.tls_key_file", &self.tls_key_file),
        ] {
            problems.extend(missing_file(key, path));
        }
        problems
    }

    /// The addresses it listens at, each with its key. One that cannot be read is left out.
    fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        [
            ("server.grpc_listen", Some(self.grpc_listen)),
            ("server.internal_listen", self.internal_listen.parse().ok()),
            ("server.http_listen", Some(self.http_listen)),
            ("server.routes_listen", self.routes_listen.parse().ok()),
        ]
        .into_iter()
        .filter_map(|(key, address)| Some((key, address?)))
    }

    fn address_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, text) in [
            ("server.internal_listen", &self.internal_listen),
            ("server.routes_listen", &self.routes_listen),
        ] {
            if !text.is_empty() && text.parse::<SocketAddr>().is_err() {
                problems
                    .push(Problem::new(key, "must be an address such as 0.0.0.0:50061, or empty"));
            }
        }
        for (index, (key, address)) in self.addresses().enumerate() {
            let taken = self.addresses().take(index).find(|(_, other)| *other == address);
            if let Some((other, _)) = taken.filter(|_| address.port() != 0) {
                problems.push(Problem::new(key, format!("must differ from {other}")));
            }
        }
        problems
    }

    /// Whether no other machine reaches it over gRPC.
    fn is_loopback(&self) -> bool {
        self.addresses()
            .filter(|(key, _)| ["server.grpc_listen", "server.internal_listen"].contains(key))
            .all(|(_, address)| address.ip().is_loopback())
    }

    pub(crate) fn max_deadline(&self) -> Duration {
        Duration::from_millis(self.max_deadline_ms)
    }

    pub(crate) fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

/// The `[access]` section: who is served.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessConfig {
    /// What becomes of a call whose caller may not make it.
    pub mode: AccessMode,
    /// The file of keys ([`flashsale_access::Keys`]). Empty: none.
    pub keys_file: String,
    /// How often the file is looked at again.
    pub reload_ms: u64,
}

/// What becomes of a call whose caller may not make it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// It is refused.
    Required,
    /// It is served, counted and logged. On loopback alone.
    Report,
    /// No caller is asked for. On loopback alone.
    Off,
}

impl AccessConfig {
    /// The common defaults, with this file of keys.
    pub fn with_keys(keys_file: &str) -> Self {
        common("access", &format!("access.keys_file = '{keys_file}'"))
    }

    /// What is wrong with the section, for a server that listens as `server` says.
    pub fn problems(&self, server: &ServerConfig) -> Vec<Problem> {
        let mut problems = Vec::new();
        match self.mode {
            AccessMode::Required if self.keys_file.is_empty() => problems.push(Problem::new(
                "access.keys_file",
                "must be set while access.mode is required; `flashsale access new-key` makes a key",
            )),
            AccessMode::Report | AccessMode::Off if !server.is_loopback() => {
                problems.push(Problem::new(
                    "access.mode",
                    "must be required unless server.grpc_listen and server.internal_listen are loopback addresses",
                ));
            }
            AccessMode::Required | AccessMode::Report | AccessMode::Off => {}
        }
        if self.reload_ms == 0 {
            problems.push(Problem::new("access.reload_ms", "must be above 0"));
        }
        problems.extend(missing_file("access.keys_file", &self.keys_file));
        problems
    }
}

/// A section `[peers.<name>]`: another service that this one calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// `http://host:port` or `https://host:port`.
    pub url: String,
    /// The longest that one call may take; less if less is left of the deadline of the request
    /// being served.
    pub timeout_ms: u64,
    /// How long connecting may take.
    pub connect_timeout_ms: u64,
    /// The authority that signs the peer's certificate, PEM. Empty: none, and then no `https`.
    pub ca_file: String,
    /// The file with the key that this service calls with. `*` in it stands for the service's name.
    /// Empty: none.
    pub key_file: String,
}

impl PeerConfig {
    /// The common defaults, at `url`.
    pub fn at(url: &str) -> Self {
        let peers: HashMap<String, Self> = common("peers", &format!("peers.it.url = '{url}'"));
        peers.into_values().next().unwrap_or_else(|| unreachable!("one is set"))
    }

    /// The file with the key of the service `own`.
    pub fn key_file_of(&self, own: &str) -> Option<PathBuf> {
        (!self.key_file.is_empty()).then(|| PathBuf::from(self.key_file.replace('*', own)))
    }

    /// What is wrong with the section `[peers.<name>]`.
    pub fn problems(&self, name: &str) -> Vec<Problem> {
        let key = |key: &str| format!("peers.{name}.{key}");
        let mut problems = Vec::new();
        let url = self.url.parse::<http::Uri>().ok().filter(|url| url.host().is_some());
        match url.as_ref().and_then(http::Uri::scheme_str) {
            Some("http") => {}
            Some("https") if !self.ca_file.is_empty() => {}
            Some("https") => {
                problems.push(Problem::new(key("ca_file"), "must be set for an https URL"))
            }
            _ => problems
                .push(Problem::new(key("url"), "must be a URL such as http://inventory:50051")),
        }
        for (name, value) in
            [("timeout_ms", self.timeout_ms), ("connect_timeout_ms", self.connect_timeout_ms)]
        {
            if value == 0 {
                problems.push(Problem::new(key(name), "must be above 0"));
            }
        }
        problems.extend(missing_file(&key("ca_file"), &self.ca_file));
        problems
    }
}

fn missing_file(key: &str, path: &str) -> Option<Problem> {
    let missing = !path.is_empty() && !Path::new(path).is_file();
    missing.then(|| Problem::new(key, format!("names {path}, which is not a file")))
}
