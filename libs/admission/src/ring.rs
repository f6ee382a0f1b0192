//! Verifying tokens with public keys.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, LazyLock},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, VerifyingKey, verify_batch};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, dangerous::insecure_decode};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    KeysError,
    keys::KeySet,
    token::{
        ADMISSION_TYP, Admission, AdmissionClaims, MAX_TOKEN_BYTES, TICKET_TYP, Ticket,
        TicketClaims,
    },
};

/// What the JWT library checks of an admission, and of a ticket, besides its signature.
static ADMISSION: LazyLock<Validation> = LazyLock::new(|| requiring(&["aud", "sub", "exp"]));
static TICKET: LazyLock<Validation> = LazyLock::new(|| requiring(&["aud", "sub"]));

fn requiring(claims: &[&str]) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims =
        claims.iter().map(|claim| (*claim).to_owned()).collect::<HashSet<_>>();
    // Sale, buyer and expiry are judged in `judge`, each with its own verdict and against the time
    // that the caller passes.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    /// Malformed, of another type, or not signed by a key of the ring.
    #[error("not an admission signed by a known key")]
    Invalid,
    /// Issued for another sale or buyer.
    #[error("an admission of another sale or buyer")]
    Foreign,
    #[error("the admission has run out")]
    Expired,
}

/// Malformed, of another type, or not signed by a key of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket signed by a known key")]
pub struct TicketInvalid;

/// Public keys by `kid`. Clones share their keys: [`KeyRing::replace`] on one acts on all of them.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: Arc<ArcSwap<HashMap<String, Key>>>,
}

/// A public key in the two forms needed: for the JWT library, which verifies one token at a time,
/// and for batch verification.
#[derive(Clone)]
struct Key {
    single: DecodingKey,
    batch: VerifyingKey,
}

/// A well-formed admission whose signature has not been verified yet.
struct Unchecked<'a> {
    admission: Admission,
    message: &'a [u8],
    signature: Signature,
    key: VerifyingKey,
}

impl KeyRing {
    /// A ring without keys: every token is invalid until [`KeyRing::replace`].
    pub fn empty() -> Self {
        Self::default()
    }

    /// Reads a public key set.
    ///
    /// # Errors
    /// [`KeysError`] for a malformed set and for a key that is not Ed25519.
    pub fn from_jwks(json: &str) -> Result<Self, KeysError> {
        Self::from_set(&KeySet::parse(json)?)
    }

    pub(crate) fn from_set(set: &KeySet) -> Result<Self, KeysError> {
        Ok(Self { keys: Arc::new(ArcSwap::from_pointee(read(set)?)) })
    }

    /// Replaces the keys by those of another set; tokens signed by keys that are gone become
    /// invalid.
    ///
    /// # Errors
    /// [`KeysError`] as from [`KeyRing::from_jwks`]; the old keys stay.
    pub fn replace(&self, json: &str) -> Result<(), KeysError> {
        self.keys.store(Arc::new(read(&KeySet::parse(json)?)?));
        Ok(())
    }

    /// The `kid` a token names, if the ring does not have it: the ring may be older than the token.
    pub fn unknown_key(&self, token: &str) -> Option<String> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        (!self.keys.load().contains_key(&kid)).then_some(kid)
    }

    /// Verifies an admission for a sale and buyer at `now_ms` (milliseconds since 1970), with
    /// `leeway_ms` for clocks that disagree. It does not say whether the admission has been spent.
    ///
    /// # Errors
    /// [`Verdict`]: `Invalid` before `Foreign` before `Expired`.
    pub fn verify_admission(
        &self,
        token: &str,
        sale_id: Uuid,
        buyer_id: &str,
        now_ms: i64,
        leeway_ms: i64,
    ) -> Result<Admission, Verdict> {
        let admission = self.read_admission(token)?;
        judge(admission, sale_id, buyer_id, now_ms, leeway_ms)
    }

    /// [`KeyRing::verify_admission`] for a batch of (token, sale, buyer), in order. Verifying
    /// signatures as a batch costs half as much per token. If the batch as a whole does not verify,
    /// each token is verified on its own, so that a bad one never spoils the others.
    pub fn verify_admissions(
        &self,
        requests: &[(&str, Uuid, &str)],
        now_ms: i64,
        leeway_ms: i64,
    ) -> Vec<Result<Admission, Verdict>> {
        self.read_batch(requests).map_or_else(
            || {
                let alone = |(token, sale_id, buyer_id): &(&str, Uuid, &str)| {
                    self.verify_admission(token, *sale_id, buyer_id, now_ms, leeway_ms)
                };
                requests.iter().map(alone).collect()
            },
            |admissions| {
                let judged = |(admission, (_, sale_id, buyer_id)): (_, &(&str, Uuid, &str))| {
                    judge(admission, *sale_id, buyer_id, now_ms, leeway_ms)
                };
                admissions.into_iter().zip(requests).map(judged).collect()
            },
        )
    }

    /// The admissions in these tokens, if there are at least two and all signatures verify.
    fn read_batch(&self, requests: &[(&str, Uuid, &str)]) -> Option<Vec<Admission>> {
        if requests.len() < 2 {
            return None;
        }
        let unchecked: Vec<_> =
            requests.iter().map(|(token, ..)| self.unchecked(token)).collect::<Option<_>>()?;
        let messages: Vec<_> = unchecked.iter().map(|token| token.message).collect();
        let signatures: Vec<_> = unchecked.iter().map(|token| token.signature).collect();
        let keys: Vec<_> = unchecked.iter().map(|token| token.key).collect();
        verify_batch(&messages, &signatures, &keys).ok()?;
        Some(unchecked.into_iter().map(|token| token.admission).collect())
    }

    /// Reads an admission that names a known key, without verifying its signature.
    fn unchecked<'a>(&self, token: &'a str) -> Option<Unchecked<'a>> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let read = insecure_decode::<AdmissionClaims>(token).ok()?;
        if read.header.alg != Algorithm::EdDSA || read.header.typ.as_deref() != Some(ADMISSION_TYP)
        {
            return None;
        }
        let key = self.keys.load().get(&read.header.kid?)?.batch;
        let (message, signature) = token.rsplit_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        Some(Unchecked {
            admission: read.claims.into_admission()?,
            message: message.as_bytes(),
            signature: Signature::from_slice(&signature).ok()?,
            key,
        })
    }

    /// Reads an admission with a valid signature, whatever its sale, buyer and expiry.
    ///
    /// # Errors
    /// Only [`Verdict::Invalid`].
    pub fn read_admission(&self, token: &str) -> Result<Admission, Verdict> {
        self.read::<AdmissionClaims>(token, ADMISSION_TYP, &ADMISSION)
            .and_then(AdmissionClaims::into_admission)
            .ok_or(Verdict::Invalid)
    }

    /// Reads a ticket with a valid signature.
    ///
    /// # Errors
    /// [`TicketInvalid`] for a malformed token, another `typ`, an unknown key and a bad signature.
    pub fn verify_ticket(&self, token: &str) -> Result<Ticket, TicketInvalid> {
        self.read::<TicketClaims>(token, TICKET_TYP, &TICKET).map(Ticket::from).ok_or(TicketInvalid)
    }

    fn read<T: DeserializeOwned>(
        &self,
        token: &str,
        typ: &str,
        validation: &Validation,
    ) -> Option<T> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let header = jsonwebtoken::decode_header(token).ok()?;
        if header.typ.as_deref() != Some(typ) {
            return None;
        }
        let keys = self.keys.load();
        let key = &keys.get(&header.kid?)?.single;
        jsonwebtoken::decode::<T>(token, key, validation).ok().map(|data| data.claims)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.keys.load().keys()).finish()
    }
}

fn judge(
    admission: Admission,
    sale_id: Uuid,
    buyer_id: &str,
    now_ms: i64,
    leeway_ms: i64,
) -> Result<Admission, Verdict> {
    if admission.sale_id != sale_id || admission.buyer_id != buyer_id {
        return Err(Verdict::Foreign);
    }
    if now_ms >= admission.expires_at_ms.saturating_add(leeway_ms) {
        return Err(Verdict::Expired);
    }
    Ok(admission)
}

fn read(set: &KeySet) -> Result<HashMap<String, Key>, KeysError> {
    let keys = set.keys.iter().map(|key| {
        let both = Key { single: key.decoding()?, batch: key.verifying()? };
        Ok((key.kid.clone(), both))
    });
    keys.collect()
}
