//! `make faults SUITE=inventory` and `SUITE=orders`, as short as they get: every fault is done, and nothing it must not do has happened.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

/// What is random about it changes with each run of the tests; this says it again.
const SEED: &str = "FLASHSALE_FAULTS_SEED";

/// The faults of a suite, each with the count that shows that it was one, if it has any.
type Faults = [(&'static str, Option<&'static str>)];

const OF_INVENTORY: &Faults = &[
    ("lost_reply", Some("replies_lost")),
    ("redis_killed", None),
    ("flushall", None),
    ("evicted_key", None),
    ("failover", Some("writes_lost")),
    ("old_primary", Some("old_primary_answers")),
    ("failback", Some("writes_lost")),
    ("late_publish", Some("late_orders")),
    ("redis_stopped", Some("calls_while_stopped")),
    ("inventory_killed", Some("points_hit")),
    ("clocks", None),
];

const OF_ORDERS: &Faults = &[
    ("nats_killed", Some("at_ack")),
    ("queue_wiped", Some("unclaimed_messages_lost")),
    ("events_wiped", Some("events_lost")),
    ("published_again", Some("stored_again")),
    ("cancel_races", Some("cancels")),
    ("queue_full", Some("queue_full_answers")),
    ("poison", Some("put_aside")),
    ("postgres_killed", Some("accepted_meanwhile")),
    ("postgres_stalled", Some("processes_stopped")),
    ("order_worker_killed", Some("points_hit")),
    ("payment_killed", Some("points_hit")),
    ("sale_killed", Some("points_hit")),
    ("claimers_paused", None),
    ("smtp_down", Some("mails_waiting")),
    ("rolling_restart", Some("restarts")),
];

fn faults(suite: &str, args: &[&str]) -> (Output, Option<Value>) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashsale-faults"));
    command.args(["--suite", suite]).args(args).env("FLASHSALE_HOME", home.path());
    if let Ok(seed) = std::env::var(SEED) {
        command.args(["--seed", &seed]);
    }
    let output = command.output().unwrap();
    let verdicts = std::fs::read(home.path().join("faults.json")).ok();
    let runs = std::fs::read_dir(home.path().join("runs")).map(Iterator::count).unwrap_or(0);
    assert!(!output.status.success() || runs == 0, "something was left behind");
    (output, verdicts.map(|json| serde_json::from_slice(&json).unwrap()))
}

/// A few of each fault: done as often as asked, with nothing but zeros where zeros have to be.
fn few_of_each(suite: &str, expected: &Faults, zeros: &[&str]) -> Value {
    let (output, verdicts) = faults(suite, &["--short"]);
    // With the seed, for a failure to be had again.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let verdicts = verdicts.expect("the file is written")[suite].take();
    assert!(verdicts["seed"].is_u64(), "{verdicts:#}");
    for (fault, proof) in expected {
        let figures = &verdicts[fault];
        assert!(figures["asked"].as_u64() > Some(0), "{fault}: {figures:#}");
        assert!(figures["runs"].as_u64() >= figures["asked"].as_u64(), "{fault}: {figures:#}");
        for zero in zeros {
            assert_eq!(figures[zero], 0, "{fault}: {zero}");
        }
        if let Some(count) = proof {
            assert!(figures[count].as_u64() > Some(0), "{fault} proves nothing: {count}");
        }
    }
    verdicts
}

#[test]
fn a_few_of_each_fault_of_inventory_break_nothing() {
    let zeros = ["oversold", "leaked_units", "double_executions", "old_epoch_served"];
    let verdicts = few_of_each("inventory", OF_INVENTORY, &zeros);
    for (fault, _) in OF_INVENTORY {
        let closed = verdicts[fault]["reopen_seconds_max"].as_f64().unwrap_or(0.0);
        assert!(closed <= 10.0, "{fault}: closed for {closed} s");
    }
}

#[test]
fn a_few_of_each_fault_of_orders_break_nothing() {
    let zeros =
        ["lost_orders", "duplicate_orders", "oversold", "duplicate_mails", "failed_accepted"];
    let verdicts = few_of_each("orders", OF_ORDERS, &zeros);
    let drained = verdicts["rolling_restart"]["drain_seconds_max"].as_f64().unwrap();
    assert!(drained < 30.0, "drained in {drained} s");
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_written() {
    for (args, said) in [(["--only", "everything"], "late_publish"), (["--runs", "0"], "--runs")] {
        let (output, verdicts) = faults("inventory", &args);
        assert_eq!(output.status.code(), Some(2), "{args:?} is accepted");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{args:?}: {error}");
        assert!(verdicts.is_none(), "{args:?} wrote verdicts");
    }
}
