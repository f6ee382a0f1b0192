//! Where Redis is, and how it is reached there.

use flashsale_connect::{Tls, is_loopback, read_url};
use fred::types::config::{Config, Server, ServerConfig, TlsConnector};
use secrecy::ExposeSecret as _;

use crate::RedisConfig;

impl RedisConfig {
    /// What the driver is told.
    ///
    /// # Errors
    /// Why the URL or the files for TLS cannot be used, with nothing of the URL in it.
    pub(crate) fn driver_config(&self) -> Result<Config, String> {
        let mut config = self.read_url().map_err(|problem| format!("redis.url {problem}"))?;
        if config.uses_tls() {
            let client = self.tls().client_config().map_err(|error| error.to_string())?;
            config.tls = Some(TlsConnector::from(client).into());
        }
        Ok(config)
    }

    /// What is wrong with the keys that say where Redis is and how it is reached.
    pub(crate) fn connection_problems(&self) -> Vec<(String, String)> {
        let config = match self.read_url() {
            Ok(config) => config,
            Err(problem) => return vec![("redis.url".to_owned(), problem)],
        };
        // Under Sentinels these are the Sentinels; servers are spoken to as they are.
        let hosts: &[Server] = match &config.server {
            ServerConfig::Centralized { server } => std::slice::from_ref(server),
            ServerConfig::Clustered { hosts, .. } | ServerConfig::Sentinel { hosts, .. } => hosts,
        };
        let remote = hosts.iter().any(|server| !is_loopback(&server.host));
        self.tls().problems(
            config.uses_tls(),
            remote,
            "begin it with rediss (rediss://, rediss-sentinel://, rediss-cluster://)",
        )
    }

    fn tls(&self) -> Tls<'_> {
        Tls {
            section: "redis",
            ca_file: &self.ca_file,
            cert_file: &self.cert_file,
            key_file: &self.key_file,
            allow_plaintext: self.allow_plaintext,
        }
    }

    fn read_url(&self) -> Result<Config, String> {
        let text = self.url.expose_secret();
        let scheme = read_url(text)?.scheme().to_owned();
        let family = ["redis", "rediss", "valkey", "valkeys"];
        let name = scheme.trim_end_matches("-cluster").trim_end_matches("-sentinel");
        // The driver takes any scheme for that of one server, and its errors quote the nodes.
        let config = Some(name).filter(|name| family.contains(name));
        config.and_then(|_| Config::from_url(text).ok()).ok_or_else(|| {
            "is not a Redis URL such as redis://host:6379, \
             redis-sentinel://host:26379?sentinelServiceName=name or \
             redis-cluster://host:6379?node=host:6379"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(url: &str) -> Vec<(String, String)> {
        RedisConfig::at(url).problems()
    }

    #[test]
    fn odd_urls_are_refused_without_a_quote() {
        for url in [
            "redis://:a/hunter2@host",
            "redis://:hunter2@host:x",
            "redis://:hunter2@",
            "http://:hunter2@host",
            "redis-cluster://127.0.0.1:1?node=hunter2",
            "redis-sentinel://:hunter2@127.0.0.1:1",
            "redis://127.0.0.1/hunter2",
            "hunter2",
        ] {
            let found = problems(url);
            let [(key, said)] = &found[..] else { panic!("{url}: {found:?}") };
            assert_eq!(key, "redis.url");
            assert!(!said.contains("hunter2"), "{url}: {said}");
        }
    }

    #[test]
    fn other_machines_are_reached_over_tls() {
        for url in [
            "redis://:hunter2@redis.example",
            "valkey://:hunter2@redis.example",
            "redis-cluster://:hunter2@127.0.0.1:1?node=redis.example:1",
            "redis-sentinel://:hunter2@127.0.0.1:1?node=redis.example:1&sentinelServiceName=it",
        ] {
            let found = problems(url);
            let [(key, said)] = &found[..] else { panic!("{url}: {found:?}") };
            assert_eq!(key, "redis.url");
            assert!(said.contains("rediss") && said.contains("redis.allow_plaintext"), "{said}");
            assert!(!said.contains("hunter2") && !said.contains("example"), "{said}");
            let allowed = RedisConfig { allow_plaintext: true, ..RedisConfig::at(url) };
            assert_eq!(allowed.problems(), []);
        }
        for url in [
            "redis://127.0.0.1",
            "redis://localhost:1",
            "redis://[::1]:1",
            "redis-cluster://127.0.0.1:1?node=localhost:1",
            "rediss://:p@redis.example",
            "rediss-cluster://redis.example:1?node=other.example:1",
            "rediss-sentinel://redis.example:1?sentinelServiceName=it",
        ] {
            assert_eq!(problems(url), [], "{url}");
        }
    }
}
