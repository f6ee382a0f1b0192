//! Bearer keys, and the file that says whose they are; certificates, too.
//!
//! A key is `fsk_` and 256 random bits in base64url. The file holds the SHA-256 of it alone: who
//! reads the file cannot call. With 256 bits of entropy there is nothing to guess, so that a plain
//! hash will do where a password would need a slow one, and looking it up in a map tells a caller
//! nothing.
//!
//! ```toml
//! [[key]]
//! name = "web-backend"      # in the audit log
//! role = "shop"             # shop, operator, or service: then `name` says which service
//! sha256 = "…"              # 64 hexadecimal digits
//! sales = ["…"]             # ids of sales; left out, all of them
//! not_after = 2027-06-30T00:00:00Z   # left out, without end
//! ```
//!
//! Who calls with a certificate instead, or through a sidecar that has checked one, is known by the
//! name in it:
//!
//! ```toml
//! [[certificate]]
//! san = "spiffe://cluster.local/ns/shop/sa/web"   # its one URI, or else its one DNS name
//! name = "web-backend"
//! role = "shop"
//! ```
//!
//! with `sales` and `not_after` as above.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    Caller, Kind, Refusal, Sales,
    caller::{MAX_NAME, is_caller_name},
    identity,
};

/// What every key begins with, so that scanners for leaked secrets find it.
pub const PREFIX: &str = "fsk_";

/// Keys of one name: the one in use and the one that replaces it. Likewise certificates' names.
pub const MAX_OF_ONE_NAME: usize = 2;

/// The characters behind the prefix.
const ENCODED_LEN: usize = 43;
type Hash = [u8; 32];

/// A key, as its caller has it. Its text is shown by [`Key::expose`] alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not `fsk_` and 43 characters of base64url")]
pub struct KeyError;

impl Key {
    /// A new key.
    pub fn generate() -> Self {
        let bits: [u8; 32] = rand::random();
        Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits)))
    }

    /// The key that a file or a header holds. Space around it is passed over.
    ///
    /// # Errors
    /// If it is not one.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(KeyError)?;
        if encoded.len() != ENCODED_LEN || URL_SAFE_NO_PAD.decode(encoded).is_err() {
            return Err(KeyError);
        }
        Ok(Self(text.to_owned()))
    }

    /// The secret text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What a file of keys has of it, in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&hash(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(fsk_…)")
    }
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(hash: &Hash) -> String {
    use fmt::Write as _;
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// What is wrong with a file of keys. It never holds more of the file than names and numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It is not TOML, or has other fields.
    #[error(
        "line {line} cannot be read: a file of keys has entries [[key]] with name, role, sha256, and \
         [[certificate]] with name, role, san, both with sales and not_after if need be"
    )]
    Unreadable {
        /// Counted from 1.
        line: usize,
    },
    /// One entry is wrong.
    #[error("{entry} {number} ({name}): {field} {problem}")]
    Entry {
        /// What it is: `key` or `certificate`.
        entry: &'static str,
        /// Counted from 1, among those of its kind.
        number: usize,
        /// Its name.
        name: String,
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Entry>,
    #[serde(default)]
    certificate: Vec<Entry>,
}

/// An entry of either kind, which has one of `sha256` and `san`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: String,
    sha256: Option<String>,
    san: Option<String>,
    sales: Option<Vec<String>>,
    not_after: Option<toml::value::Datetime>,
}

#[derive(Debug, Clone)]
struct Known {
    caller: Arc<Caller>,
    not_after: Option<OffsetDateTime>,
}

/// A field that is wrong, and what would be right.
type Wrong = (&'static str, String);

/// The keys and the certificates' names that are known. Made of the text of a file.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    by_hash: HashMap<Hash, Known>,
    by_san: HashMap<String, Known>,
}

impl Keys {
    /// Reads the text of a file of keys.
    ///
    /// # Errors
    /// With the first thing that is wrong; the file is taken whole or not at all.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let file: File = toml::from_str(text).map_err(|error| {
            // Without the parser's own words: they quote what it found, which may be a key.
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            KeyFileError::Unreadable { line }
        })?;
        let mut keys = Self::default();
        let mut named = Named::default();
        for (at, entry) in file.key.into_iter().enumerate() {
            let wrong = wrong_in("key", at, &entry.name);
            if entry.san.is_some() {
                return Err(wrong(("san", "belongs to a [[certificate]]".to_owned())));
            }
            let hash = entry.sha256.as_deref().and_then(from_hex);
            let hash =
                hash.ok_or_else(|| wrong(("sha256", "must be 64 hexadecimal digits".to_owned())))?;
            let known = entry.known().and_then(|known| named.add("keys", known)).map_err(&wrong)?;
            if keys.by_hash.insert(hash, known).is_some() {
                return Err(wrong(("sha256", "stands there twice".to_owned())));
            }
        }
        for (at, mut entry) in file.certificate.into_iter().enumerate() {
            let wrong = wrong_in("certificate", at, &entry.name);
            if entry.sha256.is_some() {
                return Err(wrong(("sha256", "belongs to a [[key]]".to_owned())));
            }
            let san = entry.san.take().filter(|san| identity::is_name(san)).ok_or_else(|| {
                let problem = "must be a SPIFFE id such as spiffe://cluster.local/ns/shop/sa/web, \
                               or a DNS name in lower case without a wildcard";
                wrong(("san", problem.to_owned()))
            })?;
            let known = entry.known().and_then(|known| named.add("certificates", known));
            if keys.by_san.insert(san, known.map_err(&wrong)?).is_some() {
                return Err(wrong(("san", "stands there twice".to_owned())));
            }
        }
        Ok(keys)
    }

    /// Whose key this is at the moment `now`.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if it is no one's, or no longer.
    pub fn caller(&self, key: &str, now: OffsetDateTime) -> Result<Arc<Caller>, Refusal> {
        if !key.starts_with(PREFIX) {
            return Err(Refusal::Unknown("what was sent is not a key of ours"));
        }
        let known = self.by_hash.get(&hash(key)).ok_or(Refusal::Unknown("the key is unknown"))?;
        known.at(now).ok_or(Refusal::Unknown("the key has expired"))
    }

    /// Who has a certificate with this name at the moment `now`.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if it is no one's, or no longer.
    pub fn with_certificate(&self, san: &str, now: OffsetDateTime) -> Result<Arc<Caller>, Refusal> {
        let unknown = Refusal::Unknown("the certificate's name is unknown");
        let known = self.by_san.get(san).ok_or(unknown)?;
        known.at(now).ok_or(Refusal::Unknown("the certificate's name has expired"))
    }

    /// The callers that are known, one for each key and each certificate's name, with when that
    /// ends. The name is `None` for a key.
    pub fn callers(&self) -> impl Iterator<Item = (&Caller, Option<OffsetDateTime>, Option<&str>)> {
        let keys = self.by_hash.values().map(|known| (known, None));
        let certificates = self.by_san.iter().map(|(san, known)| (known, Some(san.as_str())));
        keys.chain(certificates).map(|(known, san)| (&*known.caller, known.not_after, san))
    }

    /// Whether no caller is known.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty() && self.by_san.is_empty()
    }
}

/// Makes the error about a field of an entry.
fn wrong_in(entry: &'static str, at: usize, name: &str) -> impl Fn(Wrong) -> KeyFileError + use<> {
    let name = shown(name);
    move |(field, problem)| KeyFileError::Entry {
        entry,
        number: at + 1,
        name: name.clone(),
        field,
        problem,
    }
}

/// The callers of a file by name: those of one name are the same, and there are few of each kind.
#[derive(Default)]
struct Named(BTreeMap<String, (Arc<Caller>, BTreeMap<&'static str, usize>)>);

impl Named {
    fn add(&mut self, of: &'static str, known: Known) -> Result<Known, Wrong> {
        let (first, counts) = self
            .0
            .entry(known.caller.name.clone())
            .or_insert_with(|| (Arc::clone(&known.caller), BTreeMap::new()));
        let count = counts.entry(of).or_default();
        if *count == MAX_OF_ONE_NAME {
            return Err(("name", format!("has more than {MAX_OF_ONE_NAME} {of}")));
        }
        if **first != *known.caller {
            let problem = "has an entry with another role or other sales: those of one name replace \
                           each other";
            return Err(("name", problem.to_owned()));
        }
        *count += 1;
        Ok(Known { caller: Arc::clone(first), ..known })
    }
}

impl Known {
    /// The caller, if this is at the moment `now` still whose it is.
    fn at(&self, now: OffsetDateTime) -> Option<Arc<Caller>> {
        let ended = self.not_after.is_some_and(|not_after| now > not_after);
        (!ended).then(|| Arc::clone(&self.caller))
    }
}

/// A name for a message. One that is a key in the wrong place is not shown.
fn shown(name: &str) -> String {
    if name.contains(PREFIX) {
        return "a key where its name belongs".to_owned();
    }
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect()
}

impl Entry {
    fn known(self) -> Result<Known, Wrong> {
        if !is_caller_name(&self.name) {
            return Err(("name", format!("must be 1 to {MAX_NAME} letters without spaces")));
        }
        let kind = match self.role.as_str() {
            "shop" => Kind::Shop,
            "operator" => Kind::Operator,
            "service" => Kind::Service,
            _ => return Err(("role", "must be shop, operator or service".to_owned())),
        };
        let sales = match self.sales {
            None => Sales::All,
            Some(_) if kind == Kind::Service => {
                return Err(("sales", "must be left out: services serve every sale".to_owned()));
            }
            Some(ids) => {
                let ids: Option<BTreeSet<Uuid>> =
                    ids.iter().map(|id| Uuid::parse_str(id).ok()).collect();
                match ids {
                    Some(ids) if !ids.is_empty() => Sales::Only(ids),
                    _ => return Err(("sales", "must be ids of sales, at least one".to_owned())),
                }
            }
        };
        let not_after = self
            .not_after
            .map(|at| {
                OffsetDateTime::parse(
                    &at.to_string(),
                    &time::format_description::well_known::Rfc3339,
                )
                .map_err(|_| {
                    ("not_after", "must be a time such as 2027-06-30T00:00:00Z".to_owned())
                })
            })
            .transpose()?;
        let caller = Caller { name: self.name, kind, sales, buyer: None };
        Ok(Known { caller: Arc::new(caller), not_after })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::Duration;

    use super::*;

    const SALE: &str = "6f1c9a52-31c1-4a2b-9a0e-7f0d4f4f9a11";

    fn entry(name: &str, role: &str, key: &Key, more: &str) -> String {
        format!(
            "[[key]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{}\"\n{more}\n",
            key.sha256()
        )
    }

    #[test]
    fn a_key_is_known_by_its_hash_until_it_ends() {
        let (key, stranger) = (Key::generate(), Key::generate());
        let more = format!("sales = [\"{SALE}\"]\nnot_after = 2027-06-30T00:00:00Z");
        let keys = Keys::parse(&entry("web", "shop", &key, &more)).unwrap();
        let end = time::macros::datetime!(2027-06-30 0:00 UTC);
        let caller = keys.caller(key.expose(), end).unwrap();
        assert_eq!((caller.name.as_str(), caller.kind), ("web", Kind::Shop));
        assert!(caller.reaches(Uuid::parse_str(SALE).unwrap()));
        assert!(!caller.reaches(Uuid::nil()));
        for (sent, at, words) in [
            (key.expose(), end + Duration::SECOND, "expired"),
            (stranger.expose(), end, "unknown"),
            (&key.sha256(), end, "not a key"),
            ("", end, "not a key"),
        ] {
            let Err(Refusal::Unknown(why)) = keys.caller(sent, at) else { panic!("{words}") };
            assert!(why.contains(words), "{why}");
        }
    }

    #[test]
    fn two_keys_of_one_name_rotate() {
        let [old, new, third] = [(); 3].map(|()| Key::generate());
        let text = entry("web", "shop", &old, "") + &entry("web", "shop", &new, "");
        let keys = Keys::parse(&text).unwrap();
        let now = OffsetDateTime::UNIX_EPOCH;
        assert_eq!(keys.caller(old.expose(), now), keys.caller(new.expose(), now));
        let error = Keys::parse(&(text.clone() + &entry("web", "shop", &third, ""))).unwrap_err();
        assert!(error.to_string().contains("more than 2"), "{error}");
        let error =
            Keys::parse(&(entry("web", "shop", &old, "") + &entry("web", "operator", &new, "")))
                .unwrap_err();
        assert!(error.to_string().contains("another role"), "{error}");
    }

    #[test]
    fn a_certificate_is_known_by_its_name_until_it_ends() {
        const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";
        let key = Key::generate();
        let certificate = |name: &str, san: &str, more: &str| {
            format!(
                "[[certificate]]\nname = \"{name}\"\nrole = \"shop\"\nsan = \"{san}\"\n{more}\n"
            )
        };
        let more = format!("sales = [\"{SALE}\"]\nnot_after = 2027-06-30T00:00:00Z");
        let with_key = entry("web", "shop", &key, &format!("sales = [\"{SALE}\"]"));
        let keys = Keys::parse(&(certificate("web", WEB, &more) + &with_key)).unwrap();
        let end = time::macros::datetime!(2027-06-30 0:00 UTC);
        // It is the same caller as the one with the key of that name.
        assert_eq!(keys.with_certificate(WEB, end), keys.caller(key.expose(), end));
        assert_eq!(keys.callers().count(), 2);
        for (san, at, words) in [
            (WEB, end + Duration::SECOND, "expired"),
            ("web.shop.example.com", end, "unknown"),
            (key.expose(), end, "unknown"),
        ] {
            let Err(Refusal::Unknown(why)) = keys.with_certificate(san, at) else {
                panic!("{words}")
            };
            assert!(why.contains(words), "{why}");
        }
        for (text, words) in [
            (certificate("a", WEB, "") + &certificate("b", WEB, ""), "twice"),
            (["a", "b", "c"].map(|san| certificate("web", san, "")).concat(), "more than 2"),
        ] {
            let error = Keys::parse(&text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_broken_file_is_refused_by_field_without_its_secrets() {
        let key = Key::generate();
        let good = entry("web", "shop", &key, "");
        for (text, field) in [
            (good.replace("shop", "root"), "role"),
            (good.replace("\"web\"", "\"\""), "name"),
            (good.replace("\"web\"", "\"we b\""), "name"),
            (good.replace(&key.sha256(), key.expose()), "sha256"),
            (good.replace(&key.sha256(), &"é".repeat(32)), "sha256"),
            (good.clone() + "sales = []", "sales"),
            (good.clone() + "sales = [\"all\"]", "sales"),
            (good.clone() + "not_after = 2027-06-30", "not_after"),
            (good.clone() + "not_after = \"soon\"", "line 6"),
            (good.clone() + "colour = 1", "line "),
            (format!("key = \"{}\"", key.expose()), "line 1"),
            (good.clone() + &format!("sales = \"{}\"", key.expose()), "line "),
            (good.replace("\"web\"", &format!("\"{} \"", key.expose())), "name"),
            (good.replace("shop", "service") + &format!("sales = [\"{SALE}\"]"), "sales"),
            (good.clone() + &good.replace("web", "other"), "sha256"),
            (
                good.clone() + "[[certificate]]\nname = \"x\"\nrole = \"shop\"\nsan = \"*.a.b\"",
                "san",
            ),
            (
                good.clone()
                    + "[[certificate]]\nname = \"web\"\nrole = \"operator\"\nsan = \"a.b\"",
                "name",
            ),
            (good.clone() + "[[certificate]]\nname = \"x\"\nrole = \"shop\"", "san"),
            (good.clone() + "san = \"a.b\"", "san belongs"),
            (good.replace("sha256 = ", "san = "), "san belongs"),
            (good.replace("[[key]]", "[[certificate]]"), "sha256 belongs"),
            ("[[key]]\nname = \"web\"\nrole = \"shop\"".to_owned(), "sha256"),
            ("key = 7".to_owned(), "line 1"),
            (format!("{} = 1", key.expose()), "line 1"),
            ("[[key]".to_owned(), "line 1"),
        ] {
            let error = Keys::parse(&text).unwrap_err().to_string();
            assert!(error.contains(field), "{error} lacks {field}");
            assert!(!error.contains(&key.sha256()) && !error.contains(key.expose()), "{error}");
        }
        assert!(Keys::parse("").unwrap().is_empty());
    }

    #[test]
    fn keys_have_256_bits_and_hide_themselves() {
        let (one, other) = (Key::generate(), Key::generate());
        assert_ne!(one, other);
        assert_eq!(Key::parse(&format!(" {}\n", one.expose())).unwrap(), one);
        assert!(!format!("{one:?}").contains(&one.expose()[4..]));
        for wrong in ["", "fsk_", "fsk_short", &one.expose()[4..], &format!("{}x", one.expose())] {
            assert!(Key::parse(wrong).is_err(), "{wrong}");
        }
    }
}
