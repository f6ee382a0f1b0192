//! `make faults SUITE=inventory`, `orders`, `payments` and `schedule`, as short as they get: every
//! fault is done, and nothing it must not do has happened.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

/// What is random about it changes with each run of the tests; this says it again.
const SEED: &str = "FLASHSALE_FAULTS_SEED";

/// Faults, each with the count that shows that it was one, if it has any.
type Faults = [(&'static str, Option<&'static str>)];

const OF_REDIS: &Faults = &[
    ("lost_reply", Some("replies_lost")),
    ("redis_killed", None),
    ("flushall", None),
    ("evicted_key", None),
    ("late_publish", Some("late_orders")),
];

const OF_FAILOVER: &Faults = &[
    ("failover", Some("writes_lost")),
    ("old_primary", Some("old_primary_answers")),
    ("failback", Some("writes_lost")),
];

const OF_INVENTORY: &Faults = &[
    ("redis_stopped", Some("calls_while_stopped")),
    ("inventory_killed", Some("points_hit")),
    ("clocks", None),
];

const OF_THE_QUEUE: &Faults = &[
    ("nats_killed", Some("at_ack")),
    ("queue_wiped", Some("unclaimed_messages_lost")),
    ("events_wiped", Some("events_lost")),
    ("published_again", Some("stored_again")),
];

const OF_MESSAGES: &Faults = &[
    ("cancel_races", Some("cancels")),
    ("queue_full", Some("queue_full_answers")),
    ("poison", Some("put_aside")),
    ("smtp_down", Some("mails_waiting")),
    ("rolling_restart", Some("restarts")),
];

const OF_THE_RECORD: &Faults = &[
    ("postgres_killed", Some("accepted_meanwhile")),
    ("postgres_stalled", Some("processes_stopped")),
    ("claimers_paused", None),
];

const OF_WORKERS: &Faults =
    &[("order_worker_killed", Some("points_hit")), ("sale_killed", Some("points_hit"))];

const OF_ANSWERS: &Faults =
    &[("answers", Some("calls_struck")), ("provider_down", Some("probe_rounds"))];

const OF_PACE: &Faults = &[
    ("longer_than_patience", Some("waited")),
    ("decline_storm", Some("declined")),
    ("two_instances", Some("calls")),
];

const OF_MONEY: &Faults =
    &[("refunds", Some("refunded_minor")), ("events", Some("learnt_by_events"))];

const OF_DEATH: &Faults = &[
    ("payment_killed", Some("points_hit")),
    ("paused_past_lease", Some("leased_when_paused")),
    ("postgres_lost", Some("captured_unrecorded")),
    ("stand_in_killed", Some("captured_before")),
];

const OF_PLANS: &Faults = &[
    ("schedule_killed", Some("points_hit")),
    ("all_stopped", Some("taken")),
    ("postgres_away_at_start", Some("accepted_meanwhile")),
    ("flushed_while_prepared", Some("orders_accepted")),
];

const OF_CHANGES: &Faults = &[
    ("sale_clocks", Some("taken")),
    ("pause_under_load", Some("ordered_while_paused")),
    ("reprice", Some("taken_after_switch")),
    ("cancel_races", None),
];

/// Each test does a part of a suite: together they do all of it, as another test makes sure.
const PARTS: &[(&str, &[&Faults])] = &[
    ("inventory", &[OF_REDIS, OF_FAILOVER, OF_INVENTORY]),
    ("orders", &[OF_THE_QUEUE, OF_MESSAGES, OF_THE_RECORD, OF_WORKERS]),
    ("payments", &[OF_ANSWERS, OF_PACE, OF_MONEY, OF_DEATH]),
    ("schedule", &[OF_PLANS, OF_CHANGES]),
];

/// Faults that take too long for the short form.
const LONG: &[&str] = &["failover_of_many", "slow_provider", "forced_open"];

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

/// A few of each of these faults: done as often as asked, with nothing but zeros where zeros have
/// to be.
fn few_of_each(suite: &str, expected: &Faults, zeros: &[&str]) -> Value {
    let only: Vec<&str> = expected.iter().map(|(fault, _)| *fault).collect();
    let (output, verdicts) = faults(suite, &["--short", "--only", &only.join(",")]);
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

fn few_of_inventory(expected: &Faults) {
    let zeros = ["oversold", "leaked_units", "double_executions", "old_epoch_served"];
    let verdicts = few_of_each("inventory", expected, &zeros);
    for (fault, _) in expected {
        let closed = verdicts[fault]["reopen_seconds_max"].as_f64().unwrap_or(0.0);
        assert!(closed <= 10.0, "{fault}: closed for {closed} s");
    }
}

fn few_of_orders(expected: &Faults) -> Value {
    let zeros =
        ["lost_orders", "duplicate_orders", "oversold", "duplicate_mails", "failed_accepted"];
    few_of_each("orders", expected, &zeros)
}

fn few_of_payments(expected: &Faults) -> Value {
    let zeros = [
        "double_captures",
        "money_difference_minor",
        "unrefunded_orphans",
        "orders_lost",
        "second_intents",
        "given_up_while_waiting",
        "declined_without_a_card",
        "stuck",
    ];
    few_of_each("payments", expected, &zeros)
}

fn few_of_schedule(expected: &Faults) -> Value {
    let zeros = [
        "early_accepted",
        "late_accepted",
        "taken_while_paused",
        "cancelled_with_orders",
        "old_price_taken",
        "new_price_taken",
        "foreign_prices",
        "versions_wrong",
        "oversold",
    ];
    few_of_each("schedule", expected, &zeros)
}

#[test]
fn faults_of_redis_break_nothing() {
    few_of_inventory(OF_REDIS);
}

#[test]
fn failovers_break_nothing() {
    few_of_inventory(OF_FAILOVER);
}

#[test]
fn faults_of_inventory_break_nothing() {
    few_of_inventory(OF_INVENTORY);
}

#[test]
fn faults_of_the_queue_break_nothing() {
    few_of_orders(OF_THE_QUEUE);
}

#[test]
fn faults_of_messages_break_nothing() {
    let verdicts = few_of_orders(OF_MESSAGES);
    let drained = verdicts["rolling_restart"]["drain_seconds_max"].as_f64().unwrap();
    assert!(drained < 30.0, "drained in {drained} s");
}

#[test]
fn faults_of_the_record_break_nothing() {
    few_of_orders(OF_THE_RECORD);
}

#[test]
fn killed_workers_break_nothing() {
    few_of_orders(OF_WORKERS);
}

#[test]
fn faults_of_answers_break_nothing() {
    let verdicts = few_of_payments(OF_ANSWERS);
    let down = &verdicts["provider_down"];
    let opened = down["open_seconds_max"].as_f64().unwrap();
    assert!(opened <= 10.0, "open after {opened} s");
    assert!(down["probe_calls_max"].as_u64() <= Some(3), "{down:#}");
    let closed = down["closed_after_seconds_max"].as_f64().unwrap();
    assert!(closed <= 5.0, "closed after {closed} s");
}

#[test]
fn faults_of_pace_break_nothing() {
    few_of_payments(OF_PACE);
}

#[test]
fn faults_of_money_break_nothing() {
    few_of_payments(OF_MONEY);
}

#[test]
fn deaths_around_payments_break_nothing() {
    few_of_payments(OF_DEATH);
}

#[test]
fn faults_of_planned_sales_break_nothing() {
    few_of_schedule(OF_PLANS);
}

#[test]
fn clocks_and_changes_of_planned_sales_break_nothing() {
    let verdicts = few_of_schedule(OF_CHANGES);
    let races = &verdicts["cancel_races"];
    let decided = ["called_off", "opened"].map(|way| races[way].as_u64().unwrap_or(0));
    assert_eq!(Some(decided.iter().sum::<u64>()), races["runs"].as_u64(), "{races:#}");
}

#[test]
fn every_fault_is_in_one_part() {
    for (suite, parts) in PARTS {
        let (output, _) = faults(suite, &["--only", "everything"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let (_, all) = said.trim().split_once("there are ").expect("it lists its faults");
        let mut all: Vec<&str> = all.split(", ").filter(|fault| !LONG.contains(fault)).collect();
        let mut done: Vec<&str> =
            parts.iter().flat_map(|part| part.iter()).map(|(fault, _)| *fault).collect();
        all.sort_unstable();
        done.sort_unstable();
        assert_eq!(done, all, "{suite}");
    }
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
