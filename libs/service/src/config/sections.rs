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
    /// A Unix socket at which the sidecar on this machine hands calls on: all of them are served
    /// there. Empty: none.
    pub sidecar_listen: String,
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

    /// Whether no other machine reaches it over gRPC, unless a sidecar hands calls on.
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
    /// The authority of clients' certificates, PEM. Empty: no client is asked for one.
    pub client_ca_file: String,
    /// The JSON Web Key Set of shops that sign tokens for their buyers
    /// ([`flashsale_admission::BuyerKeys`]). Empty: buyers do not call by themselves.
    pub buyer_keys_file: String,
    /// Whose header about a client's certificate is believed.
    pub sidecar: Sidecar,
    /// The secret by which a sidecar shows that it is ours, where it does not come through
    /// `server.sidecar_listen`. Empty: there is none.
    pub sidecar_secret_file: String,
    /// How often these files and the server's certificate are looked at again.
    pub reload_ms: u64,
}

/// Whose header about a client's certificate is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sidecar {
    /// No one's.
    Off,
    /// `x-forwarded-client-cert`, as Envoy and with it Istio write it.
    Envoy,
    /// `l5d-client-id`, as Linkerd writes it.
    Linkerd,
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
            AccessMode::Report | AccessMode::Off
                if !server.is_loopback() || self.sidecar != Sidecar::Off =>
            {
                problems.push(Problem::new(
                    "access.mode",
                    "must be required unless server.grpc_listen and server.internal_listen are loopback addresses and no sidecar hands calls on",
                ));
            }
            AccessMode::Required | AccessMode::Report | AccessMode::Off => {}
        }
        if self.reload_ms == 0 {
            problems.push(Problem::new("access.reload_ms", "must be above 0"));
        }
        if !self.client_ca_file.is_empty() && server.tls_cert_file.is_empty() {
            problems.push(Problem::new(
                "access.client_ca_file",
                "needs server.tls_cert_file: without TLS clients present no certificate",
            ));
        }
        let vouches = !(server.sidecar_listen.is_empty() && self.sidecar_secret_file.is_empty());
        match self.sidecar {
            Sidecar::Off if vouches => problems.push(Problem::new(
                "access.sidecar",
                "must be envoy or linkerd while server.sidecar_listen or access.sidecar_secret_file is set",
            )),
            Sidecar::Envoy | Sidecar::Linkerd if !vouches => problems.push(Problem::new(
                "access.sidecar",
                "needs server.sidecar_listen or access.sidecar_secret_file: any caller can send such a header",
            )),
            Sidecar::Off | Sidecar::Envoy | Sidecar::Linkerd => {}
        }
        for (key, path) in [
            ("access.keys_file", &self.keys_file),
            ("access.client_ca_file", &self.client_ca_file),
            ("access.buyer_keys_file", &self.buyer_keys_file),
            ("access.sidecar_secret_file", &self.sidecar_secret_file),
        ] {
            problems.extend(missing_file(key, path));
        }
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
    /// The certificate chain that this service presents, PEM. `*` as in `key_file`. Empty: none.
    pub tls_cert_file: String,
    /// Its private key, PEM. Empty: none.
    pub tls_key_file: String,
    /// How often these files are looked at again.
    pub reload_ms: u64,
}

impl PeerConfig {
    /// The common defaults, at `url`.
    pub fn at(url: &str) -> Self {
        let peers: HashMap<String, Self> = common("peers", &format!("peers.it.url = '{url}'"));
        peers.into_values().next().unwrap_or_else(|| unreachable!("one is set"))
    }

    /// The file with the key of the service `own`.
    pub fn key_file_of(&self, own: &str) -> Option<PathBuf> {
        of(own, &self.key_file)
    }

    /// The files that TLS needs: the authority's and, with a certificate of the service `own`, that
    /// and its key. Empty without TLS.
    pub fn tls_files_of(&self, own: &str) -> Vec<PathBuf> {
        [&self.ca_file, &self.tls_cert_file, &self.tls_key_file]
            .into_iter()
            .filter_map(|path| of(own, path))
            .collect()
    }

    /// What is wrong with the section `[peers.<name>]`.
    pub fn problems(&self, name: &str) -> Vec<Problem> {
        let key = |key: &str| format!("peers.{name}.{key}");
        let mut problems = Vec::new();
        let url = self.url.parse::<http::Uri>().ok().filter(|url| url.host().is_some());
        match url.as_ref().and_then(http::Uri::scheme_str) {
            Some("http") if self.ca_file.is_empty() => {}
            Some("http") => problems.push(Problem::new(
                key("url"),
                format!("must be an https URL while {} is set", key("ca_file")),
            )),
            Some("https") if !self.ca_file.is_empty() => {}
            Some("https") => {
                problems.push(Problem::new(key("ca_file"), "must be set for an https URL"))
            }
            _ => problems
                .push(Problem::new(key("url"), "must be a URL such as http://inventory:50051")),
        }
        for (name, value) in [
            ("timeout_ms", self.timeout_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("reload_ms", self.reload_ms),
        ] {
            if value == 0 {
                problems.push(Problem::new(key(name), "must be above 0"));
            }
        }
        let given = [&self.tls_cert_file, &self.tls_key_file].map(|path| !path.is_empty());
        if given[0] != given[1] {
            problems.push(Problem::new(
                key("tls_cert_file"),
                format!("must be set together with {}", key("tls_key_file")),
            ));
        } else if given[0] && self.ca_file.is_empty() {
            problems.push(Problem::new(key("tls_cert_file"), "needs an https URL and its ca_file"));
        }
        problems.extend(missing_file(&key("ca_file"), &self.ca_file));
        problems
    }
}

/// The file of the service `own` that `path` names, if it names one.
fn of(own: &str, path: &str) -> Option<PathBuf> {
    (!path.is_empty()).then(|| PathBuf::from(path.replace('*', own)))
}

fn missing_file(key: &str, path: &str) -> Option<Problem> {
    let missing = !path.is_empty() && !Path::new(path).is_file();
    missing.then(|| Problem::new(key, format!("names {path}, which is not a file")))
}
