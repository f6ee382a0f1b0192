//! The grants of `k8s/stores/`: its files are those of the list, and real servers hold the services
//! to it, no tighter and no wider than what they do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "grants/nats.rs"]
mod nats;
#[path = "grants/postgres.rs"]
mod postgres;
#[path = "grants/redis.rs"]
mod redis;

use std::{collections::BTreeSet, fs, path::Path};

use flashsale_testbed::grants::{self, Grants, SERVICES};

/// The text of a file of the repository.
fn text(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn files_are_those_of_the_list() {
    for (name, wanted) in Grants::list().files() {
        let found = fs::read_to_string(grants::folder().join(name)).unwrap_or_default();
        assert!(found == wanted, "k8s/stores/{name} is not what grants.toml says: `make grants`");
    }
}

#[test]
fn documentation_has_the_tables_of_the_list() {
    let documented = text("docs/stores.md");
    let list = Grants::list();
    for table in [list.postgres_summary(), list.redis_summary(), list.nats_summary()] {
        assert!(documented.contains(&table), "docs/stores.md must have this table:\n{table}");
    }
}

#[test]
fn users_are_the_services_and_the_auditor() {
    let known: BTreeSet<&str> = SERVICES.into_iter().chain([grants::AUDITOR]).collect();
    let postgres: BTreeSet<&str> = Grants::list().postgres_users().collect();
    assert_eq!(postgres, known);
}
