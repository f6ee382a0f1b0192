//! Whole sales.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use nix::sys::signal::{Signal, kill};

use crate::command::{Flashsale, own_home, program, read_until};

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

#[test]
fn run_without_a_confirmed_order_fails() {
    let home = own_home();
    let mut standin = Command::new(program("stripe-standin"))
        .args(["--rate-per-endpoint", "1000", "--rate-total", "1000", "--log"])
        .arg(home.path().join("stripe.jsonl"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = read_until(&mut BufReader::new(standin.stdout.take().unwrap()), "listening");
    let address = said.trim().rsplit_once("http://").unwrap().1.to_owned();
    let _standin = EndOnDrop(standin);

    let args = ["run", "--buyers", "30", "--rate", "60", "--quantity", "4", "--hold-seconds", "6"];
    let url = declining(address);
    let env = [("STRIPE_SECRET_KEY", "sk_test_of_the_tests"), ("STRIPE_BASE_URL", url.as_str())];
    let mut run = Flashsale::start_with(&args, &env);
    let (status, said) = run.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("orders were placed, and none of them was confirmed"), "{said}");
    let report = run.json("report.json");
    assert_eq!(report["passed"], false);
    assert!(report["orders"]["accepted"].as_i64() > Some(0), "{said}");
    for invariant in ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I9"] {
        assert_eq!(report["invariants"][invariant], true, "{invariant}: {said}");
    }
}

struct EndOnDrop(Child);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Another address of the provider, where every card is declined, whichever the buyer chose.
fn declining(provider: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, provider) = (connection.unwrap(), provider.clone());
            // A caller that is gone has no use for the answer.
            thread::spawn(move || forward(&connection, &provider).ok());
        }
    });
    url
}

/// Forwards one request of a connection and its answer.
fn forward(connection: &TcpStream, provider: &str) -> std::io::Result<()> {
    let mut from = BufReader::new(connection);
    let mut lines = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "\r\n" => break,
            "content-length" => length = line[name.len() + 1..].trim().parse().unwrap(),
            "connection" => {}
            _ => lines.push(line),
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let body = String::from_utf8(body).unwrap();
    let declined = |pair: &str| match pair.split_once('=') {
        Some(("payment_method", _)) => "payment_method=pm_card_visa_chargeDeclined".to_owned(),
        _ => pair.to_owned(),
    };
    let body = body.split('&').map(declined).collect::<Vec<_>>().join("&");
    let mut to = TcpStream::connect(provider)?;
    let head = lines.concat();
    let length = body.len();
    write!(to, "{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}")?;
    std::io::copy(&mut to, &mut &*connection)?;
    Ok(())
}
