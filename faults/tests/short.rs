//! `make faults SUITE=inventory`, as short as it gets: every fault is done, and nothing it must not do has happened.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

/// What is random about it changes with each run of the tests; this says it again.
const SEED: &str = "FLASHSALE_FAULTS_SEED";
const FAULTS: [&str; 10] = [
    "lost_reply",
    "redis_killed",
    "flushall",
    "evicted_key",
    "failover",
    "old_primary",
    "late_publish",
    "redis_stopped",
    "inventory_killed",
    "clocks",
];

fn faults(args: &[&str]) -> (Output, Option<Value>) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashsale-faults"));
    command.args(["--suite", "inventory"]).args(args).env("FLASHSALE_HOME", home.path());
    if let Ok(seed) = std::env::var(SEED) {
        command.args(["--seed", &seed]);
    }
    let output = command.output().unwrap();
    let verdicts = std::fs::read(home.path().join("faults.json")).ok();
    let runs = std::fs::read_dir(home.path().join("runs")).map(Iterator::count).unwrap_or(0);
    assert!(!output.status.success() || runs == 0, "something was left behind");
    (output, verdicts.map(|json| serde_json::from_slice(&json).unwrap()))
}

#[test]
fn a_few_of_each_fault_break_nothing() {
    let (output, verdicts) = faults(&["--short"]);
    // With the seed, for a failure to be had again.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let verdicts = &verdicts.expect("the file is written")["inventory"];
    assert!(verdicts["seed"].is_u64(), "{verdicts:#}");
    for fault in FAULTS {
        let figures = &verdicts[fault];
        assert!(figures["asked"].as_u64() > Some(0), "{fault}: {figures:#}");
        assert!(figures["runs"].as_u64() >= figures["asked"].as_u64(), "{fault}: {figures:#}");
        for zero in ["oversold", "leaked_units", "double_executions", "old_epoch_served"] {
            assert_eq!(figures[zero], 0, "{fault}: {zero}");
        }
        let closed = figures["reopen_seconds_max"].as_f64().unwrap_or(0.0);
        assert!(closed <= 10.0, "{fault}: closed for {closed} s");
    }
    for (fault, count) in [
        ("failover", "writes_lost"),
        ("old_primary", "old_primary_answers"),
        ("late_publish", "late_orders"),
        ("redis_stopped", "calls_while_stopped"),
        ("inventory_killed", "points_hit"),
    ] {
        assert!(verdicts[fault][count].as_u64() > Some(0), "{fault} proves nothing: {count}");
    }
}

#[test]
fn what_cannot_be_done_is_said_and_nothing_is_written() {
    for (args, said) in [(["--only", "everything"], "late_publish"), (["--runs", "0"], "--runs")] {
        let (output, verdicts) = faults(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?} is accepted");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{args:?}: {error}");
        assert!(verdicts.is_none(), "{args:?} wrote verdicts");
    }
}
