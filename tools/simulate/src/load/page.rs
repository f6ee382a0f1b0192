//! `load.html`: the report as a page that needs nothing but itself.

use std::collections::BTreeSet;

use minijinja::{AutoEscape, Environment, context};
use serde_json::{Value, json};

use super::chart::{Chart, Line};
use crate::{
    crowd::{Call, QUANTILES},
    proof::Audit,
};

const TEMPLATE: &str = include_str!("load.html");
/// Reasons that have a line of their own; the others share one.
const REASONS: usize = 7;

/// The page of a report.
pub(super) fn page(report: &Value, audit: Option<&Audit>) -> anyhow::Result<String> {
    let mut templates = Environment::new();
    templates.set_auto_escape_callback(|_| AutoEscape::Html);
    templates.add_template("load", TEMPLATE)?;
    let mut charts = Vec::new();
    for (title, note, chart) in charts_of(report) {
        let names: Vec<&str> = chart.lines.iter().map(|line| line.name.as_str()).collect();
        charts.push(json!({ "title": title, "note": note, "names": names, "svg": chart.svg()? }));
    }
    let mut rows = Vec::new();
    for (table, words) in [
        ("latency_ms", ""),
        ("service_ms", ", from sending it"),
        ("with_retries_ms", ", with retries"),
        ("refused_ms", ", refused"),
    ] {
        let calls = Call::UNARY.iter().map(|call| call.name());
        let others = ["accepted_to_confirmed", "generator_lag"];
        let others = others.into_iter().filter(|_| table == "latency_ms");
        for call in calls.chain(others) {
            let latency = &report[table][call];
            let same = table != "latency_ms" && *latency == report["latency_ms"][call];
            if same || latency["count"].as_u64().unwrap_or_default() == 0 {
                continue;
            }
            let quantiles = QUANTILES.iter().map(|(name, _)| *name).chain(["max"]);
            let cells: Vec<String> = quantiles
                .map(|name| {
                    latency[name].as_f64().map_or("–".to_owned(), |ms| format!("{ms:.1}"))
                })
                .collect();
            let name = format!("{}{words}", call.replace('_', " "));
            rows.push(json!({ "name": name, "count": latency["count"], "cells": cells }));
        }
    }
    let promises: Vec<Value> = audit
        .into_iter()
        .flat_map(Audit::verdicts)
        .map(|(name, words, held, violations)| {
            json!({ "name": name, "words": words, "held": held, "violations": violations })
        })
        .collect();
    let page = templates.get_template("load")?.render(context! {
        report => report,
        charts => charts,
        latencies => rows,
        promises => promises,
    })?;
    Ok(page)
}

fn charts_of(report: &Value) -> Vec<(&'static str, &'static str, Chart)> {
    let empty = Vec::new();
    let samples = report["timeline"].as_array().unwrap_or(&empty);
    let at = |sample: &Value| sample["t_seconds"].as_f64().unwrap_or_default();
    let marks = report["load"]["phase_ends_seconds"].as_array().into_iter().flatten();
    let marks: Vec<f64> = marks.filter_map(Value::as_f64).collect();
    let length = samples.last().map(at).unwrap_or_default();
    let chart = |lines, logarithmic| Chart { lines, marks: marks.clone(), length, logarithmic };
    let line = |name: &str, value: &dyn Fn(&Value) -> Option<f64>| Line {
        name: name.to_owned(),
        points: samples.iter().map(|sample| (at(sample), value(sample))).collect(),
    };
    // What grew since the sample before, per second.
    let per_second = |name: &str, value: &dyn Fn(&Value) -> f64| Line {
        name: name.to_owned(),
        points: samples
            .windows(2)
            .filter(|pair| at(&pair[1]) - at(&pair[0]) > 0.1)
            .map(|pair| {
                let grown = value(&pair[1]) - value(&pair[0]);
                (at(&pair[1]), Some(grown / (at(&pair[1]) - at(&pair[0]))))
            })
            .collect(),
    };
    let count = |sample: &Value, name: &str| sample[name].as_f64().unwrap_or_default();
    let latency = |call: &'static str, quantile: &'static str| {
        move |sample: &Value| sample["latency_ms"][call][quantile].as_f64()
    };
    let mut charts = vec![
        (
            "Latency",
            "milliseconds from when a call was due, calls that succeeded; steps are powers of ten",
            chart(
                vec![
                    line("place order p99", &latency("place_order", "p99")),
                    line("place order p50", &latency("place_order", "p50")),
                    line("begin checkout p99", &latency("begin_checkout", "p99")),
                    line("join p99", &latency("join", "p99")),
                    line("join p50", &latency("join", "p50")),
                ],
                true,
            ),
        ),
        (
            "Buyers",
            "so far",
            chart(
                ["admitted", "accepted", "confirmed", "sold_out"]
                    .into_iter()
                    .map(|name| {
                        let words = match name {
                            "sold_out" => "told that everything is sold",
                            other => other,
                        };
                        line(words, &|sample| sample[name].as_f64())
                    })
                    .collect(),
                false,
            ),
        ),
        (
            "Arrivals",
            "per second; dropped are those who found too many inside",
            chart(
                vec![
                    line("asked for", &|sample| sample["asked_per_second"].as_f64()),
                    per_second("came", &|sample| {
                        count(sample, "scheduled") - count(sample, "dropped")
                    }),
                    per_second("dropped", &|sample| count(sample, "dropped")),
                ],
                false,
            ),
        ),
        (
            "Inside",
            "visits under way, and those of them who wait in line",
            chart(
                vec![
                    line("inside", &|sample| sample["in_flight"].as_f64()),
                    line("waiting", &|sample| sample["waiting"].as_f64()),
                ],
                false,
            ),
        ),
    ];
    let reasons = main_reasons(report);
    let mut lines: Vec<Line> = reasons
        .iter()
        .map(|reason| {
            per_second(reason, &|sample| sample["rejects"][reason].as_f64().unwrap_or_default())
        })
        .collect();
    let others = |sample: &Value| {
        let rejects = sample["rejects"].as_object().into_iter().flatten();
        let others = rejects.filter(|(reason, _)| !reasons.contains(*reason));
        others.filter_map(|(_, count)| count.as_f64()).sum::<f64>()
    };
    if samples.last().is_some_and(|last| others(last) > 0.0) {
        lines.push(per_second("others", &others));
    }
    charts.push(("Refusals", "per second, by reason", chart(lines, false)));
    let processes = samples.first().and_then(|sample| sample["memory_bytes"].as_object());
    let lines: Vec<Line> = processes
        .into_iter()
        .flat_map(|processes| processes.keys())
        .map(|name| line(name, &|sample| Some(sample["memory_bytes"][name].as_f64()? / 1e6)))
        .collect();
    if !lines.is_empty() {
        charts.push(("Memory", "resident, in megabytes", chart(lines, false)));
    }
    charts
}

/// The most frequent reasons.
fn main_reasons(report: &Value) -> BTreeSet<String> {
    let reasons = report.pointer("/rejects/by_reason").and_then(Value::as_object);
    let mut reasons: Vec<(&String, u64)> = reasons
        .into_iter()
        .flatten()
        .map(|(reason, count)| (reason, count.as_u64().unwrap_or_default()))
        .collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons.into_iter().take(REASONS).map(|(reason, _)| reason.clone()).collect()
}
