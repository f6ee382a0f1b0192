//! What a load has shown: `load.json`, and the tables for people. `docs/load.md` says what each
//! field means.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flashsale_cli::output::table;
use flashsale_proto::sale::Sale;
use serde_json::{Value, json};

use super::{args::LoadArgs, schedule::Schedule, threshold::Threshold, traffic::Traffic};
use crate::{
    crowd::{Call, CallLatency, Latency, QUANTILES, Rejects},
    proof::Audit,
};

/// A finished load.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) args: &'a LoadArgs,
    pub(super) schedule: &'a Schedule,
    pub(super) seed: u64,
    pub(super) target: &'a str,
    pub(super) own_stack: bool,
    pub(super) sale: &'a Sale,
    pub(super) took: Duration,
    pub(super) settled: bool,
    pub(super) traffic: &'a Arc<Traffic>,
    pub(super) timeline: Vec<Value>,
    pub(super) load_average: Option<f64>,
    pub(super) audit: Option<&'a Audit>,
    /// Whether there was something to audit.
    pub(super) audit_meant: bool,
    pub(super) ended_early: Option<&'a str>,
    pub(super) versions: Vec<(&'static str, String)>,
    pub(super) thresholds: Vec<Threshold>,
}

impl Report<'_> {
    /// `load.json`.
    pub(super) fn value(&self) -> Value {
        let crowd = &self.traffic.crowd;
        let rejects = crowd.measures.rejects();
        let mut value = json!({
            "ended_early": self.ended_early,
            "took_seconds": self.took.as_secs_f64(),
            "at_rest": self.settled,
            "load": self.load(),
            "machine": {
                "cores": std::thread::available_parallelism().map(usize::from).ok(),
                "load_average_before": self.load_average,
            },
            "arrivals": self.arrivals(),
            "accepted": self.accepted(),
            "rejects": rejects_value(&rejects),
            "buyers": crowd.counters.all().into_iter()
                .map(|(name, count)| (name.to_owned(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
            "buyer_failures": crowd.failures(),
            "memory": memory(&self.timeline),
            "cpu_seconds": cpu(&self.timeline),
            "timeline": self.timeline,
            "audit": self.audit.map(|audit| &audit.value),
            "audit_passed": self.audit.map(|audit| audit.passed),
            "audit_broken": self.audit.map(|audit| {
                audit.verdicts().filter(|(_, _, held, _)| *held != Some(true)).count()
            }),
            "not_audited": self.not_audited(),
            "versions": self.versions.iter()
                .map(|(name, version)| ((*name).to_owned(), json!(version)))
                .collect::<serde_json::Map<_, _>>(),
        });
        self.add_latencies(&mut value);
        let verdicts: Vec<_> =
            self.thresholds.iter().map(|threshold| threshold.verdict(&value)).collect();
        let held = verdicts.iter().all(|verdict| verdict.held);
        value["thresholds"] = verdicts
            .into_iter()
            .map(|verdict| {
                json!({
                    "threshold": verdict.text, "measured": verdict.measured,
                    "words": verdict.words, "held": verdict.held,
                })
            })
            .collect();
        let audited = self.audit.map_or(!self.audit_meant, |audit| audit.passed);
        value["passed"] = json!(held && audited && self.ended_early.is_none());
        value
    }

    fn load(&self) -> Value {
        let shop = self.args.stack();
        let asked = self.args.peak_and_factor();
        let room = self.sale.settings.as_ref().and_then(|settings| settings.room.as_ref());
        json!({
            "schedule": self.schedule.to_string(),
            "schedule_seconds": self.schedule.length().as_secs_f64(),
            "phase_ends_seconds": self.schedule.boundaries(),
            "expected_arrivals": self.schedule.expected(),
            "highest_per_second": self.schedule.highest(),
            "peak": asked.map(|(peak, _)| peak),
            "factor": asked.map(|(_, factor)| factor),
            "mix": self.args.mix.to_string(),
            "seed": self.seed,
            "connections": self.args.connections,
            "max_in_flight": self.args.max_in_flight,
            "target": self.target.trim_start_matches("http://"),
            "own_stack": self.own_stack,
            "sale_id": self.sale.sale_id,
            "items": self.sale.items.len(),
            "units": self.sale.items.iter().map(|item| item.quantity).sum::<i64>(),
            "admissions_per_second": room.map(|room| room.admissions_per_second),
            "hold_seconds": self.sale.settings.as_ref()
                .and_then(|settings| settings.hold_ttl.as_ref()).map(|ttl| ttl.seconds)
                .unwrap_or_else(|| i64::try_from(shop.hold_seconds).unwrap_or(i64::MAX)),
            "provider_per_second": self.own_stack.then_some(self.args.provider_rate),
            "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        })
    }

    fn arrivals(&self) -> Value {
        let traffic = self.traffic;
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (scheduled, dropped) = (of(&traffic.scheduled), of(&traffic.dropped));
        json!({
            "scheduled": scheduled,
            "dropped": dropped,
            "started": scheduled - dropped,
            "ended": of(&traffic.ended),
            "unfinished": (scheduled - dropped).saturating_sub(of(&traffic.ended)),
            "turned_away": of(&traffic.turned_away),
            "failed": of(&traffic.crowd.counters.failed),
            "most_in_flight": self.timeline.iter().filter_map(|sample| sample["in_flight"].as_u64()).max(),
        })
    }

    fn accepted(&self) -> Value {
        let counters = &self.traffic.crowd.counters;
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (accepted, confirmed) = (of(&counters.accepted), of(&counters.confirmed));
        let ended = confirmed + of(&counters.declined) + of(&counters.cancelled);
        // Each violation of I2 is an order that was lost, or had not exactly one end.
        let lost = self.audit.and_then(|audit| {
            let (_, _, held, violations) = audit.verdicts().find(|(name, ..)| *name == "I2")?;
            held.map(|held| if held { 0 } else { violations.len().max(1) })
        });
        json!({
            "count": accepted,
            "pending": of(&counters.pending),
            "confirmed": confirmed,
            "ended": ended,
            "unfinished": accepted.saturating_sub(ended),
            "lost": lost,
        })
    }

    fn add_latencies(&self, value: &mut Value) {
        let measures = &self.traffic.crowd.measures;
        type Of = fn(&CallLatency) -> &Latency;
        let tables: [(&str, Of); 4] = [
            ("latency_ms", |call| &call.response),
            ("service_ms", |call| &call.service),
            ("with_retries_ms", |call| &call.with_retries),
            ("refused_ms", |call| &call.refused_response),
        ];
        for (table, of) in tables {
            for call in Call::UNARY {
                if let Some(latency) = measures.of(call) {
                    value[table][call.name()] = of(latency).value();
                }
            }
        }
        value["latency_ms"]["accepted_to_confirmed"] = measures.accepted_to_confirmed.value();
        value["latency_ms"]["generator_lag"] = self.traffic.lag.value();
    }

    fn not_audited(&self) -> Option<&'static str> {
        match (self.audit, self.audit_meant) {
            (Some(_), _) => None,
            (None, true) => Some("the load did not come to its end"),
            (None, false) => Some(
                "the stores' addresses were not given: --redis-url, --nats-url and --postgres-url",
            ),
        }
    }

    /// The tables.
    pub(super) fn human(&self, value: &Value) -> String {
        let mut text = format!("\n{}\n\n{}", self.latency_table(value), traffic_table(value));
        let rejects = value.pointer("/rejects/by_reason").and_then(Value::as_object);
        if let Some(rejects) = rejects.filter(|rejects| !rejects.is_empty()) {
            let rows =
                rejects.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]);
            text.push_str(&format!("\n\n{}", table(&["refusals", ""], &[1], rows)));
        }
        for sample in strings(value, "/rejects/samples") {
            text.push_str(&format!("\n  {sample}"));
        }
        text.push_str("\n\nThresholds:");
        for threshold in value["thresholds"].as_array().into_iter().flatten() {
            let mark = if threshold["held"] == true { "✓" } else { "✗" };
            let of = |name: &str| threshold[name].as_str().unwrap_or_default().to_owned();
            text.push_str(&format!("\n  {mark} {}  ({})", of("threshold"), of("words")));
        }
        for failure in strings(value, "/buyer_failures") {
            text.push_str(&format!("\n  {failure}"));
        }
        match (self.audit, self.not_audited()) {
            (Some(audit), _) => text.push_str(&format!("\n\n{}", audit.human())),
            (None, why) => {
                text.push_str(&format!("\n\nNothing was audited: {}", why.unwrap_or_default()));
            }
        }
        text
    }

    fn latency_table(&self, value: &Value) -> String {
        let rows = [
            ("latency_ms", "join", "join"),
            ("latency_ms", "begin_checkout", "begin checkout"),
            ("latency_ms", "place_order", "place order"),
            ("service_ms", "place_order", "place order, from sending it"),
            ("with_retries_ms", "place_order", "place order, with retries"),
            ("latency_ms", "cancel_order", "cancel order"),
            ("latency_ms", "accepted_to_confirmed", "accepted to confirmed"),
            ("latency_ms", "generator_lag", "lag of the load itself"),
        ];
        let columns: Vec<&str> = QUANTILES.iter().map(|(name, _)| *name).chain(["max"]).collect();
        let mut header = vec!["latency (ms)", "calls"];
        header.extend(columns.iter().map(|name| if *name == "p99_9" { "p99.9" } else { name }));
        let numbers: Vec<usize> = (1..header.len()).collect();
        table(
            &header,
            &numbers,
            rows.into_iter().map(|(kind, call, words)| {
                let latency = &value[kind][call];
                let mut row = vec![words.to_owned(), latency["count"].to_string()];
                row.extend(columns.iter().map(|name| {
                    latency[*name].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.1}"))
                }));
                row
            }),
        )
    }
}

fn traffic_table(value: &Value) -> String {
    let rows = [
        ("buyers who were to come", "/arrivals/scheduled"),
        ("dropped, as too many were inside", "/arrivals/dropped"),
        ("inside at once, at most", "/arrivals/most_in_flight"),
        ("admitted", "/buyers/admitted"),
        ("orders accepted", "/accepted/count"),
        ("orders confirmed", "/accepted/confirmed"),
        ("told that everything is sold", "/buyers/sold_out"),
        ("turned away by an overloaded service", "/arrivals/turned_away"),
        ("kept from finishing by a fault", "/arrivals/failed"),
        ("still inside at the end", "/arrivals/unfinished"),
    ];
    let rows = rows.into_iter().map(|(words, path)| {
        vec![words.to_owned(), value.pointer(path).map(ToString::to_string).unwrap_or_default()]
    });
    table(&["the buyers", ""], &[1], rows)
}

fn rejects_value(rejects: &Rejects) -> Value {
    let mut by_call: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for ((call, reason), count) in &rejects.by {
        by_call.entry(call.name()).or_default().insert(reason, *count);
    }
    json!({
        "total": rejects.total(),
        "untyped": rejects.untyped,
        "without_retry_info": rejects.without_retry_info,
        "by_reason": rejects.by_reason(),
        "by_call": by_call,
        "samples": rejects.samples,
    })
}

/// What the processes' memory did.
fn memory(timeline: &[Value]) -> Value {
    let mut memory = json!({});
    // A visit takes memory, which allocators keep when it has ended: what counts is what is added
    // when no more buyers come in.
    let fullest =
        timeline.iter().enumerate().max_by_key(|(_, sample)| sample["in_flight"].as_u64());
    let fullest = fullest.map(|(index, _)| index).unwrap_or_default();
    for name in processes(timeline) {
        let all: Vec<Option<u64>> =
            timeline.iter().map(|sample| sample["memory_bytes"][name].as_u64()).collect();
        let known = || all.iter().flatten().copied();
        let (then, end) = (all.get(fullest).copied().flatten(), known().next_back());
        memory[name] = json!({
            "start_bytes": known().next(),
            "peak_bytes": known().max(),
            "end_bytes": end,
            "growth_bytes": end.zip(then).map(|(end, then)| end as f64 - then as f64),
        });
    }
    memory
}

/// Seconds of processor time that each process took from the first sample to the last.
fn cpu(timeline: &[Value]) -> Value {
    let mut cpu = json!({});
    for name in timeline
        .first()
        .and_then(|first| first["cpu_seconds"].as_object())
        .into_iter()
        .flat_map(|all| all.keys())
    {
        let mut all = timeline.iter().filter_map(|sample| sample["cpu_seconds"][name].as_f64());
        let first = all.next();
        let last = all.next_back();
        cpu[name] = json!(first.zip(last).map(|(first, last)| last - first));
    }
    cpu
}

fn processes(timeline: &[Value]) -> impl Iterator<Item = &String> {
    let first = timeline.first().and_then(|sample| sample["memory_bytes"].as_object());
    first.into_iter().flat_map(|names| names.keys())
}

fn strings<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a str> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// What else the machine had to do, as the average of the last minute.
pub(super) fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
