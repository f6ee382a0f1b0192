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

#[test]
fn one_short_round_has_every_figure() {
    let mut short =
        vec!["--rounds", "1", "--seconds", "0.1", "--in-flight", "16", "--holds", "1000"];
    short.extend(["--open-seconds", "0.5", "--watchers", "100"]);
    let (output, figures) = bench(&short);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let figures = figures.expect("the file is written");
    let above_zero = |path: &str| {
        let value = figures.pointer(path).and_then(Value::as_f64);
        assert!(value.is_some_and(|value| value > 0.0), "{path} is {value:?} in {figures:#}");
    };
    for call in [
        "noop",
        "noop_empty",
        "join",
        "reserve",
        "reserve_admitted",
        "sold_out",
        "reserve_sales",
        "place_order",
    ] {
        for value in ["rps", "p50_us", "p99_us", "calls", "cpu_s_per_10k/total"] {
            above_zero(&format!("/{call}/{value}"));
        }
        for value in ["load_generator", "services", "redis", "nats", "postgres", "each_service"] {
            let cpu = &figures[call]["cpu_s_per_10k"];
            assert!(!cpu[value].is_null(), "{call} has no {value}: {cpu}");
        }
    }
    for path in [
        "/join/ratio_to_noop",
        "/reserve/ratio_to_noop",
        "/place_order/ratio_to_noop",
        "/redis_script_ceiling/rps",
        "/jetstream_ceiling/rps",
        "/claims/orders_per_s",
        "/claims/row_at_a_time_per_s",
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
        "/hold_bytes/live",
        "/hold_bytes/live_admitted",
        "/hold_bytes/placed",
        "/hold_bytes/placed_claimed",
        "/load_stock/seconds",
        "/rebuild_seconds/seconds",
        "/rebuild_seconds/backlog/seconds",
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
        "/claims/faster_than_intake",
        "/claims/acceptance_to_claim_rps/done",
        "/claims/acceptance_to_claim_p99_ms",
        "/watch_order/streams",
        "/watch_order/changes",
        "/watch_order/delay_p50_ms",
        "/watch_order/delay_p99_ms",
        "/queue_durability/r1/publish/rps",
        "/queue_durability/r1/place_order/rps",
        "/queue_durability/r1_sync_always/publish/p99_us",
        "/queue_durability/r1_sync_always/place_order/ratio_to_r1",
        "/queue_durability/r3/publish/ratio_to_r1",
        "/queue_durability/r3/place_order/p50_us",
    ] {
        above_zero(path);
    }
    assert_eq!(figures["overload"]["rejects_without_retry_info"], 0);
    for (figure, fields) in [
        ("overload", ["rejects", "rejected_p99_ms", "not_durable"]),
        ("watch_order", ["bytes_per_stream", "idle_cpu_s", "idle_cpu_s_without"]),
    ] {
        for field in fields {
            assert!(!figures[figure][field].is_null(), "{figure} has no {field}: {figures:#}");
        }
    }
    assert_eq!(figures["rounds"], serde_json::json!({ "asked": 1, "done": 1 }));
    assert_eq!(figures["orders"]["accepted"], figures["orders"]["recorded"]);
    let table = String::from_utf8_lossy(&output.stdout);
    for row in [
        "no-op",
        "Join",
        "Reserve",
        "PlaceOrder",
        "Redis",
        "JetStream",
        "Claims",
        "rebuilding",
        "watching",
    ] {
        assert!(table.contains(row), "no {row} in {table}");
    }
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
        (["--only", "everything"], "place_order"),
    ] {
        let (output, figures) = bench(&args);
        assert!(!output.status.success(), "{args:?} is accepted");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{args:?}: {error}");
        assert!(figures.is_none(), "{args:?} wrote figures");
    }
}
