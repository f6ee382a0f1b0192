//! Stripe's own client libraries, for Python and for Node, against the stand-in. scripts/setup.sh
//! installs them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use common::bench;
use tokio::process::Command;

const SECRET: &str = "whsec_of_the_tests";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// Where set-up has installed a client.
fn packages(name: &str) -> PathBuf {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = || from("FLASHSALE_HOME").unwrap_or_else(|| repository().join(".flashsale"));
    let tools = from("FLASHSALE_TOOLS").unwrap_or_else(|| home().join("tools"));
    let path = tools.join("clients").join(name);
    assert!(path.is_dir(), "{} is missing: run `make setup-test`", path.display());
    path
}

/// Runs a client's program against a stand-in that sends its events to that program.
async fn pays(program: &mut Command) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let bench = bench(|config| {
        config.account = "acct_of_the_tests".into();
        config.webhook_url = Some(format!("http://127.0.0.1:{port}/hook"));
        config.webhook_secrets = vec![SECRET.to_owned()];
    })
    .await;
    let api = format!("http://{}", bench.addr());
    let said = program
        .args([api.as_str(), &port.to_string(), SECRET])
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && out.trim() == "as expected", "{}\n{out}\n{err}", said.status);
    assert_eq!(bench.logged("payment_intent.captured").len(), 1);
    assert_eq!(bench.logged("payment_intent.refunded").len(), 2);
}

#[tokio::test]
async fn python_client_pays_and_refunds() {
    let program = "tests/clients/python/pays.py";
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let mut python = Command::new("python3");
    python
        .arg(program)
        .env("PYTHONPATH", packages("stripe-python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    pays(&mut python).await;
}

#[tokio::test]
async fn node_client_pays_and_refunds() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/pays.cjs");
    let mut node = Command::new("node");
    node.arg(program).env("NODE_PATH", packages("stripe-node").join("node_modules"));
    pays(&mut node).await;
}
