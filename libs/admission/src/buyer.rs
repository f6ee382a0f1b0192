//! The token that a shop signs for one of its buyers, so that a browser or an app may call by
//! itself. The shop keeps the private key; we have its public keys alone.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::LazyLock,
};

use flashsale_access::is_caller_name;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, de::IgnoredAny};
use uuid::Uuid;

use crate::{
    keys::{KeySet, KeysError},
    token::{BUYER_TYP, MAX_TOKEN_BYTES},
};

/// The longest that a buyer's token may live, in seconds.
pub const MAX_BUYER_TOKEN_S: i64 = 300;
/// How far the clocks of the shop and of this machine may be apart, in seconds.
const LEEWAY_S: i64 = 5;

/// What the JWT library checks besides the signature. The rest is checked here, each with its own
/// words and against the time that the caller passes.
static CLAIMS: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims = HashSet::new();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
});

/// One buyer of one sale, as a shop has signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenBuyer {
    /// The shop whose key has signed it.
    pub shop: String,
    /// The sale (`aud`).
    pub sale_id: Uuid,
    /// The buyer as the shop knows them (`sub`).
    pub buyer_id: String,
}

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum BuyerTokenError {
    /// It is not a JWT with a header of ours.
    Malformed,
    /// Its `typ` is another.
    OtherType,
    /// It names no key of the set.
    UnknownKey,
    /// The signature is wrong, or a claim is missing or of another kind.
    Unproven,
    /// The key is for other sales.
    OtherSale,
    /// It lives longer than it may.
    TooLong,
    /// It begins later than now.
    Early,
    /// It has ended.
    Expired,
}

impl BuyerTokenError {
    /// The words of it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "the buyer's token is malformed, or its algorithm is not EdDSA",
            Self::OtherType => "the token's typ is not flashsale-buyer+jwt",
            Self::UnknownKey => "the buyer's token is signed by an unknown key",
            Self::Unproven => {
                "the buyer's token has a wrong signature, or lacks aud (a sale's id), sub, iat or exp"
            }
            Self::OtherSale => "the buyer's token is for a sale that its key is not for",
            Self::TooLong => "the buyer's token lives for longer than 300 seconds",
            Self::Early => "the buyer's token begins in the future",
            Self::Expired => "the buyer's token has expired",
        }
    }
}

/// Why a set of buyers' keys cannot be used. It never quotes key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuyerKeysError {
    /// It is not a set of Ed25519 keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A key lacks its shop, or has another member that is wrong.
    #[error("key {kid:?}: {problem}")]
    Member {
        /// Its name.
        kid: String,
        /// What is wrong and what would be right.
        problem: &'static str,
    },
}

/// The public keys of shops, by `kid`. A JSON Web Key Set whose keys have two members of our own:
/// `shop`, the name of the shop, and `sales`, the ids of the sales that the key is for; without it,
/// all of them.
pub struct BuyerKeys {
    keys: HashMap<String, ShopKey>,
}

struct ShopKey {
    key: DecodingKey,
    shop: String,
    sales: Option<BTreeSet<Uuid>>,
}

#[derive(Deserialize)]
struct Members {
    keys: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    kid: String,
    shop: Option<String>,
    sales: Option<Vec<Uuid>>,
    d: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    aud: Uuid,
    sub: String,
    iat: i64,
    exp: i64,
    nbf: Option<i64>,
}

impl BuyerKeys {
    /// Reads a set of keys.
    ///
    /// # Errors
    /// With the first key that is wrong; the set is taken whole or not at all.
    pub fn parse(json: &str) -> Result<Self, BuyerKeysError> {
        let set = KeySet::parse(json)?;
        let members: Members = serde_json::from_str(json).map_err(|error| {
            // Without serde_json's own words, as for the keys themselves.
            KeysError::NotAKeySet(format!(
                "line {}, column {}: shop must be a text, and sales ids of sales",
                error.line(),
                error.column()
            ))
        })?;
        let keys = set.keys.iter().zip(members.keys).map(|(key, member)| {
            let Member { kid, shop, sales, d } = member;
            let wrong = |problem| BuyerKeysError::Member { kid: kid.clone(), problem };
            if d.is_some() {
                return Err(wrong("has a private part d: leave it out, the shop alone needs it"));
            }
            let shop = shop.filter(|shop| is_caller_name(shop)).ok_or_else(|| {
                wrong("needs the member shop: its name, 1 to 64 letters without spaces")
            })?;
            if sales.as_ref().is_some_and(Vec::is_empty) {
                return Err(wrong("has no sales: name them, or leave the member out for all"));
            }
            let sales = sales.map(BTreeSet::from_iter);
            // A point that is not on the curve would be found with the first token.
            key.verifying()?;
            let key = ShopKey { key: key.decoding()?, shop, sales };
            Ok((kid, key))
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    /// Reads the token of a buyer, at `now_s` seconds since 1970.
    ///
    /// # Errors
    /// Why it is none.
    pub fn verify(&self, token: &str, now_s: i64) -> Result<ProvenBuyer, BuyerTokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(BuyerTokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| BuyerTokenError::Malformed)?;
        if header.alg != Algorithm::EdDSA {
            return Err(BuyerTokenError::Malformed);
        }
        if header.typ.as_deref() != Some(BUYER_TYP) {
            return Err(BuyerTokenError::OtherType);
        }
        let key = header.kid.and_then(|kid| self.keys.get(&kid));
        let ShopKey { key, shop, sales } = key.ok_or(BuyerTokenError::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &CLAIMS)
            .map_err(|_| BuyerTokenError::Unproven)?
            .claims;
        let Claims { aud: sale_id, sub: buyer_id, iat, exp, nbf } = claims;
        if buyer_id.is_empty() {
            return Err(BuyerTokenError::Unproven);
        }
        if sales.as_ref().is_some_and(|sales| !sales.contains(&sale_id)) {
            return Err(BuyerTokenError::OtherSale);
        }
        if exp.saturating_sub(iat) > MAX_BUYER_TOKEN_S {
            return Err(BuyerTokenError::TooLong);
        }
        if iat.max(nbf.unwrap_or(iat)) > now_s.saturating_add(LEEWAY_S) {
            return Err(BuyerTokenError::Early);
        }
        if now_s >= exp.saturating_add(LEEWAY_S) {
            return Err(BuyerTokenError::Expired);
        }
        Ok(ProvenBuyer { shop: shop.clone(), sale_id, buyer_id })
    }
}

impl std::fmt::Debug for BuyerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuyerKeys").field("keys", &self.keys.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use ed25519_dalek::{Signer as _, SigningKey};
    use serde_json::{Value, json};

    use super::*;

    const SALE: Uuid = Uuid::from_u128(7);
    const NOW: i64 = 1_800_000_000;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn set(more: &Value) -> String {
        let x = BASE64_URL_SAFE_NO_PAD.encode(key().verifying_key().as_bytes());
        let mut key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x, "shop": "web"});
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"keys": [key]}).to_string()
    }

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = key().sign(message.as_bytes()).to_bytes();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn header() -> Value {
        json!({"alg": "EdDSA", "typ": "flashsale-buyer+jwt", "kid": "k1"})
    }

    fn claims() -> Value {
        json!({"aud": SALE, "sub": "ann", "iat": NOW - 10, "exp": NOW + 290})
    }

    fn with(mut value: Value, key: &str, new: Value) -> Value {
        let members = value.as_object_mut().unwrap();
        if new.is_null() {
            members.remove(key);
        } else {
            members.insert(key.to_owned(), new);
        }
        value
    }

    #[test]
    fn a_shop_proves_one_buyer_of_one_sale() {
        let keys = BuyerKeys::parse(&set(&json!({"sales": [SALE]}))).unwrap();
        let ann = ProvenBuyer { shop: "web".to_owned(), sale_id: SALE, buyer_id: "ann".to_owned() };
        assert_eq!(keys.verify(&token(&header(), &claims()), NOW), Ok(ann));
        assert_eq!(keys.verify(&token(&header(), &claims()), NOW + 294).map(|_| ()), Ok(()));
    }

    #[test]
    fn any_other_token_is_none() {
        use BuyerTokenError as E;
        let keys = BuyerKeys::parse(&set(&json!({"sales": [SALE]}))).unwrap();
        let good = token(&header(), &claims());
        let (unsigned, _) = good.rsplit_once('.').unwrap();
        let mut forged = good.clone();
        forged.replace_range(good.len() - 6..good.len() - 5, "_");
        forged.replace_range(good.len() - 5..good.len() - 4, "-");
        let of = |header: Value| token(&header, &claims());
        let saying = |key: &str, new: Value| token(&header(), &with(claims(), key, new));
        for (what, token, error) in [
            ("alg none", of(with(header(), "alg", json!("none"))), E::Malformed),
            (
                "alg none, unsigned",
                format!(
                    "{}.",
                    token(&with(header(), "alg", json!("none")), &claims())
                        .rsplit_once('.')
                        .unwrap()
                        .0
                ),
                E::Malformed,
            ),
            ("alg HS256", of(with(header(), "alg", json!("HS256"))), E::Malformed),
            ("another typ", of(with(header(), "typ", json!("admission+jwt"))), E::OtherType),
            ("no typ", of(with(header(), "typ", Value::Null)), E::OtherType),
            ("another key", of(with(header(), "kid", json!("k2"))), E::UnknownKey),
            ("no key", of(with(header(), "kid", Value::Null)), E::UnknownKey),
            ("forged", forged, E::Unproven),
            ("unsigned", unsigned.to_owned(), E::Malformed),
            ("another sale", saying("aud", json!(Uuid::nil())), E::OtherSale),
            ("aud no sale", saying("aud", json!("flashsale")), E::Unproven),
            ("aud several", saying("aud", json!([SALE])), E::Unproven),
            ("no aud", saying("aud", Value::Null), E::Unproven),
            ("no sub", saying("sub", Value::Null), E::Unproven),
            ("empty sub", saying("sub", json!("")), E::Unproven),
            ("no exp", saying("exp", Value::Null), E::Unproven),
            ("no iat", saying("iat", Value::Null), E::Unproven),
            ("too long", saying("exp", json!(NOW + 291)), E::TooLong),
            ("for ever", saying("exp", json!(i64::MAX)), E::TooLong),
            ("from the beginning", saying("iat", json!(i64::MIN)), E::TooLong),
            (
                "early",
                token(
                    &header(),
                    &with(with(claims(), "iat", json!(NOW + 6)), "exp", json!(NOW + 9)),
                ),
                E::Early,
            ),
            ("not before later", saying("nbf", json!(NOW + 6)), E::Early),
            ("nbf no time", saying("nbf", json!("now")), E::Unproven),
            ("expired", saying("exp", json!(NOW - 5)), E::Expired),
            ("nothing", String::new(), E::Malformed),
            ("too big", "x".repeat(MAX_TOKEN_BYTES + 1), E::Malformed),
        ] {
            assert_eq!(keys.verify(&token, NOW), Err(error), "{what}");
        }
    }

    #[test]
    fn a_set_names_its_shops_and_holds_no_private_part() {
        for (more, words) in [
            (json!({"shop": null}), "shop"),
            (json!({"shop": "we b"}), "shop"),
            (json!({"shop": 7}), "shop"),
            (json!({"sales": []}), "no sales"),
            (json!({"sales": ["all"]}), "sales"),
            (json!({"d": BASE64_URL_SAFE_NO_PAD.encode([7; 32])}), "private part"),
            (json!({"crv": "P-256"}), "Ed25519"),
            (json!({"kid": ""}), "kid"),
        ] {
            let error = BuyerKeys::parse(&set(&more)).unwrap_err().to_string();
            assert!(error.contains(words), "{error} lacks {words}");
            assert!(!error.contains(&BASE64_URL_SAFE_NO_PAD.encode([7; 32])), "{error}");
        }
        assert!(BuyerKeys::parse("{\"keys\":[]}").is_err());
        assert!(BuyerKeys::parse(&set(&json!({}))).is_ok());
    }
}
