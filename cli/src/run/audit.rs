//! The audit is somebody else's work: a separate program that reads the stores raw.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use flashsale_proto::sale::Sale;
use flashsale_sandbox::Command;
use serde_json::Value;

use crate::stack::{Stack, program};

/// How long the audit may take.
const WITHIN: Duration = Duration::from_secs(300);

/// What the auditor found.
#[derive(Debug)]
pub(crate) struct Audit {
    /// Its figures and verdicts.
    pub(crate) value: Value,
    /// Whether every invariant held.
    pub(crate) passed: bool,
}

/// Runs the auditor over the stores of a sale at rest.
pub(crate) async fn audit(stack: &Stack, sale: &Sale, history: &Path) -> anyhow::Result<Audit> {
    let dir = stack.dir.path();
    let (json, log) = (dir.join("audit.json"), dir.join("audit.log"));
    let mut command = Command::new(program("flashsale-auditor")?)
        .args(["--sale", &sale.sale_id, "--redis", &stack.redis_url(), "--nats", &stack.nats_url()])
        .args(["--postgres", &stack.postgres_url(), "--at-rest"])
        .args([Path::new("--mail-log"), &stack.mail_log()])
        .args([Path::new("--history"), history])
        .args([Path::new("--json"), &json])
        .log(&log);
    if let Some(provider) = stack.provider_log() {
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
