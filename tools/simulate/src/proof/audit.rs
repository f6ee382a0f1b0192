//! The audit is not done here: a separate program that reads the stores raw.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use flashsale_cli::program::sibling;
use flashsale_testbed::Command;
use serde_json::Value;

/// How long the audit may take.
const WITHIN: Duration = Duration::from_secs(300);

/// What the invariants promise, in words.
const PROMISES: [(&str, &str); 8] = [
    ("I1", "nothing was oversold"),
    ("I2", "every accepted order reached exactly one end"),
    ("I3", "nobody was charged twice, and the money adds up"),
    ("I4", "no money was kept without units"),
    ("I5", "every unit is accounted for"),
    ("I6", "buyers were let in in the order of the line"),
    ("I7", "every request took effect once"),
    ("I9", "every order cost what its sale asked"),
];

/// Where what is audited stands.
#[derive(Debug, Clone)]
pub(crate) struct Stores {
    /// `redis://…`
    pub(crate) redis: String,
    /// `nats://…`
    pub(crate) nats: String,
    /// `postgres://…`
    pub(crate) postgres: String,
    /// The payment provider's own log, if it keeps one for us.
    pub(crate) provider_log: Option<PathBuf>,
    /// The mail server's own log.
    pub(crate) mail_log: Option<PathBuf>,
}

/// What the auditor found.
#[derive(Debug)]
pub(crate) struct Audit {
    /// Its figures and verdicts.
    pub(crate) value: Value,
    /// Whether every invariant held.
    pub(crate) passed: bool,
}

impl Audit {
    /// The verdict on one promise, and what broke it.
    pub(crate) fn verdicts(
        &self,
    ) -> impl Iterator<Item = (&'static str, &'static str, Option<bool>, Vec<String>)> {
        PROMISES.into_iter().map(|(name, promise)| {
            let held = self.value.pointer(&format!("/invariants/{name}")).and_then(Value::as_bool);
            (name, promise, held, self.strings(&format!("/violations/{name}")))
        })
    }

    /// What could not be checked, and why.
    pub(crate) fn not_checked(&self) -> Vec<String> {
        self.strings("/not_checked")
    }

    /// The verdicts for people, a line each.
    pub(crate) fn human(&self) -> String {
        let mut proof = String::from("The proof, read from the stores themselves:");
        for (name, promise, held, violations) in self.verdicts() {
            let mark = if held == Some(true) { "✓" } else { "✗" };
            proof.push_str(&format!("\n  {mark} {name}  {promise}"));
            for violation in violations {
                proof.push_str(&format!("\n        {violation}"));
            }
        }
        for unchecked in self.not_checked() {
            proof.push_str(&format!("\n  not checked: {unchecked}"));
        }
        proof
    }

    fn strings(&self, path: &str) -> Vec<String> {
        let list = self.value.pointer(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

/// Runs the auditor over the stores of a sale; `at_rest` says that nothing of it is on its way any
/// more. It writes into `folder`.
pub(crate) async fn audit(
    stores: &Stores,
    sale_id: &str,
    history: &Path,
    at_rest: bool,
    folder: &Path,
) -> anyhow::Result<Audit> {
    let (json, log) = (folder.join("audit.json"), folder.join("audit.log"));
    let mut command = Command::new(sibling("flashsale-auditor")?)
        .args(["--sale", sale_id, "--redis", &stores.redis, "--nats", &stores.nats])
        .args(["--postgres", &stores.postgres])
        .args([Path::new("--history"), history])
        .args([Path::new("--json"), &json])
        .log(&log);
    if at_rest {
        command = command.arg("--at-rest");
    }
    if let Some(mails) = &stores.mail_log {
        command = command.args([Path::new("--mail-log"), mails]);
    }
    if let Some(provider) = &stores.provider_log {
        command = command.args([Path::new("--stripe-log"), provider]);
    }
    let child = command.spawn().context("the auditor cannot be started")?;
    let status =
        tokio::time::timeout(WITHIN, child.wait()).await.context("the auditor does not end")?;
    if !matches!(status.code(), Some(0 | 1)) {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("the auditor could not do its work ({status}):\n{said}");
    }
    let text = std::fs::read_to_string(&json).context("the auditor has left no result")?;
    Ok(Audit { value: serde_json::from_str(&text)?, passed: status.success() })
}
