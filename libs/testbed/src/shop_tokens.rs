//! What a shop does that signs tokens for its buyers: written with a plain signature, as a shop's
//! own library would, and not with what verifies them.

use std::io;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use flashsale_proto::named_channel::Identity;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tonic::codegen::http::HeaderValue;
use uuid::Uuid;

/// A token of one buyer, to call with as with a key.
#[derive(Debug)]
pub struct BuyerToken(HeaderValue);

impl BuyerToken {
    /// Calls with this token.
    ///
    /// # Errors
    /// If it has a character that no header may have: none that is signed here has.
    pub fn new(token: &str) -> io::Result<Self> {
        HeaderValue::try_from(format!("Bearer {token}")).map(Self).map_err(io::Error::other)
    }
}

impl Identity for BuyerToken {
    fn key(&self, _: &str) -> Option<HeaderValue> {
        Some(self.0.clone())
    }
}

/// A shop's key for the tokens of its buyers.
#[derive(Debug, Clone)]
pub struct ShopTokens {
    key: SigningKey,
    kid: String,
}

impl ShopTokens {
    /// A new key, which is called `kid`.
    pub fn new(kid: &str) -> Self {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        seed[16..].copy_from_slice(Uuid::new_v4().as_bytes());
        Self { key: SigningKey::from_bytes(&seed), kid: kid.to_owned() }
    }

    /// The key that [`Self::secret`] has told.
    ///
    /// # Errors
    /// If it is none.
    pub fn of_secret(kid: &str, secret: &str) -> io::Result<Self> {
        let seed = URL_SAFE_NO_PAD.decode(secret.trim()).map_err(io::Error::other)?;
        let seed = <[u8; 32]>::try_from(seed).map_err(|_| io::Error::other("not 32 bytes"))?;
        Ok(Self { key: SigningKey::from_bytes(&seed), kid: kid.to_owned() })
    }

    /// Its private half.
    pub fn secret(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.to_bytes())
    }

    /// Its public half with the shop's name: a key of `access.buyer_keys_file`.
    pub fn jwk(&self, shop: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x, "shop": shop })
    }

    /// A token for a minute.
    pub fn token(&self, sale_id: &str, buyer_id: &str) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.sign(
            &json!({ "alg": "EdDSA", "typ": "flashsale-buyer+jwt", "kid": self.kid }),
            &json!({ "aud": sale_id, "sub": buyer_id, "iat": now, "exp": now + 60 }),
        )
    }

    /// Any token, signed.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(message.as_bytes()).to_bytes();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
