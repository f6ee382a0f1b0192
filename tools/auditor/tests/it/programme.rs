//! The program's exit codes, and that it writes to no store.

use std::{
    fmt::Write as _,
    process::{Command, Output},
};

use flashsale_auditor::{Invariant, Options, Verdict, audit};
use serde_json::Value;

use crate::world::{Log, Plant, Servers, World};

fn run(options: &Options, json: &std::path::Path) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashsale-auditor"));
    command
        .args(["--sale", &options.sale.to_string(), "--redis", &options.redis])
        .args(["--nats", &options.nats, "--postgres", &options.postgres, "--at-rest", "--json"])
        .arg(json);
    for (name, file) in [
        ("--stripe-log", &options.stripe_log),
        ("--mail-log", &options.mail_log),
        ("--history", &options.history),
    ] {
        if let Some(file) = file {
            command.arg(name).arg(file);
        }
    }
    let output = command.output().unwrap();
    let value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    (output, value)
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_tells_the_outcome() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("audit.json");

    let good = world.options(&servers);
    let (output, value) = run(&good, &json);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(value["invariants"]["I1"], true);
    assert!(String::from_utf8(output.stdout).unwrap().contains("I7  ✓"));

    let nowhere = "redis://127.0.0.1:1".to_owned();
    for (what, unreadable) in [
        ("--stripe-log", Options { stripe_log: Some("/nowhere".into()), ..good.clone() }),
        ("--mail-log", Options { mail_log: Some("/nowhere".into()), ..good.clone() }),
        ("--history", Options { history: Some("/nowhere".into()), ..good.clone() }),
        ("Redis", Options { redis: nowhere, ..good.clone() }),
        ("JetStream", Options { nats: "nats://127.0.0.1:1".to_owned(), ..good.clone() }),
        ("Postgres", Options { postgres: "postgres://x@127.0.0.1:1/x".to_owned(), ..good.clone() }),
        ("Redis", Options { sale: uuid::Uuid::new_v4(), ..good.clone() }),
    ] {
        let (output, value) = run(&unreadable, &json);
        assert_eq!(output.status.code(), Some(2), "{what}: {output:?}");
        assert_eq!(value["invariants"]["I1"], Value::Null);
        let said = value["not_checked"][0].as_str().unwrap();
        assert!(said.starts_with(&format!("{what} could not be read")), "{said}");
    }

    world.plant(&servers, Plant::Append(Log::History, "no JSON")).await;
    let (output, _) = run(&world.options(&servers), &json);
    assert_eq!(output.status.code(), Some(2), "a log with a broken line");
    world.plant(&servers, Plant::Drop(Log::History, "no JSON")).await;

    world.plant(&servers, Plant::Redis(&["HINCRBY", "@stock", "a:A", "-1"])).await;
    let (output, value) = run(&world.options(&servers), &json);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&value["invariants"]["I5"], &value["leaked_units"]), (&false.into(), &1.into()));
    assert!(String::from_utf8(output.stdout).unwrap().contains("I5  ✗"));
}

#[tokio::test]
async fn open_orders_violate_only_at_rest() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    // Buyer 8 has placed a unit of B that the claimer has not reached.
    for plant in [
        Plant::Redis(&["HSET", "@stock", "a:B", "1", "p:B", "1"]),
        Plant::Redis(&["HSET", "@buyers", "B\u{1f}buyer-8", "1"]),
        Plant::Redis(&["HSET", "@spent", "<j8>", "<h8>"]),
        Plant::Redis(&["HSET", "@orders", "<h8>", "{}"]),
        Plant::Redis(&["ZADD", "@pending", "<now>", "<h8>"]),
        Plant::Redis(&[
            "HSET",
            "@holds",
            "<h8>",
            r#"{"b":"buyer-8","s":"PLACED","d":<now>,"t":<now>,"l":[["B",1,250]],"e":1,"j":"<j8>","o":"<o8>","p":<now>,"q":"<r8>","h":"hash8"}"#,
        ]),
        Plant::Publish(
            "place.<sale>",
            "<o8>",
            r#"{"kind":"place","order_id":"<o8>","buyer_id":"buyer-8","hold_id":"<h8>","request_id":"<r8>","lines":[{"sku":"B","quantity":1,"unit_price_minor":250}],"currency":"EUR","total_minor":250}"#,
        ),
        Plant::Append(
            Log::History,
            r#"{"event":"placed","ts_ms":1,"buyer":"buyer-8","request_id":"<r8>","order_id":"<o8>","state":"ACCEPTED"}"#,
        ),
    ] {
        world.plant(&servers, plant).await;
    }
    let options = world.options(&servers);
    let report = audit(&Options { at_rest: false, ..options.clone() }).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    assert_eq!(report.value["not_checked"].as_array().unwrap().len(), 1);
    let report = audit(&options).await;
    for (invariant, held) in [(Invariant::I1, true), (Invariant::I2, false), (Invariant::I5, false)]
    {
        assert_eq!(report.held(invariant), Some(held), "{report}");
    }
    assert_eq!(report.value["leaked_units"], 1);
}

#[tokio::test]
async fn audit_changes_no_store() {
    let servers = Servers::start().await;
    let world = World::build(&servers).await;
    let options = world.options(&servers);
    let before = state(&servers).await;
    audit(&options).await;
    assert_eq!(state(&servers).await, before);
}

/// Everything in Redis, and the stream's state and consumers. In Postgres the audit is one
/// read-only transaction.
async fn state(servers: &Servers) -> String {
    let keys = servers.redis_command(&["KEYS".to_owned(), "*".to_owned()]).await;
    let mut keys: Vec<String> =
        keys.into_array().into_iter().filter_map(|key| key.into_string()).collect();
    keys.sort();
    let mut state = String::new();
    for key in keys {
        let dump = servers.redis_command(&["DUMP".to_owned(), key.clone()]).await;
        writeln!(state, "{key} {dump:?}").unwrap();
    }
    let stream = servers.jetstream.get_stream("ORDERS").await.unwrap();
    let info = stream.get_info().await.unwrap();
    writeln!(state, "{:?}", info.state).unwrap();
    state
}
