//! The users of NATS, as the authorization of its configuration.

use std::fmt::Write as _;

use serde::Deserialize;

use super::{Grants, PASSWORD};

/// May do everything: for operators.
pub const ADMIN: &str = "admin";

/// What one user may do, besides subscribing to its inbox.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    #[serde(default)]
    pub publish: Vec<String>,
    #[serde(default)]
    pub subscribe: Vec<String>,
}

impl Grants {
    /// The authorization of the services, to be included in the server's configuration.
    pub fn nats_conf(&self) -> String {
        let mut text = "\
# Written by `make grants` from grants.toml.
#
# The users of the services. Include it in the configuration of each server (`include nats.conf`) and give the server the
# passwords in its environment. A value is read as configuration is: put one that begins with a digit or holds a `$`, as a
# bcrypt hash does, in quotes of its own.
#
# What the server answers comes to an inbox, and each user has its own: no service reads the answers to another one.
authorization {
  users: [
"
        .to_owned();
        for (name, user) in &self.nats {
            let inbox = format!("_INBOX.{name}.>");
            let subscribe: Vec<&String> = std::iter::once(&inbox).chain(&user.subscribe).collect();
            let _ = write!(
                text,
                "    {{
      user: \"{name}\"
      password: ${}
      permissions: {{
        publish: {{ allow: {} }}
        subscribe: {{ allow: {} }}
      }}
    }}
",
                variable(name),
                list(&user.publish.iter().collect::<Vec<_>>()),
                list(&subscribe),
            );
        }
        let _ = write!(
            text,
            "    # For operators: it may do everything.
    {{
      user: \"{ADMIN}\"
      password: ${}
    }}
  ]
}}
",
            variable(ADMIN)
        );
        text
    }

    /// The same for the servers of tests. A connection without a user, as the tests' own, may do
    /// everything.
    pub fn nats_conf_of_tests(&self) -> String {
        let mut text = String::new();
        for name in self.nats.keys().map(String::as_str).chain([ADMIN]) {
            let _ = writeln!(text, "{}: \"{PASSWORD}\"", variable(name));
        }
        format!("{text}{}no_auth_user: \"{ADMIN}\"\n", self.nats_conf())
    }

    /// Who publishes and listens where, as docs/stores.md has it.
    pub fn nats_summary(&self) -> String {
        let mut text = "| user | publishes | listens | JetStream |\n|---|---|---|---|\n".to_owned();
        let listed = |subjects: Vec<String>| {
            subjects.iter().map(|subject| format!("`{subject}`")).collect::<Vec<_>>().join(", ")
        };
        for (name, user) in &self.nats {
            let (api, own): (Vec<_>, Vec<_>) =
                user.publish.iter().cloned().partition(|subject| subject.starts_with(API));
            let api = api.iter().map(|subject| subject.replacen(API, "", 1)).collect();
            let listens = listed(user.subscribe.clone());
            let _ = writeln!(text, "| {name} | {} | {listens} | {} |", listed(own), listed(api));
        }
        text
    }
}

const API: &str = "$JS.API.";

fn variable(user: &str) -> String {
    format!("NATS_{}_PASSWORD", user.replace('-', "_").to_uppercase())
}

fn list(subjects: &[&String]) -> String {
    let quoted: Vec<String> = subjects.iter().map(|subject| format!("\"{subject}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
