//! `flashsale load`.

use flashsale_testbed::eventually;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::command::{Flashsale, Said, flashsale, own_home};

/// A load of a few seconds. Latencies have no thresholds, because other tests run beside it.
const SHORT: [&str; 12] = [
    "load",
    "--schedule",
    "ramp:1s:0-30,spike:1s:60,plateau:2s:30",
    "--quantity",
    "10",
    "--admissions",
    "40",
    "--connections",
    "4",
    "--seed",
    "11",
    "--threshold=place_order.p99<30s",
];

fn assert_page_loads_nothing(page: &str) {
    for outside in ["http://", "https://", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "the page has {outside:?} in it");
    }
    assert!(page.contains("<svg"), "the page has no charts");
}

/// A shop's export that is too large for one message: nearly all of it is descriptions.
fn large_export() -> String {
    let mut export = String::from(
        "Handle,Title,Body (HTML),Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,Variant Price\n",
    );
    let body = "x".repeat(700 * 1_024);
    for number in 1..=6 {
        export += &format!("tee-{number},Tee {number},{body},TEE-{number},shopify,30,38.00\n");
    }
    assert!(export.len() > 4 * 1_024 * 1_024, "{} bytes", export.len());
    export
}

#[test]
fn short_load_writes_a_full_report() {
    let files = own_home();
    let export = files.path().join("tees.csv");
    std::fs::write(&export, large_export()).unwrap();
    let of_export = ["--export", export.to_str().unwrap(), "--mix", "buy=60,bot=20,cancel=20"];
    let mut load = Flashsale::start(&[&SHORT[..], &of_export].concat());
    let (status, said) = load.end();
    let report = load.json("load.json");
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(report["passed"], true);
    assert_eq!(report["ended_early"], Value::Null);
    assert_eq!(report["load"]["seed"], 11);
    let scheduled = report["arrivals"]["scheduled"].as_u64().unwrap();
    // 135 are expected; the exact number depends on the seed.
    assert!((90..180).contains(&scheduled), "{scheduled}");
    assert_eq!(report["arrivals"]["ended"], scheduled);
    assert_eq!(report["arrivals"]["dropped"], 0);
    for call in ["join", "begin_checkout", "place_order"] {
        for quantile in ["p50", "p90", "p95", "p99", "p99_9", "max"] {
            for kind in ["latency_ms", "service_ms", "with_retries_ms"] {
                assert!(report[kind][call][quantile].is_number(), "{kind} {call} {quantile}");
            }
        }
    }
    assert!(report["accepted"]["count"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(report["accepted"]["lost"], 0);
    // There were bots, and they were refused.
    assert!(report["rejects"]["by_reason"]["ADMISSION_REQUIRED"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(report["rejects"]["untyped"], 0);
    for promise in ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I9"] {
        assert_eq!(report["audit"]["invariants"][promise], true, "{promise}: {said}");
    }
    let timeline = report["timeline"].as_array().unwrap();
    assert!(timeline.len() >= 4);
    assert!(timeline.iter().all(|sample| sample["memory_bytes"]["services"].is_number()));
    assert!(said.contains("✓ dropped<1%"), "{said}");
    assert_page_loads_nothing(&std::fs::read_to_string(load.home().join("load.html")).unwrap());
    assert_eq!(load.left_running(), Vec::<String>::new());
}

#[tokio::test]
async fn load_reports_broken_threshold_and_death() {
    let mut up = Flashsale::start(&["up", "--card-retry-ms", "2000"]);
    let about = eventually("up has written down where it is", || {
        let file = up.home().join("up.json");
        async move { serde_json::from_str::<Value>(&std::fs::read_to_string(file).ok()?).ok() }
    })
    .await;
    let of = |name: &str| about[name].as_str().unwrap().to_owned();
    let addr = of("grpc");

    let mut args = SHORT.to_vec();
    args.extend(["--threshold", "join.p50<1us", "--addr", &addr]);
    let said = up.say(&args);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("✗ join.p50<1us"), "{said:?}");
    assert!(said.out.contains("Nothing was audited"), "{said:?}");

    let (redis, nats, postgres) = (of("redis"), of("nats"), of("postgres"));
    let mut args = SHORT.to_vec();
    args.extend(["--redis-url", &redis, "--nats-url", &nats, "--postgres-url", &postgres]);
    args.extend(["--addr", &addr, "--json"]);
    let said = up.say(&args);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.json()["audit_passed"], true);

    // Of another folder: the key is in a file that names the address.
    let key_file = std::path::Path::new(&of("folder")).join("keys/shop.toml");
    let key_file = key_file.to_str().unwrap();
    let mut load = Flashsale::start_with(
        &["load", "--schedule", "plateau:2m:5", "--addr", &addr],
        &[("FLASHSALE_KEY_FILE", key_file)],
    );
    load.wait_for("inside");
    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = load.end();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("nobody answers at"), "{said}");
    let report = load.json("load.json");
    assert!(report["ended_early"].as_str().unwrap().contains("nobody answers"), "{report}");
    assert_eq!(report["passed"], false);
    assert_page_loads_nothing(&std::fs::read_to_string(load.home().join("load.html")).unwrap());
    up.end();
}

#[test]
fn invalid_load_arguments_exit_with_2() {
    let home = own_home();
    for (args, part) in [
        (
            ["--schedule", "ramp:10s:0-100,jump:5s:600"],
            "\"jump\" is none of ramp, spike and plateau",
        ),
        (["--schedule", "plateau:ten:300"], "\"ten\" is not a duration"),
        (["--mix", "buy=60,thief=40"], "no \"thief\" buyers"),
        (["--mix", "buy=60,retry=10"], "add up to 70 percent"),
        (["--threshold", "place_order.p98<100ms"], "\"p98\" is none of p50"),
        (["--threshold", "place_order.p99<100"], "\"100\" is not a time"),
        (["--peak", "0"], "--peak must be above 0"),
        (["--connections", "0"], "--connections must be 1 to 1024"),
        (["--addr", "http://192.0.2.1:50051"], "add --allow-remote"),
        (["--sale", "7"], "go with --addr"),
    ] {
        let said = Said::by(&mut flashsale(home.path(), &[&["load"][..], &args].concat()));
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(part), "{args:?}: {said:?}");
    }
    assert!(!home.path().join("load.json").exists(), "nothing was loaded");
}
