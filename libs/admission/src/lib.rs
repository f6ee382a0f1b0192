//! The two signed tokens of a waiting room, the one that a shop signs for a buyer, and the keys
//! behind them.
//!
//! A *ticket* is a place in a room, an *admission* the permission to check out. Both are JWTs
//! signed with Ed25519 (RFC 8037), told apart by their `typ`, so that one is never taken for the
//! other. `aud` is the sale, `sub` the buyer. The issuer holds a [`Signer`]; a service that only
//! verifies holds a [`KeyRing`] of public keys, which can be replaced while it is in use. Tokens of
//! buyers are verified with keys of the shops ([`BuyerKeys`]).

mod buyer;
mod keys;
mod provider;
mod ring;
mod signer;
mod token;

pub use buyer::{BuyerKeys, BuyerKeysError, BuyerTokenError, MAX_BUYER_TOKEN_S, ProvenBuyer};
pub use keys::KeysError;
pub use ring::{KeyRing, TicketInvalid, Verdict};
pub use signer::Signer;
pub use token::{Admission, MAX_TOKEN_BYTES, Ticket, admission_id};
