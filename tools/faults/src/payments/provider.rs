//! The payment provider, reached past payment: as another client of its account, by the control
//! calls of its stand-in, and by what that has written down.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use uuid::Uuid;

use crate::platform::Platform;

/// How long an exchange may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The body of a call to the provider's API.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// A line of the stand-in's own log, without what is not needed here.
#[derive(Debug, Deserialize)]
pub(super) struct Fact {
    /// What happened.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) payment_intent: String,
    /// In the smallest unit.
    pub(super) amount: i64,
    /// The order that the intent names.
    pub(super) order_id: Option<Uuid>,
}

/// What the stand-in has counted since its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    /// Requests to the API, whatever came of them.
    pub(super) requests: u64,
    /// Requests that a limit refused.
    pub(super) limited: u64,
    /// Requests that a fault struck.
    pub(super) struck: u64,
}

impl Traffic {
    /// Requests that no fault struck.
    pub(super) fn passed(&self) -> u64 {
        self.requests.saturating_sub(self.struck)
    }
}

/// Sends a request of HTTP/1.1 whose head lacks nothing but the length of its body; the status of
/// the answer and its body.
pub(super) async fn exchange(
    address: &str,
    head: &str,
    body: &str,
) -> anyhow::Result<(u16, String)> {
    let length = body.len();
    let request = format!(
        "{head}\r\nhost: {address}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(ATTEMPT, exchange).await.context("no answer in time")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer that breaks off")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("an answer without a status")?, body.to_owned()))
}

/// Sends a request to the provider, which must be accepted; the body of the answer.
async fn call(
    platform: &Platform,
    method: &str,
    path: &str,
    kind: &str,
    body: &str,
) -> anyhow::Result<String> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nauthorization: Bearer sk_test_by_hand\r\ncontent-type: {kind}"
    );
    let (status, answer) = exchange(platform.provider()?.address(), &head, body).await?;
    ensure!(status == 200, "the provider refuses {path} with {status}: {answer}");
    Ok(answer)
}

/// Posts something to the provider, as another client of the account.
pub(super) async fn post(
    platform: &Platform,
    path: &str,
    kind: &str,
    body: &str,
) -> anyhow::Result<()> {
    call(platform, "POST", path, kind, body).await.map(|_| ())
}

/// Reads something from the provider, as another client of the account.
pub(super) async fn get(platform: &Platform, path: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&call(platform, "GET", path, FORM, "").await?)?)
}

/// Asks the stand-in for something that is not of the provider's API.
pub(super) async fn control(platform: &Platform, what: &str, body: &Value) -> anyhow::Result<()> {
    post(platform, &format!("/_control/{what}"), "application/json", &body.to_string()).await
}

/// Switches a fault of the provider on.
pub(super) async fn strike(platform: &Platform, rule: &str) -> anyhow::Result<()> {
    post(platform, "/_control/faults", "application/json", rule).await
}

/// Switches a fault on that strikes this share of the calls to these endpoints.
pub(super) async fn strike_some(
    platform: &Platform,
    endpoint: &str,
    kind: &str,
    probability: f64,
) -> anyhow::Result<()> {
    let rule = json!({ "endpoint": endpoint, "kind": kind, "probability": probability });
    control(platform, "faults", &rule).await
}

/// Has some calls to these endpoints take so much longer.
pub(super) async fn slow_down(
    platform: &Platform,
    endpoint: &str,
    by: Duration,
    probability: f64,
) -> anyhow::Result<()> {
    let latency_ms = u64::try_from(by.as_millis())?;
    let rule = json!({
        "endpoint": endpoint,
        "kind": "latency_ms",
        "latency_ms": latency_ms,
        "probability": probability,
    });
    control(platform, "faults", &rule).await
}

/// Switches all faults of the provider off.
pub(super) async fn relent(platform: &Platform) -> anyhow::Result<()> {
    call(platform, "DELETE", "/_control/faults", "application/json", "").await.map(|_| ())
}

/// What the stand-in has counted since its start.
pub(super) async fn traffic(platform: &Platform) -> anyhow::Result<Traffic> {
    let state = get(platform, "/_control/state").await?;
    let sum = |counts: &Value| -> u64 {
        counts.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
    };
    Ok(Traffic {
        requests: sum(&state["traffic"]["requests"]),
        limited: state["traffic"]["rate_limited"].as_u64().unwrap_or(0),
        struck: sum(&state["faults"]["struck"]),
    })
}

/// What the provider did, oldest first.
pub(super) fn facts(platform: &Platform) -> anyhow::Result<Vec<Fact>> {
    let log = std::fs::read_to_string(platform.provider()?.log())?;
    // The last line may be on its way.
    let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let read = |line: &str| {
        serde_json::from_str(line).with_context(|| format!("a line of the provider's log: {line}"))
    };
    lines.map(read).collect()
}
