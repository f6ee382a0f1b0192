//! What the connections to Redis, NATS, Postgres and the mail relay have in common: URLs that may
//! hold a password, TLS with an authority and a client certificate of one's own, and what may
//! travel in plaintext.
//!
//! No message from here quotes anything of a URL: where a password holds a character that has to be
//! percent-encoded, a part of it ends up where the host, the port or a parameter should be.

mod address;
mod outage;
pub mod pem;
mod tls;

pub use address::{is_loopback, read_url};
pub use outage::Outage;
pub use tls::{Tls, TlsError, plaintext};
pub use url::Url;
