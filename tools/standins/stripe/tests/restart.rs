//! `--state`: the stand-in is killed and started again.
#![allow(clippy::print_stdout, reason = "the moments of the kills are printed")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{AUTH, Answer, endpoint_at, exchange, request, until};
use rand::Rng as _;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A stand-in as a process of its own, always at the same address.
struct Process {
    child: Option<Child>,
    addr: SocketAddr,
    dir: TempDir,
    more: Vec<String>,
}

impl Process {
    fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let more: Vec<String> = more.iter().map(|&arg| arg.to_owned()).collect();
        let (child, addr) = spawn(dir.path(), "127.0.0.1:0", &more);
        Self { child: Some(child), addr, dir, more }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn start_again(&mut self) {
        let (child, addr) = spawn(self.dir.path(), &self.addr.to_string(), &self.more);
        assert_eq!(addr, self.addr);
        self.child = Some(child);
    }

    async fn get(&self, path: &str) -> Value {
        exchange(self.addr, &request("GET", path, &[AUTH], "")).await.unwrap().json()
    }

    async fn try_post(&self, path: &str, key: &str, body: &str) -> std::io::Result<Answer> {
        let headers = [AUTH, ("Idempotency-Key", key)];
        exchange(self.addr, &request("POST", path, &headers, body)).await
    }

    async fn post(&self, path: &str, key: &str, body: &str) -> Answer {
        let answer = self.try_post(path, key, body).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        answer
    }

    async fn control(&self, path: &str, body: &str) -> Answer {
        exchange(self.addr, &request("POST", &format!("/_control{path}"), &[], body)).await.unwrap()
    }

    fn logged(&self, kind: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("log.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["type"] == kind).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(dir: &Path, listen: &str, more: &[String]) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stripe-standin"))
        .args(["--listen", listen, "--latency-ms", "0", "--confirm-latency-ms", "0"])
        .args(["--rate-per-endpoint", "100000", "--rate-total", "100000"])
        .args(["--outcome-delay-ms", "3600000"])
        .args([Path::new("--log"), &dir.join("log.jsonl")])
        .args([Path::new("--state"), &dir.join("state.jsonl")])
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said = line.trim().strip_prefix("stripe-standin listening on http://").unwrap();
    (child, said.parse().unwrap())
}

const CREATE: &str = "amount=500&currency=usd&allowed_payment_method_types[]=card\
                      &metadata[order_id]=o-1";

#[tokio::test]
async fn state_survives_a_kill() {
    let mut standin = Process::start(&[]);
    let made = standin.post("/v1/payment_intents", "create", CREATE).await;
    let id = made.id();
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    let declined =
        standin.try_post(&confirm, "declined", "payment_method=pm_card_visa_chargeDeclined").await;
    assert_eq!(declined.unwrap().status, 402);
    let paid = standin.post(&confirm, "paid", "payment_method=pm_card_refundFail").await;
    let refund = format!("payment_intent={id}&amount=200");
    let refund = standin.post("/v1/refunds", "refund", &refund).await;
    let body = "payment_method=pm_card_visa";
    let token = standin.post("/v1/test_helpers/confirmation_tokens", "token", body).await.id();
    standin.control("/clock", r#"{"advance_ms":60000}"#).await;
    let paths = [
        format!("/v1/payment_intents/{id}"),
        "/v1/payment_intents".into(),
        "/v1/charges".into(),
        "/v1/refunds".into(),
        "/v1/events".into(),
        format!("/v1/confirmation_tokens/{token}"),
    ];
    let mut before = Vec::new();
    for path in &paths {
        before.push(standin.get(path).await);
    }
    let log = std::fs::read(standin.dir.path().join("log.jsonl")).unwrap();

    for round in 0..2 {
        standin.kill();
        standin.start_again();
        for (path, before) in paths.iter().zip(&before) {
            assert_eq!(standin.get(path).await, *before, "{path}, round {round}");
        }
        let rows =
            [("create", "/v1/payment_intents", CREATE, &made), ("paid", &confirm, "", &paid)];
        for (key, path, body, first) in rows {
            let body = if body.is_empty() { "payment_method=pm_card_refundFail" } else { body };
            let again = standin.post(path, key, body).await;
            assert_eq!(again.body, first.body, "{key}");
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{key}");
            assert_eq!(again.header("original-request"), first.header("request-id"), "{key}");
        }
        let ahead = standin.control("/clock", r#"{"advance_ms":0}"#).await.json();
        assert_eq!(ahead["ahead_ms"], 60_000);
        assert_eq!(std::fs::read(standin.dir.path().join("log.jsonl")).unwrap(), log);
    }
    // What was to come still comes.
    standin.control("/clock", r#"{"advance_ms":3600000}"#).await;
    assert_eq!(standin.get(&format!("/v1/refunds/{}", refund.id())).await["status"], "failed");
    assert_eq!(standin.logged("payment_intent.refund_failed").len(), 1);
    assert_eq!(standin.get("/v1/charges").await["data"][0]["amount_refunded"], 0);
}

#[tokio::test]
async fn undelivered_events_are_sent_after_a_kill() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = free.local_addr().unwrap();
    drop(free);
    let url = format!("http://{endpoint}/hook");
    let mut standin = Process::start(&["--webhook-url", &url, "--webhook-secret", "whsec_x"]);
    let id = standin.post("/v1/payment_intents", "create", CREATE).await.id();
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    standin.post(&confirm, "paid", "payment_method=pm_card_visa").await;
    standin.kill();

    // Nothing was listening there until now.
    let listener = tokio::net::TcpListener::bind(endpoint).await.unwrap();
    let (_, pushes) = endpoint_at(listener, &[]);
    standin.start_again();
    until("all three events", async || pushes.lock().unwrap().len() == 3).await;
    assert!(pushes.lock().unwrap().iter().any(|push| push.is("payment_intent.succeeded", &id)));
    until("nothing is pending", async || {
        standin.get("/v1/events?delivery_success=false").await["data"] == json!([])
    })
    .await;

    standin.kill();
    standin.start_again();
    let other = standin.post("/v1/payment_intents", "other", CREATE).await.id();
    until("another event", async || {
        pushes.lock().unwrap().iter().any(|push| push.is("payment_intent.created", &other))
    })
    .await;
    assert_eq!(pushes.lock().unwrap().len(), 4, "what was delivered is not sent again");
}

#[tokio::test]
async fn torn_last_line_is_ignored() {
    let mut standin = Process::start(&[]);
    let id = standin.post("/v1/payment_intents", "create", CREATE).await.id();
    standin.kill();
    let path = standin.dir.path().join("state.jsonl");
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(br#"{"records":[{"intent":{"id":"pi_torn","#).unwrap();
    standin.start_again();
    let list = standin.get("/v1/payment_intents").await;
    assert_eq!((&list["data"][0]["id"], list["data"].as_array().unwrap().len()), (&json!(id), 1));
}

/// Killed at random moments under calls that are repeated with their keys, it takes the money of
/// each intent once, and its log says so.
#[tokio::test]
async fn kills_neither_lose_nor_double_a_capture() {
    const CALLERS: usize = 8;
    const KILLS: usize = 6;
    let mut standin = Process::start(&[]);
    let mut intents: Vec<Vec<String>> = vec![Vec::new(); CALLERS];
    for kill in 0..KILLS {
        let standing = &standin;
        let calls = intents.iter_mut().enumerate().map(|(caller, intents)| async move {
            // Until the kill cuts it off: the call under way then is repeated in the next round.
            for n in intents.len().. {
                let key = format!("create-{caller}-{n}");
                let made = standing.try_post("/v1/payment_intents", &key, CREATE).await;
                let Ok(made) = made else { return };
                let path = format!("/v1/payment_intents/{}/confirm", made.id());
                let key = format!("confirm-{caller}-{n}");
                let body = "payment_method=pm_card_visa";
                let Ok(paid) = standing.try_post(&path, &key, body).await else { return };
                assert_eq!(paid.status, 200, "{}", paid.json());
                intents.push(made.id());
            }
        });
        let after = Duration::from_millis(rand::rng().random_range(20..200));
        let pid = standin.child.as_ref().unwrap().id().to_string();
        let killer = async {
            tokio::time::sleep(after).await;
            println!("kill {kill} after {after:?}");
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        };
        tokio::join!(futures::future::join_all(calls), killer);
        standin.kill();
        standin.start_again();
    }
    let all: Vec<&String> = intents.iter().flatten().collect();
    assert!(all.len() >= CALLERS, "{} intents in all", all.len());
    let mut captured: Vec<Value> = standin
        .logged("payment_intent.captured")
        .iter()
        .map(|line| line["payment_intent"].clone())
        .collect();
    let lines = captured.len();
    captured.sort_by_key(Value::to_string);
    captured.dedup();
    assert_eq!(captured.len(), lines, "an intent was captured twice");
    for id in all {
        assert!(captured.contains(&json!(id)), "{id} was answered as paid");
        let intent = standin.get(&format!("/v1/payment_intents/{id}")).await;
        assert_eq!(intent["status"], "succeeded", "{id}");
    }
    let state = exchange(standin.addr, &request("GET", "/_control/state", &[], "")).await.unwrap();
    assert_eq!(state.json()["money"]["captures"], json!(lines), "the log and the books agree");
}
