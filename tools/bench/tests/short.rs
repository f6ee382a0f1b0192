//! `make bench`, as short as it gets: every figure is there and came of calls that did what they
//! say.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> (Output, Option<Value>) {
    let home = tempfile::tempdir().unwrap();
    let out = home.path().join("deep/bench.json");
    let output = Command::new(env!("CARGO_BIN_EXE_flashsale-bench"))
        .args(args)
        .arg("--out")
        .arg(&out)
        .env("FLASHSALE_HOME", home.path())
        .output()
        .unwrap();
    let figures = std::fs::read(&out).ok().map(|json| serde_json::from_slice(&json).unwrap());
    (output, figures)
}

/// What is measured in each round; what once a run, under load, of the stores, of payments and of
/// sales.
const CALLS: &str = "noop,noop_open,noop_empty,join,reserve,reserve_admitted,sold_out,reserve_sales,\
                     reserve_cluster,redis_script_ceiling,jetstream_ceiling,place_order,claims";
const UNDER_LOAD: &str = "overload,acceptance_to_claim,watch_order";
const OF_STORES: &str = "hold_bytes,load_stock,rebuild_seconds,queue_durability";
const OF_PAYMENTS: &str = "payment_stack,settle,breaker";
const OF_SALES: &str = "import,schedule";

/// The figures and the table of one short round of these measurements.
fn short(only: &str) -> (Figures, String) {
    let mut args = vec!["--rounds", "1", "--seconds", "0.1", "--in-flight", "16"];
    args.extend(["--holds", "1000", "--open-seconds", "0.5", "--watchers", "100"]);
    args.extend(["--openings", "2", "--reprices", "3", "--only", only]);
    let (output, figures) = bench(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures = Figures(figures.expect("the file is written"));
    assert_eq!(figures.0["rounds"], serde_json::json!({ "asked": 1, "done": 1 }));
    assert_eq!(figures.0["orders"]["accepted"], figures.0["orders"]["recorded"]);
    (figures, String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Figures(Value);

impl Figures {
    fn are_above_zero(&self, paths: &[&str]) {
        for path in paths {
            let value = self.0.pointer(path).and_then(Value::as_f64);
            assert!(value.is_some_and(|value| value > 0.0), "{path}: {value:?} in {:#}", self.0);
        }
    }

    fn are_there(&self, figure: &str, fields: &[&str]) {
        for field in fields {
            let value = &self.0[figure][field];
            assert!(!value.is_null(), "{figure} has no {field}: {:#}", self.0);
        }
    }
}

fn has_rows(table: &str, rows: &[&str]) {
    for row in rows {
        assert!(table.contains(row), "no {row} in {table}");
    }
}

#[test]
fn short_runs_are_the_whole_benchmark() {
    let (output, _) = bench(&["--only", "everything"]);
    let error = String::from_utf8_lossy(&output.stderr);
    let (_, names) = error.split_once("[possible values: ").expect("it lists them");
    let (names, _) = names.split_once(']').unwrap();
    let mut all: Vec<&str> = names.split(',').map(str::trim).collect();
    let mut run: Vec<&str> = [CALLS, UNDER_LOAD, OF_STORES, OF_PAYMENTS, OF_SALES]
        .iter()
        .flat_map(|names| names.split(','))
        .collect();
    all.sort_unstable();
    run.sort_unstable();
    assert_eq!(run, all);
}

#[test]
fn short_round_has_the_figures_of_every_call() {
    let (figures, table) = short(CALLS);
    for call in [
        "noop",
        "noop_open",
        "noop_empty",
        "join",
        "reserve",
        "reserve_admitted",
        "sold_out",
        "reserve_sales",
        "place_order",
    ] {
        for value in ["rps", "p50_us", "p99_us", "calls", "cpu_s_per_10k/total"] {
            figures.are_above_zero(&[&format!("/{call}/{value}")]);
        }
        for value in ["load_generator", "services", "redis", "nats", "postgres", "each_service"] {
            let cpu = &figures.0[call]["cpu_s_per_10k"];
            assert!(!cpu[value].is_null(), "{call} has no {value}: {cpu}");
        }
    }
    figures.are_above_zero(&[
        "/noop/ratio_to_noop_open",
        "/join/ratio_to_noop",
        "/reserve/ratio_to_noop",
        "/place_order/ratio_to_noop",
        "/redis_script_ceiling/rps",
        "/jetstream_ceiling/rps",
        "/claims/orders_per_s",
        "/claims/row_at_a_time_per_s",
        "/claims/faster_than_intake",
        "/orders/accepted",
        "/sold_out/ratio_to_reserve",
        "/reserve_cluster/rps",
        "/reserve_cluster/ratio_to_one_node",
        "/reserve_cluster/masters/0/sales",
        "/reserve_cluster/masters/1/sales",
        "/reserve_cluster/masters/2/sales",
        "/reserve_cluster/masters/0/holds",
        "/reserve_cluster/masters/1/holds",
        "/reserve_cluster/masters/2/holds",
    ]);
    has_rows(&table, &["no-op", "Join", "Reserve", "PlaceOrder", "Redis", "JetStream", "Claims"]);
}

#[test]
fn short_run_has_the_figures_under_load() {
    let (figures, table) = short(UNDER_LOAD);
    figures.are_above_zero(&[
        "/orders/accepted",
        "/overload/capacity_rps",
        "/overload/offered_rps/asked",
        "/overload/offered_rps/done",
        "/overload/goodput_rps",
        "/overload/goodput_ratio",
        "/overload/accepted",
        "/overload/accepted_p99_ms",
        "/overload/memory_mb/before/checkout",
        "/overload/memory_mb/after/inventory",
        "/overload/cpu_share/load_generator",
        "/claims/acceptance_to_claim_rps/done",
        "/claims/acceptance_to_claim_p99_ms",
        "/watch_order/streams",
        "/watch_order/changes",
        "/watch_order/delay_p50_ms",
        "/watch_order/delay_p99_ms",
    ]);
    assert_eq!(figures.0["overload"]["rejects_without_retry_info"], 0);
    figures.are_there("overload", &["rejects", "rejected_p99_ms", "not_durable"]);
    figures.are_there("watch_order", &["bytes_per_stream", "idle_cpu_s", "idle_cpu_s_without"]);
    has_rows(&table, &["watching"]);
}

#[test]
fn short_run_has_the_figures_of_the_stores() {
    let (figures, table) = short(OF_STORES);
    figures.are_above_zero(&[
        "/hold_bytes/live",
        "/hold_bytes/live_admitted",
        "/hold_bytes/placed",
        "/hold_bytes/placed_claimed",
        "/load_stock/seconds",
        "/rebuild_seconds/seconds",
        "/rebuild_seconds/backlog/seconds",
        "/queue_durability/r1/publish/rps",
        "/queue_durability/r1/place_order/rps",
        "/queue_durability/r1_sync_always/publish/p99_us",
        "/queue_durability/r1_sync_always/place_order/ratio_to_r1",
        "/queue_durability/r3/publish/ratio_to_r1",
        "/queue_durability/r3/place_order/p50_us",
    ]);
    has_rows(&table, &["rebuilding"]);
}

#[test]
fn short_run_has_the_figures_of_payments() {
    let (figures, table) = short(OF_PAYMENTS);
    figures.are_above_zero(&[
        "/payment_stack/cpu_ratio",
        "/payment_stack/cpu_ratio_with_turn",
        "/payment_stack/bare_us",
        "/payment_stack/turn_us",
        "/payment_stack/stack_us",
        "/payment_stack/calls",
        "/payment_stack/reserve_hanging_ratio",
        "/payment_stack/reserve_us/well",
        "/payment_stack/reserve_us/hanging",
        "/settle/events_per_s",
        "/settle/p99_us",
        "/settle/cpu_s_per_10k/total",
        "/settle/events",
        "/settle/lease_batch_p50_ms",
        "/settle/lease_batch_p99_ms",
        "/settle/batches",
        "/breaker/added_us",
        "/breaker/calls_per_s",
        "/breaker/unpaced/added_us",
        "/breaker/unpaced/calls_per_s",
    ]);
    assert_eq!(figures.0["settle"]["due"], 1_000);
    assert_eq!(figures.0["settle"]["sales"], 50);
    has_rows(&table, &["the way to Stripe", "Settlements", "settling payments", "breaker"]);
}

#[test]
fn short_run_has_the_figures_of_sales() {
    let (figures, table) = short(OF_SALES);
    figures.are_above_zero(&[
        "/import/mib",
        "/import/variants",
        "/import/items",
        "/import/read_ms",
        "/import/mib_per_s",
        "/import/select_ms",
        "/import/resident_mib",
        "/import/rounds/read_ms/0",
        "/import/rounds/resident_mib/0",
        "/schedule/openings/done",
        "/schedule/killed",
        "/schedule/accepted",
        "/schedule/refusals/SALE_NOT_OPEN",
        "/schedule/reprice/reprices/done",
        "/schedule/reprice/longest_script_ms",
        "/schedule/reprice/reads",
        "/schedule/reprice/reserves",
    ]);
    let schedule = &figures.0["schedule"];
    for spread in ["open_delay_ms", "last_before_end_ms", "record_open_ms", "record_end_ms"] {
        for value in ["p50", "p99", "max"] {
            assert!(schedule[spread][value].is_i64(), "no {spread}.{value} in {schedule}");
        }
    }
    for value in ["p50", "p99", "max"] {
        let delay = &schedule["reprice"]["switch_delay_ms"][value];
        assert!(delay.is_i64(), "no switch_delay_ms.{value} in {schedule}");
    }
    assert_eq!(schedule["reprice"]["reprices"]["asked"], 3);
    assert_eq!(schedule["reprice"]["items"], 100);
    assert_eq!(schedule["reprice"]["mixed"], 0);
    assert_eq!(schedule["reprice"]["early"], 0);
    assert!(schedule["seed"].is_u64(), "{schedule}");
    assert_eq!(schedule["openings"]["asked"], 2);
    assert_eq!(schedule["early_accepted"], 0);
    assert_eq!(schedule["late_accepted"], 0);
    has_rows(&table, &["reading a large export", "open and close by the clock"]);
}

#[test]
fn only_what_is_asked_for_is_measured() {
    let (output, figures) = bench(&["--rounds", "1", "--seconds", "0.1", "--only", "noop"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures = figures.unwrap();
    assert!(figures["noop"]["rps"].as_f64().unwrap() > 0.0);
    assert!(figures.get("reserve").is_none() && figures.get("claims").is_none(), "{figures:#}");
}

#[test]
fn what_cannot_be_measured_is_said_and_nothing_is_written() {
    for (args, said) in [
        (["--seconds", "0"], "--seconds"),
        (["--rounds", "0"], "--rounds"),
        (["--in-flight", "0"], "--in-flight"),
        (["--open-seconds", "0"], "--open-seconds"),
        (["--openings", "0"], "--openings"),
        (["--reprices", "0"], "--reprices"),
        (["--only", "everything"], "place_order"),
    ] {
        let (output, figures) = bench(&args);
        assert!(!output.status.success(), "{args:?} is accepted");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{args:?}: {error}");
        assert!(figures.is_none(), "{args:?} wrote figures");
    }
}
