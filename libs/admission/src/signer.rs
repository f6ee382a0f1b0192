//! Signing tokens, and the private keys.

use std::fmt;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::{
    KeyRing, KeysError,
    keys::{Key, KeySet},
    token::{ADMISSION_TYP, Admission, AdmissionClaims, TICKET_TYP, Ticket, TicketClaims},
};

/// Signs tickets and admissions with the current key of a private key set.
///
/// The set is a JWK set file: the first key with `"use":"sig"` and a private part `d` signs, all of
/// them verify. To rotate, put the new key in front and drop `use` from the old one; remove the old
/// one once all tokens it signed have expired.
pub struct Signer {
    keys: KeySet,
    current: EncodingKey,
    kid: String,
    ring: KeyRing,
}

impl Signer {
    /// Reads a private key set.
    ///
    /// # Errors
    /// [`KeysError`]; [`KeysError::NoSigningKey`] if no key in it can sign.
    pub fn from_jwks(json: &str) -> Result<Self, KeysError> {
        Self::from_keys(KeySet::parse(json)?)
    }

    /// A signer with one new random key.
    ///
    /// # Errors
    /// None in practice: every 32-byte seed is an Ed25519 key.
    pub fn generate() -> Result<Self, KeysError> {
        Self::from_keys(KeySet { keys: vec![Key::generate()?] })
    }

    /// The same signer with a new key in front; the old ones only verify from now on.
    ///
    /// # Errors
    /// As [`Signer::generate`].
    pub fn rotated(&self) -> Result<Self, KeysError> {
        let mut keys = vec![Key::generate()?];
        keys.extend(self.keys.keys.iter().map(Key::retired));
        Self::from_keys(KeySet { keys })
    }

    /// The private JWK set, to be written to the keys file. A secret.
    pub fn to_private_jwks(&self) -> String {
        self.keys.to_json()
    }

    /// The public JWK set, for services that verify.
    pub fn public_jwks(&self) -> String {
        self.keys.public().to_json()
    }

    pub fn ring(&self) -> KeyRing {
        self.ring.clone()
    }

    /// Signs an admission. The same admission gives the same token: Ed25519 signs without
    /// randomness.
    pub fn mint_admission(&self, admission: &Admission) -> String {
        self.sign(ADMISSION_TYP, &AdmissionClaims::from(admission))
    }

    /// Signs a ticket. The same ticket gives the same token.
    pub fn mint_ticket(&self, ticket: &Ticket) -> String {
        self.sign(TICKET_TYP, &TicketClaims::from(ticket))
    }

    fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.kid.clone());
        // `from_keys` has signed with this key, and such claims always serialize. Should it fail
        // all the same, the empty string is a token that is never valid.
        jsonwebtoken::encode(&header, claims, &self.current).unwrap_or_default()
    }

    fn from_keys(keys: KeySet) -> Result<Self, KeysError> {
        let signing = keys.keys.iter().find(|key| key.signs()).ok_or(KeysError::NoSigningKey)?;
        let kid = signing.kid.clone();
        let malformed = || KeysError::Malformed { kid: kid.clone() };
        let current = signing.encoding().ok_or_else(malformed)?;
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &(), &current)
            .map_err(|_| malformed())?;
        let ring = KeyRing::from_set(&keys)?;
        Ok(Self { keys, current, kid, ring })
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}
