//! Whole sales.

use nix::sys::signal::{Signal, kill};

use crate::command::Flashsale;

#[test]
fn run_leads_from_export_to_audit() {
    let mut run = Flashsale::start(&[
        "run",
        "--buyers",
        "150",
        "--rate",
        "75",
        "--quantity",
        "8",
        "--hold-seconds",
        "6",
    ]);
    let (status, said) = run.end();
    assert!(status.success(), "{said}");
    let report = run.json("report.json");
    for invariant in ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I9"] {
        assert_eq!(report["invariants"][invariant], true, "{invariant}: {said}");
    }
    for zero in ["/oversold", "/leaked_units", "/payments/double_captures", "/orders/open"] {
        assert_eq!(
            report.pointer(zero).and_then(serde_json::Value::as_i64),
            Some(0),
            "{zero}: {said}"
        );
    }
    assert_eq!(report["allotted"], 8 * 12);
    assert!(report["sold"].as_i64().unwrap() > 0, "{said}");
    assert_eq!(report["orders"]["confirmed"], report["payments"]["captures"]);
    assert_eq!(report["orders"]["confirmed"], report["mails"]["confirmation"]);
    for name in ["join", "reserve", "place_order", "accepted_to_confirmed"] {
        for quantile in ["p50", "p95", "p99"] {
            assert!(report["latency_ms"][name][quantile].is_number(), "{name}.{quantile}");
        }
    }
    assert_eq!(run.left_running(), Vec::<String>::new());
}

#[test]
fn interrupt_stops_everything() {
    let mut run = Flashsale::start(&["run", "--buyers", "2000", "--rate", "50"]);
    run.wait_for("is open");
    kill(run.pid(), Signal::SIGINT).unwrap();
    let (status, _) = run.end();
    assert_eq!(status.code(), Some(1), "an interrupted run has proved nothing");
    assert!(!run.home().join("report.json").exists());
    assert_eq!(run.left_running(), Vec::<String>::new());
}
