//! The tokens and their claims.

use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use uuid::Uuid;

/// Longer tokens are refused before anything in them is read.
pub const MAX_TOKEN_BYTES: usize = 2_048;

pub(crate) const ADMISSION_TYP: &str = "admission+jwt";
pub(crate) const TICKET_TYP: &str = "ticket+jwt";
pub(crate) const BUYER_TYP: &str = "flashsale-buyer+jwt";

/// The permission to check out in one sale, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub sale_id: Uuid,
    /// The buyer as the shop knows them.
    pub buyer_id: String,
    /// The number of the ticket that was admitted.
    pub number: i64,
    /// How many places the buyer had in this room before this one.
    pub generation: u32,
    /// In milliseconds since 1970. Tokens carry whole seconds: the fraction is cut off.
    pub expires_at_ms: i64,
    /// How many times it may be spent.
    pub quota: u32,
}

impl Admission {
    /// The id under which it is spent (`jti`).
    pub fn id(&self) -> String {
        admission_id(self.sale_id, self.number, self.generation)
    }
}

/// A place in the room of one sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    pub sale_id: Uuid,
    /// The buyer as the shop knows them.
    pub buyer_id: String,
    /// The place; lower is earlier.
    pub number: i64,
    /// How many places the buyer had in this room before this one.
    pub generation: u32,
}

/// The id of the admission of a place: lower-case hexadecimal SHA-1 of
/// `<sale>:<number>:<generation>`, which scripts in Redis can compute too. It is a name, not a
/// secret: an admission is valid by its signature.
pub fn admission_id(sale_id: Uuid, number: i64, generation: u32) -> String {
    let digest = Sha1::digest(format!("{}:{number}:{generation}", sale_id.as_hyphenated()));
    format!("{digest:x}")
}

#[derive(Serialize, Deserialize)]
pub(crate) struct AdmissionClaims {
    pub(crate) aud: Uuid,
    pub(crate) sub: String,
    pub(crate) exp: i64,
    pub(crate) jti: String,
    pub(crate) number: i64,
    pub(crate) generation: u32,
    pub(crate) quota: u32,
}

impl From<&Admission> for AdmissionClaims {
    fn from(admission: &Admission) -> Self {
        Self {
            aud: admission.sale_id,
            sub: admission.buyer_id.clone(),
            exp: admission.expires_at_ms.div_euclid(1_000),
            jti: admission.id(),
            number: admission.number,
            generation: admission.generation,
            quota: admission.quota,
        }
    }
}

impl AdmissionClaims {
    /// The admission, if `jti` is its id.
    pub(crate) fn into_admission(self) -> Option<Admission> {
        let admission = Admission {
            sale_id: self.aud,
            buyer_id: self.sub,
            number: self.number,
            generation: self.generation,
            expires_at_ms: self.exp.checked_mul(1_000)?,
            quota: self.quota,
        };
        (admission.id() == self.jti).then_some(admission)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TicketClaims {
    pub(crate) aud: Uuid,
    pub(crate) sub: String,
    pub(crate) number: i64,
    pub(crate) generation: u32,
}

impl From<&Ticket> for TicketClaims {
    fn from(ticket: &Ticket) -> Self {
        Self {
            aud: ticket.sale_id,
            sub: ticket.buyer_id.clone(),
            number: ticket.number,
            generation: ticket.generation,
        }
    }
}

impl From<TicketClaims> for Ticket {
    fn from(claims: TicketClaims) -> Self {
        Self {
            sale_id: claims.aud,
            buyer_id: claims.sub,
            number: claims.number,
            generation: claims.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn admission_id_matches_redis_sha1hex() {
        // redis-cli EVAL "return redis.sha1hex('0195c1d2-0000-7000-8000-000000000001:42:3')" 0
        let sale = "0195C1D2-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(admission_id(sale, 42, 3), "6424bc56a63133fb1b1b1781e6df277411e1e136");
    }
}
