//! What a run has proved: `report.json` and the tables for people. The figures are the auditor's,
//! from the stores; only latencies and what buyers tried are the crowd's own.

use std::{path::PathBuf, time::Duration};

use flashsale_cli::{client::money, output::table};
use flashsale_proto::sale::Sale;
use flashsale_testbed::Home;
use serde_json::{Value, json};

use crate::{
    RunArgs,
    crowd::{Call, Crowd},
    files::write_whole,
    proof::Audit,
};

/// A finished run.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) args: &'a RunArgs,
    pub(crate) seed: u64,
    pub(crate) sale: &'a Sale,
    pub(crate) took: Duration,
    pub(crate) settled: bool,
    pub(crate) crowd: &'a Crowd,
    pub(crate) audit: &'a Audit,
    pub(crate) versions: &'a [(&'static str, String)],
    pub(crate) provider: &'static str,
}

impl Report<'_> {
    /// Whether the run has proved what it set out to prove.
    pub(crate) fn passed(&self) -> bool {
        self.audit.passed
            && self.settled
            && self.crowd.failures().is_empty()
            && !confirmed_none(&self.audit.value)
    }

    /// `report.json`; `docs/report.md` says what each field means.
    pub(crate) fn value(&self) -> Value {
        let mut value = self.audit.value.clone();
        value["passed"] = json!(self.passed());
        value["at_rest"] = json!(self.settled);
        value["took_seconds"] = json!(self.took.as_secs_f64());
        value["run"] = json!({
            "seed": self.seed,
            "buyers": self.args.buyers,
            "arrivals_per_second": self.args.rate,
            "admissions_per_second": self.args.stack.admissions,
            "hold_seconds": self.args.stack.hold_seconds,
            "items": self.sale.items.len(),
            "provider": self.provider,
        });
        let measures = &self.crowd.measures;
        // From the sending, refusals included.
        let latency = |call| {
            measures.of(call).map(|latency| latency.service.value_with(&latency.refused_service))
        };
        value["latency_ms"] = json!({
            "join": latency(Call::Join),
            "reserve": latency(Call::BeginCheckout),
            "place_order": latency(Call::PlaceOrder),
            "accepted_to_confirmed": measures.accepted_to_confirmed.value(),
        });
        value["buyers"] = self
            .crowd
            .counters
            .all()
            .into_iter()
            .map(|(name, count)| (name.to_owned(), json!(count)))
            .collect();
        value["buyer_failures"] = json!(self.crowd.failures());
        value["versions"] = self
            .versions
            .iter()
            .map(|(name, version)| ((*name).to_owned(), json!(version)))
            .collect();
        value
    }

    /// The tables.
    pub(crate) fn human(&self) -> String {
        let value = self.value();
        let number = |path: &str| {
            value.pointer(path).map(ToString::to_string).unwrap_or_else(|| "?".to_owned())
        };
        let captured = self.amount(&value, "/payments/captured_minor");
        let refunded = self.amount(&value, "/payments/refunded_minor");
        let sale = table(
            &["the sale", ""],
            &[1],
            [
                ("units on sale", number("/allotted")),
                ("units sold", number("/sold")),
                ("units sold too many", number("/oversold")),
                ("units lost", number("/leaked_units")),
                ("orders accepted", number("/orders/accepted")),
                ("orders confirmed", number("/orders/confirmed")),
                ("orders declined by the card", number("/orders/declined")),
                ("orders cancelled", number("/orders/cancelled")),
                ("orders still open", number("/orders/open")),
                ("money taken", captured),
                ("money given back", refunded),
                ("charged twice", number("/payments/double_captures")),
                ("mails: confirmation", number("/mails/confirmation")),
                ("mails: failure", number("/mails/failure")),
            ]
            .into_iter()
            .map(|(what, how_much)| vec![what.to_owned(), how_much]),
        );
        let crowd = table(
            &["the buyers", ""],
            &[1],
            [
                ("came", "/buyers/arrived"),
                ("admitted", "/buyers/admitted"),
                ("sent their order again and got the same one", "/buyers/replayed"),
                ("left a hold behind", "/buyers/abandoned"),
                ("stopped at their limit", "/buyers/limited"),
                ("told that everything is sold", "/buyers/sold_out"),
            ]
            .into_iter()
            .map(|(what, path)| vec![what.to_owned(), number(path)]),
        );
        let latency = table(
            &["latency (ms)", "calls", "p50", "p95", "p99"],
            &[1, 2, 3, 4],
            ["join", "reserve", "place_order", "accepted_to_confirmed"].into_iter().map(|name| {
                let mut row =
                    vec![name.replace('_', " "), number(&format!("/latency_ms/{name}/count"))];
                row.extend(["p50", "p95", "p99"].into_iter().map(|quantile| {
                    let path = format!("/latency_ms/{name}/{quantile}");
                    value
                        .pointer(&path)
                        .and_then(Value::as_f64)
                        .map_or("?".to_owned(), |ms| format!("{ms:.1}"))
                }));
                row
            }),
        );
        let mut proof = self.audit.human();
        if !self.settled {
            proof.push_str("\n  ✗ the sale did not come to rest in time");
        }
        if confirmed_none(&self.audit.value) {
            proof.push_str("\n  ✗ orders were placed, and none of them was confirmed");
        }
        for failure in self.crowd.failures() {
            proof.push_str(&format!("\n  ✗ {failure}"));
        }
        format!("\n{sale}\n\n{crowd}\n\n{latency}\n\n{proof}")
    }

    fn amount(&self, value: &Value, path: &str) -> String {
        let minor = value.pointer(path).and_then(Value::as_i64).unwrap_or_default();
        let currency = self
            .sale
            .settings
            .as_ref()
            .map(|settings| settings.currency.as_str())
            .unwrap_or_default();
        money(Some(&flashsale_service::wire::money(minor, currency)))
    }
}

/// Whether orders were placed and none of them was confirmed. Every invariant can hold then, and yet
/// nothing is shown but that the payment provider takes no money.
fn confirmed_none(audit: &Value) -> bool {
    let orders = |name: &str| audit.pointer(&format!("/orders/{name}")).and_then(Value::as_i64);
    orders("accepted") > Some(0) && orders("confirmed") == Some(0)
}

/// Writes `.flashsale/report.json`, whole or not at all.
pub(crate) fn write(value: &Value) -> anyhow::Result<PathBuf> {
    let home = Home::locate()?;
    let path = home.path().join("report.json");
    write_whole(&path, &format!("{value:#}\n"))?;
    Ok(path)
}
