//! `bench.json` and the table. `docs/benchmarks.md` says what each figure means.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;
use comfy_table::{Cell, CellAlignment, Table, presets};
use flashsale_testbed::Home;
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;

use crate::{
    cpu::Seconds,
    drive::Measured,
    rounds::{
        ACCEPTANCE_TO_CLAIM, BREAKER, CLAIMS, Figures, HOLD_BYTES, IMPORT, JETSTREAM_CEILING, JOIN,
        LOAD_STOCK, NOOP, NOOP_EMPTY, NOOP_OPEN, OVERLOAD, PAYMENT_STACK, PLACE_ORDER,
        QUEUE_DURABILITY, REBUILD_SECONDS, REDIS_SCRIPT_CEILING, RESERVE, RESERVE_ADMITTED,
        RESERVE_CLUSTER, RESERVE_SALES, SCHEDULE, SETTLE, SOLD_OUT, WATCH_ORDER,
    },
};

/// The version of the file's fields: raised when one changes its meaning or goes.
const SCHEMA: u32 = 1;
/// The processes that are not ours to be counted as services.
const NOT_SERVICES: [&str; 4] = ["load_generator", "redis", "nats", "postgres"];

/// Writes the file and prints the table.
pub(crate) fn write(out: Option<&Path>, figures: &Figures) -> anyhow::Result<()> {
    let out = match out {
        Some(out) => out.to_owned(),
        None => Home::locate()?.path().join("bench.json"),
    };
    let report = report(figures)?;
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder)?;
    }
    // Written beside and renamed, so that no reader sees half of it.
    let beside = out.with_extension("partial");
    fs::write(&beside, format!("{report:#}\n"))
        .and_then(|()| fs::rename(&beside, &out))
        .with_context(|| format!("{} cannot be written", out.display()))?;
    // The reader may have gone, as `head` does: the file is there.
    write!(io::stdout(), "{}\nfigures: {}\n", table(&report), out.display()).ok();
    Ok(())
}

fn report(figures: &Figures) -> anyhow::Result<Value> {
    let Figures { settings, calls, claims, orders, masters, once, .. } = figures;
    let rounds_of = |name: &str| calls.get(name).map(Vec::as_slice).unwrap_or_default();
    let noop = rounds_of(NOOP);
    let mut report = json!({
        "schema": SCHEMA,
        "started_at": figures.started_at.format(&Rfc3339)?,
        "took_seconds": figures.took.as_secs_f64().round(),
        "versions": figures.versions.iter().map(|(name, version)| (*name, version)).collect::<BTreeMap<_, _>>(),
        "machine": { "cores": std::thread::available_parallelism()?.get() },
        "settings": {
            "in_flight": settings.in_flight,
            "connections": settings.connections,
            "seconds": settings.seconds,
        },
        "rounds": { "asked": settings.rounds, "done": figures.rounds },
        "orders": { "accepted": orders.0, "recorded": orders.1 },
    });
    for name in [
        NOOP,
        NOOP_OPEN,
        NOOP_EMPTY,
        JOIN,
        RESERVE,
        RESERVE_ADMITTED,
        PLACE_ORDER,
        SOLD_OUT,
        RESERVE_SALES,
        RESERVE_CLUSTER,
        REDIS_SCRIPT_CEILING,
        JETSTREAM_CEILING,
    ] {
        if rounds_of(name).is_empty() {
            continue;
        }
        let mut figure = figure(rounds_of(name));
        if name != NOOP && !noop.is_empty() {
            // Both of the same round: what else the machine did fell on both.
            let ratios = rounds_of(name).iter().zip(noop).map(|(this, noop)| this.rps / noop.rps);
            figure["ratio_to_noop"] = json!(rounded(median(ratios), 3));
            let ratios =
                rounds_of(name).iter().zip(noop).map(|(this, noop)| this.p99_us / noop.p99_us);
            figure["p99_ratio_to_noop"] = json!(rounded(median(ratios), 2));
        }
        report[name] = figure;
    }
    for (name, other, ratio) in [
        (NOOP, NOOP_OPEN, "ratio_to_noop_open"),
        (SOLD_OUT, RESERVE, "ratio_to_reserve"),
        (RESERVE_CLUSTER, RESERVE_SALES, "ratio_to_one_node"),
    ] {
        let (these, others) = (rounds_of(name), rounds_of(other));
        if !these.is_empty() && !others.is_empty() {
            let ratios = these.iter().zip(others).map(|(this, other)| this.rps / other.rps);
            report[name][ratio] = json!(rounded(median(ratios), 3));
        }
    }
    if !masters.is_empty() {
        let masters: Vec<Value> = masters.iter().map(|master| master.report()).collect();
        report[RESERVE_CLUSTER]["masters"] = json!(masters);
    }
    if !claims.is_empty() {
        let (batched, one): (Vec<f64>, Vec<f64>) =
            claims.iter().map(|(batched, one)| (batched.per_s, one.per_s)).unzip();
        let ratios = batched.iter().zip(&one).map(|(batched, one)| batched / one);
        // Both of the same round, as above.
        let faster =
            batched.iter().zip(rounds_of(PLACE_ORDER)).map(|(per_s, placing)| per_s / placing.rps);
        let faster = rounded(median(faster), 2);
        let cpu: Vec<&Seconds> = claims.iter().map(|(batched, _)| &batched.cpu_s_per_10k).collect();
        report[CLAIMS] = json!({
            "orders_per_s": median(batched.iter().copied()).round(),
            "row_at_a_time_per_s": median(one.iter().copied()).round(),
            "ratio": rounded(median(ratios), 1),
            "faster_than_intake": faster,
            "cpu_s_per_10k": cpu_of(&cpu),
            "rounds": {
                "orders_per_s": batched.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
                "row_at_a_time_per_s": one.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
            },
        });
    }
    for (name, figure) in once {
        // It belongs to the claims and is measured apart from them.
        if *name == ACCEPTANCE_TO_CLAIM {
            for (field, value) in figure.as_object().into_iter().flatten() {
                report[CLAIMS][field] = value.clone();
            }
        } else {
            report[*name] = figure.clone();
        }
    }
    Ok(report)
}

/// The medians of some rounds.
fn figure(rounds: &[Measured]) -> Value {
    let of = |value: fn(&Measured) -> f64| median(rounds.iter().map(value));
    let cpu: Vec<&Seconds> = rounds.iter().map(|round| &round.cpu_s_per_10k).collect();
    json!({
        "rps": of(|round| round.rps).round(),
        "p50_us": of(|round| round.p50_us),
        "p99_us": of(|round| round.p99_us),
        "cpu_s_per_10k": cpu_of(&cpu),
        "calls": rounds.iter().map(|round| round.calls).sum::<u64>(),
        "rounds": {
            "rps": rounds.iter().map(|round| round.rps.round()).collect::<Vec<_>>(),
            "p99_us": rounds.iter().map(|round| round.p99_us).collect::<Vec<_>>(),
        },
    })
}

/// The medians of the processor seconds of some rounds: of each store, of each service, of all
/// services and of all together.
pub(crate) fn cpu_of(rounds: &[&Seconds]) -> Value {
    let names: BTreeSet<&str> = rounds.iter().flat_map(|round| round.keys().copied()).collect();
    let used = |round: &Seconds, name: &str| round.get(name).copied().unwrap_or_default();
    let medians = |names: &[&str]| -> Map<String, Value> {
        let median_of = |name| rounded(median(rounds.iter().map(|round| used(round, name))), 3);
        names.iter().map(|name| ((*name).to_owned(), json!(median_of(name)))).collect()
    };
    let (others, services): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| NOT_SERVICES.contains(name));
    let mut cpu = medians(&others);
    if !services.is_empty() {
        let together =
            rounds.iter().map(|round| services.iter().map(|name| used(round, name)).sum());
        cpu.insert("services".to_owned(), json!(rounded(median(together), 3)));
        cpu.insert("each_service".to_owned(), Value::Object(medians(&services)));
    }
    let total = rounds.iter().map(|round| round.values().sum());
    cpu.insert("total".to_owned(), json!(rounded(median(total), 3)));
    Value::Object(cpu)
}

/// The middle of some values.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = values.len().checked_sub(1).and_then(|last| values.get(last / 2));
    (lower.copied().unwrap_or(f64::NAN) + upper) / 2.0
}

/// A figure to so many digits.
pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn table(report: &Value) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "",
        "a second",
        "of no-op",
        "p50 µs",
        "p99 µs",
        "CPU s / 10,000",
        "generator",
        "services",
        "redis",
        "nats",
        "postgres",
    ]);
    let text = |value: &Value| match value.as_f64() {
        Some(number) if number.fract() == 0.0 => format!("{number:.0}"),
        Some(number) if number < 0.005 => "0".to_owned(),
        Some(number) => format!("{number:.2}"),
        None => String::new(),
    };
    let rows = [
        ("no-op, empty", NOOP_EMPTY),
        ("no-op", NOOP),
        ("no-op, no caller asked for", NOOP_OPEN),
        ("Join", JOIN),
        ("Reserve", RESERVE),
        ("Reserve, with an admission", RESERVE_ADMITTED),
        ("Reserve, sold out", SOLD_OUT),
        ("Reserve, 12 sales on one node", RESERVE_SALES),
        ("Reserve, 12 sales in a cluster", RESERVE_CLUSTER),
        ("PlaceOrder, durable", PLACE_ORDER),
        ("Redis alone, the script", REDIS_SCRIPT_CEILING),
        ("JetStream alone, the message", JETSTREAM_CEILING),
    ];
    for (title, name) in rows {
        let figure = &report[name];
        if figure.is_null() {
            continue;
        }
        let cpu = &figure["cpu_s_per_10k"];
        let values = [
            &figure["rps"],
            &figure["ratio_to_noop"],
            &figure["p50_us"],
            &figure["p99_us"],
            &cpu["total"],
            &cpu["load_generator"],
            &cpu["services"],
            &cpu["redis"],
            &cpu["nats"],
            &cpu["postgres"],
        ];
        let cells = values.map(|value| Cell::new(text(value)).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(title)).chain(cells));
    }
    for (title, value) in [
        ("Claims, in batches", &report[CLAIMS]["orders_per_s"]),
        ("Claims, one at a time", &report[CLAIMS]["row_at_a_time_per_s"]),
        ("Settlements, from events", &report[SETTLE]["events_per_s"]),
    ] {
        if !value.is_null() {
            let cell = Cell::new(text(value)).set_alignment(CellAlignment::Right);
            table.add_row([Cell::new(title), cell]);
        }
    }
    let mut text = table.to_string();
    for (title, figure) in [
        ("masters of the cluster", &report[RESERVE_CLUSTER]["masters"]),
        ("bytes of Redis per hold", &report[HOLD_BYTES]),
        ("loading", &report[LOAD_STOCK]),
        ("rebuilding", &report[REBUILD_SECONDS]),
        ("more orders than can be placed", &report[OVERLOAD]),
        ("watching orders", &report[WATCH_ORDER]),
        ("queues that lose less", &report[QUEUE_DURABILITY]),
        ("the way to Stripe, and Reserve beside it", &report[PAYMENT_STACK]),
        ("settling payments, and leasing them", &report[SETTLE]),
        ("what a breaker adds to a call", &report[BREAKER]),
        ("reading a large export", &report[IMPORT]),
        ("sales that open and close by the clock", &report[SCHEDULE]),
        ("from acceptance to claim, p99 in ms", &report[CLAIMS]["acceptance_to_claim_p99_ms"]),
    ] {
        if !figure.is_null() {
            text.push_str(&format!("\n{title}: {figure}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median(std::iter::empty()).is_nan());
    }
}
