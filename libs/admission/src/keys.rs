//! JSON Web Keys (RFC 7517) of the one kind in use: Ed25519 (RFC 8037).

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::VerifyingKey;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey,
    jwk::{AlgorithmParameters, Jwk, ThumbprintHash},
};
use serde::{Deserialize, Serialize};

use crate::provider;

/// The ASN.1 in front of a bare Ed25519 seed that makes it a PKCS #8 document (RFC 8410 §7).
const PKCS8_HEADER: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// Why a key set cannot be used. Never quotes key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Carries the place of the syntax error, not its text.
    #[error("not a JSON Web Key Set ({0}); expected {{\"keys\":[…]}}")]
    NotAKeySet(String),
    #[error("the key set holds no key")]
    Empty,
    #[error("key {kid:?} is no Ed25519 key: kty must be OKP, crv Ed25519 and alg, if given, EdDSA")]
    NotEd25519 { kid: String },
    #[error("key number {position} has no kid")]
    NoKid {
        /// Counted from 1.
        position: usize,
    },
    #[error("two keys are called {kid:?}")]
    RepeatedKid { kid: String },
    #[error(
        "key {kid:?} is malformed: x and d are 32 bytes each in base64url without padding, and x belongs to d"
    )]
    Malformed { kid: String },
    #[error("no key signs: one needs \"use\":\"sig\" and a private part d")]
    NoSigningKey,
}

/// The JSON form of a key set.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeySet {
    pub(crate) keys: Vec<Key>,
}

/// The JSON form of a key; only private sets have `d`. There is no `Debug`, so that `d` is never
/// printed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Key {
    #[serde(default)]
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    key_use: Option<String>,
    #[serde(default)]
    pub(crate) kid: String,
    #[serde(default)]
    x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    d: Option<String>,
}

impl KeySet {
    /// Parses a key set and validates each key.
    pub(crate) fn parse(json: &str) -> Result<Self, KeysError> {
        let set: Self = serde_json::from_str(json).map_err(|error| {
            // serde_json's own text may quote what it read, which here may be a secret.
            KeysError::NotAKeySet(format!("line {}, column {}", error.line(), error.column()))
        })?;
        if set.keys.is_empty() {
            return Err(KeysError::Empty);
        }
        let mut names = HashSet::new();
        for (index, key) in set.keys.iter().enumerate() {
            if key.kid.is_empty() {
                return Err(KeysError::NoKid { position: index + 1 });
            }
            if !names.insert(&key.kid) {
                return Err(KeysError::RepeatedKid { kid: key.kid.clone() });
            }
            key.check()?;
        }
        Ok(set)
    }

    /// The set without private parts.
    pub(crate) fn public(&self) -> Self {
        Self { keys: self.keys.iter().map(Key::public).collect() }
    }

    pub(crate) fn to_json(&self) -> String {
        // Serializing strings to a string cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Key {
    /// A new signing key; its `kid` is its thumbprint (RFC 7638).
    pub(crate) fn generate() -> Result<Self, KeysError> {
        let seed: [u8; 32] = rand::random();
        let malformed = || KeysError::Malformed { kid: "new".to_owned() };
        let jwk = public_of(&seed).ok_or_else(malformed)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| malformed())?;
        let x = x_of(&jwk).ok_or_else(malformed)?;
        Ok(Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            alg: Some("EdDSA".to_owned()),
            key_use: Some("sig".to_owned()),
            kid,
            x,
            d: Some(URL_SAFE_NO_PAD.encode(seed)),
        })
    }

    /// The same key without `use`: it no longer signs and still verifies what it signed before.
    pub(crate) fn retired(&self) -> Self {
        Self { key_use: None, ..self.clone() }
    }

    pub(crate) fn signs(&self) -> bool {
        self.key_use.as_deref() == Some("sig") && self.d.is_some()
    }

    /// The key to sign with; `None` without a private part.
    pub(crate) fn encoding(&self) -> Option<EncodingKey> {
        decode_32(self.d.as_deref()?).map(|seed| encoding_of(&seed))
    }

    /// The key for the JWT library, which verifies one token.
    pub(crate) fn decoding(&self) -> Result<DecodingKey, KeysError> {
        provider::install();
        DecodingKey::from_ed_components(&self.x)
            .map_err(|_| KeysError::Malformed { kid: self.kid.clone() })
    }

    /// The key for verifying a batch of signatures.
    pub(crate) fn verifying(&self) -> Result<VerifyingKey, KeysError> {
        let malformed = || KeysError::Malformed { kid: self.kid.clone() };
        let x = decode_32(&self.x).ok_or_else(malformed)?;
        VerifyingKey::from_bytes(&x).map_err(|_| malformed())
    }

    fn public(&self) -> Self {
        // A public set does not disclose which key signs at present: all of them verify.
        Self {
            alg: Some("EdDSA".to_owned()),
            key_use: Some("sig".to_owned()),
            d: None,
            ..self.clone()
        }
    }

    fn check(&self) -> Result<(), KeysError> {
        let kid = || self.kid.clone();
        if self.kty != "OKP"
            || self.crv != "Ed25519"
            || self.alg.as_deref().is_some_and(|alg| alg != "EdDSA")
        {
            return Err(KeysError::NotEd25519 { kid: kid() });
        }
        let malformed = || KeysError::Malformed { kid: kid() };
        decode_32(&self.x).ok_or_else(malformed)?;
        if let Some(d) = &self.d {
            let seed = decode_32(d).ok_or_else(malformed)?;
            let x = public_of(&seed).as_ref().and_then(x_of).ok_or_else(malformed)?;
            if x != self.x {
                return Err(malformed());
            }
        }
        Ok(())
    }
}

fn decode_32(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn encoding_of(seed: &[u8; 32]) -> EncodingKey {
    provider::install();
    EncodingKey::from_ed_der(&[PKCS8_HEADER.as_slice(), seed.as_slice()].concat())
}

fn public_of(seed: &[u8; 32]) -> Option<Jwk> {
    Jwk::from_encoding_key(&encoding_of(seed), Algorithm::EdDSA).ok()
}

fn x_of(jwk: &Jwk) -> Option<String> {
    if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm {
        Some(pair.x.clone())
    } else {
        None
    }
}
