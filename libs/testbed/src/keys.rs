//! The keys of a platform of ours: for a shop and an operator, for those of another sale, and for
//! each service.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use flashsale_access::{Key, Role, Rule};
use flashsale_proto::{
    NamedChannel,
    access::RULES,
    named_channel::{Identity, bearer},
};
use serde_json::json;
use tonic::{codegen::http::HeaderValue, transport::Channel};
use uuid::{Uuid, uuid};

use crate::shop_tokens::ShopTokens;

/// The services that call others or are called by name.
pub const SERVICES: [&str; 6] =
    ["sale", "inventory", "waiting-room", "checkout", "order-worker", "payment"];
/// The file that says whose keys are known.
const KEYS_FILE: &str = "keys.toml";
/// The file with the public key that the shop signs tokens for its buyers with, and the one with
/// its private half.
const BUYER_KEYS_FILE: &str = "buyer-keys.json";
const TOKENS_FILE: &str = "shop-tokens.secret";
const TOKENS_KID: &str = "shop-tokens";
const SHOP: &str = "shop";
const OTHER_SHOP: &str = "other-shop";
const OTHER_OPERATOR: &str = "other-operator";
const OPERATOR: &str = "operator";

/// The one sale that [`KeyFolder::other_shop`] and [`KeyFolder::other_operator`] are for.
pub const OTHER_SALE: Uuid = uuid!("0d3b1c2e-7a55-4c55-9a33-8f5f1f0c2b77");
/// Everyone who has a key.
fn names() -> impl Iterator<Item = &'static str> {
    [SHOP, OTHER_SHOP, OPERATOR, OTHER_OPERATOR].into_iter().chain(SERVICES)
}

/// A folder of keys, each in a file of its own that its user alone can read, and the file that says
/// whose they are.
#[derive(Debug, Clone)]
pub struct KeyFolder {
    path: PathBuf,
    keys: BTreeMap<&'static str, Key>,
    tokens: ShopTokens,
}

impl KeyFolder {
    /// Makes new keys in the folder `path`, which must not hold any.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let mut keys = BTreeMap::new();
        let mut file = String::new();
        for name in names() {
            let key = Key::generate();
            let role = match name {
                SHOP | OTHER_SHOP => "shop",
                OPERATOR | OTHER_OPERATOR => "operator",
                _ => "service",
            };
            let _ = writeln!(
                file,
                "[[key]]\nname = \"{name}\"\nrole = \"{role}\"\nsha256 = \"{}\"",
                key.sha256()
            );
            if name == OTHER_SHOP || name == OTHER_OPERATOR {
                let _ = writeln!(file, "sales = [\"{OTHER_SALE}\"]");
            }
            write_secret(&path.join(format!("{name}.key")), key.expose())?;
            let header = format!("authorization: Bearer {}\n", key.expose());
            write_secret(&path.join(format!("{name}.header")), &header)?;
            keys.insert(name, key);
        }
        let tokens = ShopTokens::new(TOKENS_KID);
        write_secret(&path.join(TOKENS_FILE), &tokens.secret())?;
        let set = json!({ "keys": [tokens.jwk(SHOP)] }).to_string();
        write_secret(&path.join(BUYER_KEYS_FILE), &set)?;
        write_secret(&path.join(KEYS_FILE), &file)?;
        Ok(Self { path: path.to_owned(), keys, tokens })
    }

    /// The keys in the folder `path`.
    ///
    /// # Errors
    /// If one of them is missing or is none.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut keys = BTreeMap::new();
        for name in names() {
            let text = fs::read_to_string(path.join(format!("{name}.key")))?;
            keys.insert(name, Key::parse(&text).map_err(io::Error::other)?);
        }
        let secret = fs::read_to_string(path.join(TOKENS_FILE))?;
        let tokens = ShopTokens::of_secret(TOKENS_KID, &secret)?;
        fs::metadata(path.join(BUYER_KEYS_FILE))?;
        fs::metadata(path.join(KEYS_FILE))?;
        Ok(Self { path: path.to_owned(), keys, tokens })
    }

    /// The keys in a folder in `parent`, made if there are none. Several processes may ask at once.
    ///
    /// # Errors
    /// If they can neither be read nor written.
    pub fn open_in(parent: &Path) -> io::Result<Self> {
        // Another folder for other names: one that an older version made lacks some.
        let mut known = DefaultHasher::new();
        names().chain([TOKENS_FILE]).for_each(|name| name.hash(&mut known));
        let path = &parent.join(format!("test-keys-{:016x}", known.finish()));
        if let Ok(keys) = Self::read(path) {
            return Ok(keys);
        }
        fs::create_dir_all(parent)?;
        let beside = tempfile::Builder::new().prefix("keys-").tempdir_in(parent)?;
        let made = Self::create(beside.path())?;
        match fs::rename(beside.path(), path) {
            Ok(()) => {
                let _ = beside.keep();
                Ok(Self { path: path.to_owned(), ..made })
            }
            // Another process was faster.
            Err(_) => Self::read(path),
        }
    }

    /// The file that says whose the keys are: `access.keys_file`.
    pub fn keys_file(&self) -> PathBuf {
        self.path.join(KEYS_FILE)
    }

    /// The file with the key that the shop signs its buyers' tokens with: `access.buyer_keys_file`.
    pub fn buyer_keys_file(&self) -> PathBuf {
        self.path.join(BUYER_KEYS_FILE)
    }

    /// What the shop signs its buyers' tokens with.
    pub fn tokens(&self) -> &ShopTokens {
        &self.tokens
    }

    /// The files of the services' own keys: `peers.<name>.key_file`.
    pub fn key_file(&self) -> PathBuf {
        self.path.join("*.key")
    }

    /// The file of the shop's key.
    pub fn shop_file(&self) -> PathBuf {
        self.path.join(format!("{SHOP}.key"))
    }

    /// The file with the header of a shop's calls, for tools that read headers from one.
    pub fn shop_header_file(&self) -> PathBuf {
        self.path.join(format!("{SHOP}.header"))
    }

    /// The key of a shop.
    pub fn shop(&self) -> &Key {
        &self.keys[SHOP]
    }

    /// The key of a shop that has [`OTHER_SALE`] alone.
    pub fn other_shop(&self) -> &Key {
        &self.keys[OTHER_SHOP]
    }

    /// The key of an operator who has [`OTHER_SALE`] alone.
    pub fn other_operator(&self) -> &Key {
        &self.keys[OTHER_OPERATOR]
    }

    /// The key of an operator.
    pub fn operator(&self) -> &Key {
        &self.keys[OPERATOR]
    }

    /// The key of one of [`SERVICES`].
    pub fn service(&self, name: &str) -> &Key {
        &self.keys[name]
    }

    /// Calls as the shop where a shop may call, else as the operator: what a tool does that plays
    /// both. It never calls as a service.
    pub fn shop_and_operator(&self, channel: Channel) -> NamedChannel {
        self.fitting(channel, shop_or_operator)
    }

    /// Calls as the operator where one may call, else as the shop, else as a service that may. For
    /// tests of what a service does, not of whom it serves.
    pub fn anyone_who_may(&self, channel: Channel) -> NamedChannel {
        self.fitting(channel, anyone)
    }

    fn fitting(&self, channel: Channel, pick: fn(&Rule) -> &'static str) -> NamedChannel {
        NamedChannel::new(channel, Arc::new(Fitting { keys: self.headers(), pick }))
    }

    /// The variables that tell a service its own key, and whose keys it knows.
    pub fn env(&self) -> impl Iterator<Item = (String, String)> + use<> {
        let (keys_file, key_file) = (self.keys_file(), self.key_file());
        let buyer_keys_file = self.buyer_keys_file();
        let peers = ["WAITING_ROOM", "INVENTORY", "CHECKOUT", "PAYMENT"].into_iter();
        peers
            .map(move |peer| (format!("PEERS__{peer}__KEY_FILE"), key_file.clone()))
            .chain([
                ("ACCESS__KEYS_FILE".to_owned(), keys_file),
                ("ACCESS__BUYER_KEYS_FILE".to_owned(), buyer_keys_file),
            ])
            .map(|(key, path)| (format!("FLASHSALE_{key}"), path.display().to_string()))
    }

    fn headers(&self) -> BTreeMap<&'static str, HeaderValue> {
        self.keys.iter().map(|(name, key)| (*name, bearer(key))).collect()
    }
}

/// Writes a file that its user alone can read.
///
/// # Errors
/// If it cannot be written.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    // A new file: one that is there keeps its mode, and may be a link to another.
    let beside = path.with_extension("partial");
    fs::remove_file(&beside).ok();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&beside, path)
}

/// Picks the key of a caller that may make the call.
#[derive(Debug)]
struct Fitting {
    keys: BTreeMap<&'static str, HeaderValue>,
    pick: fn(&Rule) -> &'static str,
}

fn shop_or_operator(rule: &Rule) -> &'static str {
    if rule.roles.contains(&Role::Shop) { SHOP } else { OPERATOR }
}

fn anyone(rule: &Rule) -> &'static str {
    if rule.roles.contains(&Role::Operator) {
        OPERATOR
    } else if rule.roles.is_empty() {
        rule.services.first().copied().unwrap_or(OPERATOR)
    } else {
        SHOP
    }
}

impl Identity for Fitting {
    fn key(&self, path: &str) -> Option<HeaderValue> {
        let rule = RULES.iter().find(|rule| rule.path == path);
        self.keys.get(rule.map_or(OPERATOR, self.pick)).cloned()
    }
}
