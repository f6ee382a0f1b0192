//! What each service may do in the stores: the list `k8s/stores/grants.toml`, and the files that are
//! written from it.

mod nats;
pub mod postgres;
mod redis;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::LazyLock,
};

pub use nats::{ADMIN, User as NatsUser};
pub use redis::{Redis, User as RedisUser};
use serde::{Deserialize, Deserializer, de::Error as _};

/// The services: each has a user of its own in every store that it uses.
pub use crate::keys::SERVICES;

/// The role that owns the tables, and the database role of `flashsale-migrate`.
pub const MIGRATOR: &str = "migrator";
/// The user that reads everything that an audit needs, and writes nothing.
pub const AUDITOR: &str = "auditor";

static LIST: LazyLock<Grants> = LazyLock::new(|| {
    #[allow(clippy::expect_used, reason = "it is compiled in, and the tests read it")]
    toml::from_str(include_str!("../../../../k8s/stores/grants.toml")).expect("grants.toml")
});

/// The list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// By role and table.
    pub postgres: BTreeMap<String, BTreeMap<String, Vec<Privilege>>>,
    pub redis: Redis,
    /// By user.
    pub nats: BTreeMap<String, NatsUser>,
}

impl Grants {
    /// The one that is checked in.
    pub fn list() -> &'static Self {
        &LIST
    }

    /// The files that are written from it, by name in `k8s/stores/`.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        vec![
            ("postgres-roles.sql", self.postgres_roles()),
            ("postgres-grants.sql", self.postgres_grants()),
            ("redis.acl", self.redis_acl()),
            ("nats.conf", self.nats_conf()),
        ]
    }

    /// Writes the files.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self) -> io::Result<()> {
        for (name, text) in self.files() {
            fs::write(folder().join(name), text)?;
        }
        Ok(())
    }
}

/// Where the list and its files are in this repository.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../k8s/stores")
}

/// What may be done to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Select,
    Insert,
    Update,
    Delete,
}

impl Verb {
    /// As SQL has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A verb, for the whole table or for some of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privilege {
    pub verb: Verb,
    /// None: all of them, and those that are added later.
    pub columns: Vec<String>,
}

impl FromStr for Privilege {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (verb, columns) = match text.split_once(" (") {
            None => (text, Vec::new()),
            Some((verb, columns)) => {
                let columns = columns.strip_suffix(')').ok_or("a bracket is not closed")?;
                (verb, columns.split(", ").map(str::to_owned).collect())
            }
        };
        let verb = [Verb::Select, Verb::Insert, Verb::Update, Verb::Delete]
            .into_iter()
            .find(|known| known.as_str() == verb)
            .ok_or_else(|| format!("'{verb}' is no privilege of a table"))?;
        Ok(Self { verb, columns })
    }
}

impl<'de> Deserialize<'de> for Privilege {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The URL of a store with `*` for its user, with which a service connects as its own
/// (`flashsale_service::config`). Several with commas between get it each.
pub fn as_own(url: &str) -> String {
    as_user(url, "*")
}

/// The password of every user in the servers of tests, where any will do: drivers name no user to
/// a server without one.
pub const PASSWORD: &str = "testbed";

/// The URL of a store for this user of a server of tests.
pub fn as_user(url: &str, user: &str) -> String {
    let one = |url: &str| match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{user}:{PASSWORD}@{host}")
        }
        None => url.to_owned(),
    };
    url.split(',').map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_gets_another_user() {
        assert_eq!(as_own("postgres://postgres@h:1/d"), "postgres://*:testbed@h:1/d");
        assert_eq!(as_user("redis://h:1?node=i:2", "sale"), "redis://sale:testbed@h:1?node=i:2");
        assert_eq!(as_own("nats://a:1,nats://b:2"), "nats://*:testbed@a:1,nats://*:testbed@b:2");
    }

    #[test]
    fn a_privilege_is_a_verb_with_columns_or_without() {
        let columns = vec!["a".to_owned(), "b".to_owned()];
        let update = Privilege { verb: Verb::Update, columns };
        assert_eq!("UPDATE (a, b)".parse(), Ok(update));
        assert_eq!("DELETE".parse(), Ok(Privilege { verb: Verb::Delete, columns: Vec::new() }));
        assert!("TRUNCATE".parse::<Privilege>().is_err());
        assert!("UPDATE (a".parse::<Privilege>().is_err());
    }
}
