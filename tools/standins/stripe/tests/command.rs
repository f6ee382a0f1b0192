//! The command as a parent process sees it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{AUTH, exchange, request};

fn start(dir: &Path) -> (Child, SocketAddr) {
    let ready = dir.join("ready");
    let _ = std::fs::remove_file(&ready);
    let mut child = Command::new(env!("CARGO_BIN_EXE_stripe-standin"))
        .args(["--listen", "127.0.0.1:0", "--latency-ms", "0", "--confirm-latency-ms", "0"])
        .arg("--log")
        .arg(dir.join("log.jsonl"))
        .arg("--ready-file")
        .arg(&ready)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said = line.trim().strip_prefix("stripe-standin listening on http://").unwrap().to_owned();
    let deadline = Instant::now() + common::BOUND;
    while !ready.exists() {
        assert!(Instant::now() < deadline, "no ready file");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(std::fs::read_to_string(&ready).unwrap(), said);
    (child, said.parse().unwrap())
}

fn end(mut child: Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let deadline = Instant::now() + common::BOUND;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn stripe_command_serves_until_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        let (child, addr) = start(dir.path());
        let body = "amount=500&currency=usd";
        let raw = request("POST", "/v1/payment_intents", &[AUTH], body);
        assert_eq!(exchange(addr, &raw).await.unwrap().status, 200);
        end(child, signal);
    }
    let log = std::fs::read_to_string(dir.path().join("log.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 2);
}

#[test]
fn unusable_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let log = log.to_str().unwrap();
    let no_state = dir.path().join("no-state");
    std::fs::write(&no_state, "no step\nat all\n").unwrap();
    let no_state = no_state.to_str().unwrap();
    let rows: [&[&str]; 7] = [
        &[],
        &["--log", "/nowhere/at/all"],
        &["--log", log, "--webhook-url", "https://127.0.0.1:1/x", "--webhook-secret", "s"],
        &["--log", log, "--webhook-url", "http://127.0.0.1:1/x"],
        &["--log", log, "--rate-total", "0"],
        &["--log", log, "--account", "somewhere"],
        // No journal of steps.
        &["--log", log, "--state", no_state],
    ];
    for args in rows {
        let output =
            Command::new(env!("CARGO_BIN_EXE_stripe-standin")).args(args).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}
