//! The users of Redis, as the lines of an ACL file.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;

use super::Grants;

/// What the users may do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// What each of them runs: a client connects and finds out which server answers.
    pub commands: Vec<String>,
    pub users: BTreeMap<String, User>,
}

/// What one user may do besides.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The keys that it writes and reads, as patterns.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The keys that it only reads.
    #[serde(default)]
    pub reads: Vec<String>,
    pub commands: Vec<String>,
}

impl Grants {
    /// The ACL file. It can hold no comments.
    pub fn redis_acl(&self) -> String {
        let mut text = "user default off\n".to_owned();
        for line in self.redis_users(&["on"]) {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// The ACL file of the servers of tests: their users need no password, and `default`, as which
    /// the tests themselves connect, may do everything.
    pub fn redis_acl_of_tests(&self) -> String {
        let mut text = "user default on nopass ~* &* +@all\n".to_owned();
        for line in self.redis_users(&["on", "nopass"]) {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    fn redis_users(&self, state: &[&str]) -> impl Iterator<Item = String> {
        self.redis.users.iter().map(move |(name, user)| {
            let commands = || self.redis.commands.iter().chain(&user.commands);
            let mut rules: Vec<String> = vec!["user".to_owned(), name.clone()];
            rules.extend(state.iter().map(|rule| (*rule).to_owned()));
            rules.push("-@all".to_owned());
            rules.extend(user.keys.iter().map(|key| format!("~{key}")));
            rules.extend(user.reads.iter().map(|key| format!("%R~{key}")));
            rules.extend(commands().map(|command| format!("+{command}")));
            // Redis takes every key of EVALSHA for one that is written. What a script does to it is
            // looked at once more, as a command of its own.
            if !user.reads.is_empty() && user.commands.iter().any(|command| command == "evalsha") {
                let keys = user.keys.iter().chain(&user.reads).map(|key| format!("~{key}"));
                let keys: Vec<String> = keys.collect();
                rules.push(format!("(+evalsha {})", keys.join(" ")));
            }
            rules.join(" ")
        })
    }

    /// Who may do what to which keys, as docs/stores.md has it.
    pub fn redis_summary(&self) -> String {
        let mut text = "| user | writes and reads | only reads |\n|---|---|---|\n".to_owned();
        let listed = |keys: &[String]| {
            keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        };
        for (name, user) in &self.redis.users {
            let _ = writeln!(text, "| {name} | {} | {} |", listed(&user.keys), listed(&user.reads));
        }
        text
    }
}
