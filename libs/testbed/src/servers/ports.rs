//! Free ports of 127.0.0.1.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

use super::process::lock;

/// Below this, well-known servers of the machine's owner are likely.
const LOWEST: u16 = 16_000;
/// How many ports are tried before giving up.
const TRIES: u32 = 200;

/// A port of 127.0.0.1 that no process listens on, and that this process has not handed out before.
///
/// Another process may take it before the caller binds it: try again with another one then. It is
/// chosen *below* the range from which the system gives outgoing connections their ports, so that a
/// server that is down for a moment does not find its port taken by another connection when it
/// comes back.
///
/// # Errors
/// If no free port is found.
pub fn free_port() -> io::Result<u16> {
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

    let mut taken = lock(&TAKEN);
    let taken = taken.get_or_insert_default();
    let span = u64::from(lowest_outgoing_port().saturating_sub(LOWEST));
    for _ in 0..TRIES {
        // Where the system leaves no room below its own range, any port it gives has to do.
        let wanted = match random().checked_rem(span) {
            Some(offset) => LOWEST + u16::try_from(offset).unwrap_or_default(),
            None => 0,
        };
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted)) else {
            continue;
        };
        let port = listener.local_addr()?.port();
        if taken.insert(port) {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no free port on 127.0.0.1"))
}

fn lowest_outgoing_port() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}

/// The standard library seeds each of these from the system.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn no_port_is_handed_out_twice_and_each_can_be_bound() {
        let ports: HashSet<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 100);
        for port in ports {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }
}
