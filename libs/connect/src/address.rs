//! Reading URLs without repeating them.

use std::net::IpAddr;

use url::Url;

/// Reads a URL.
///
/// # Errors
/// What is wrong with it, behind the name of its key: `cannot be read: invalid port number`.
/// Nothing of the URL is in the text.
pub fn read_url(text: &str) -> Result<Url, String> {
    let after_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len());
    if after_scheme[authority..].contains('@') {
        return Err("has an @ behind its host: in a user, a password or a parameter / ? # @ are \
                    written %2F %3F %23 %40"
            .to_owned());
    }
    Url::parse(text).map_err(|error| format!("cannot be read: {error}"))
}

/// Whether a host, as a URL has it, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine_alone() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["0.0.0.0", "10.0.0.1", "::", "localhost.example", "127.0.0.1.example", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn odd_urls_are_refused_without_a_quote() {
        for (url, why) in [
            ("redis://:hunter2/x@host:6379", "has an @ behind its host"),
            ("postgres://user:12?hunter2@host/db", "has an @ behind its host"),
            ("nats://user:12#hunter2@host", "has an @ behind its host"),
            ("postgres://user:hunter2@", "cannot be read"),
            ("postgres://user:hunter2@/db", "cannot be read"),
            ("redis://user:hunter2@host:port", "invalid port number"),
            ("redis://user:hunter2@[host", "cannot be read"),
            ("hunter2", "cannot be read"),
        ] {
            let said = read_url(url).err().unwrap_or_default();
            assert!(said.contains(why) && !said.contains("hunter2"), "{url}: {said}");
        }
        for url in [
            "redis://:p%2F%40ss@host:6379",
            "postgres://user:a:b@host/db?sslmode=verify-full",
            "nats://u:p@ss@host",
        ] {
            assert!(read_url(url).is_ok(), "{url}");
        }
    }
}
