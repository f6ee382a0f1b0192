//! Dashboards, alerts and `docs/metrics.md` against the exported metrics.

use std::collections::{BTreeMap, BTreeSet};

use flashsale_proto::checkout::OrderState;
use flashsale_testbed::eventually;
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    command::{Flashsale, channel, repository},
    shopper::Shopper,
};

/// One metric as it is scraped.
#[derive(Debug, Default)]
struct Scraped {
    kind: String,
    help: String,
    /// Values by label, over all series.
    labels: BTreeMap<String, BTreeSet<String>>,
}

type Scrape = BTreeMap<String, Scraped>;

#[tokio::test]
async fn metrics_match_docs_dashboard_and_alerts() {
    let mut up = Flashsale::start(&["up"]);
    up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let sale_id = about["sale_id"].as_str().unwrap();
    let channel = channel(&about).await;
    let mut buyer = Shopper::new(channel.clone(), sale_id, "Grace");
    buyer.come_in().await;
    let order = buyer.place(1, "pm_card_visa").await.unwrap();
    buyer.sees(&order, OrderState::Confirmed).await;
    // A failure of the server's own, for the label `error_type`, which only those have.
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = "/flashsale.sale.v1.SaleService/NoSuchCall".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    grpc.unary(tonic::Request::new(()), path, codec).await.unwrap_err();

    let documented = documented();
    let http = about["http"].as_str().unwrap();
    let scraped =
        eventually("everything documented is measured, and the sold unit shows", || async {
            let text = get(http, "/metrics").await;
            let scrape = read(&text);
            let sold = text.lines().any(|line| {
                line.starts_with("flashsale_stock_units{")
                    && line.contains("state=\"sold\"")
                    && line.contains(sale_id)
                    && line.ends_with(" 1")
            });
            (sold && documented.keys().all(|name| scrape.contains_key(name))).then_some(scrape)
        });
    let watched = async { tokio::time::timeout(std::time::Duration::from_secs(25), scraped).await };
    let Ok(scrape) = watched.await else {
        let scrape = read(&get(http, "/metrics").await);
        let missing: Vec<_> =
            documented.keys().filter(|name| !scrape.contains_key(*name)).collect();
        panic!("not measured: {missing:?}; or the sold unit does not show");
    };

    for (name, metric) in &scrape {
        if !name.starts_with("flashsale_") && !name.starts_with("rpc_") {
            continue;
        }
        assert!(!metric.help.is_empty(), "{name} has no help");
        let row =
            documented.get(name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        assert_eq!(row.kind, metric.kind, "{name}");
        let labels: BTreeSet<&str> = metric.labels.keys().map(String::as_str).collect();
        assert_eq!(
            row.labels.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            labels,
            "{name}"
        );
        assert_eq!(row.unit == "s", name.ends_with("_seconds"), "{name}");
    }
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        exists(&scrape, &alert.expr, &alert.name);
    }
    let asked = dashboard();
    assert!(asked.len() > 30);
    for (panel, expr) in &asked {
        exists(&scrape, expr, panel);
    }
    for name in documented.keys() {
        let shown = asked.iter().any(|(_, expr)| expr.contains(name.as_str()));
        assert!(shown, "{name} is on no dashboard");
    }

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
}

#[test]
fn alerts_link_to_the_runbook() {
    for alert in alerts() {
        has_a_page(&alert.runbook, &alert.name);
    }
}

/// A plain GET; the server closes the connection.
pub(crate) async fn get(url: &str, path: &str) -> String {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The metrics of a scrape by name; a histogram's three series under its own name.
fn read(text: &str) -> Scrape {
    let mut scrape = Scrape::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            scrape.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            scrape.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((series, rest)) = line.split_once('{') {
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|end| series.strip_suffix(end))
                .find(|name| scrape.contains_key(*name))
                .unwrap_or(series);
            let metric = scrape.entry(name.to_owned()).or_default();
            let labels = rest.rsplit_once('}').unwrap().0;
            for (label, value) in
                selectors(labels).into_iter().map(|(label, _, value)| (label, value))
            {
                if label != "le" && !label.starts_with("otel_scope_") {
                    metric.labels.entry(label).or_default().insert(value);
                }
            }
        }
    }
    scrape
}

/// `a="b",c=~"d"` as label, operator and value.
fn selectors(text: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim().trim_start_matches(',').trim_start();
    while let Some(at) = rest.find(['=', '!']) {
        let label = rest[..at].trim().to_owned();
        let quote = rest.find('"').unwrap();
        let operator = rest[at..quote].trim().to_owned();
        let end = quote + 1 + rest[quote + 1..].find('"').unwrap();
        found.push((label, operator, rest[quote + 1..end].to_owned()));
        rest = rest[end + 1..].trim_start().trim_start_matches(',').trim_start();
    }
    found
}

/// A row of `docs/metrics.md`.
#[derive(Debug)]
struct Row {
    kind: String,
    unit: String,
    labels: Vec<String>,
}

fn documented() -> BTreeMap<String, Row> {
    let text = std::fs::read_to_string(repository().join("docs/metrics.md")).unwrap();
    let code = |cell: &str| cell.trim().trim_matches('`').to_owned();
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [name, kind, unit, labels, meaning] = cells.as_slice() else {
                panic!("five columns: {line}");
            };
            assert!(!meaning.is_empty() && !unit.is_empty(), "{line}");
            let labels = labels.split(',').map(code).filter(|label| !label.is_empty()).collect();
            let row = Row { kind: (*kind).to_owned(), unit: (*unit).to_owned(), labels };
            (code(name), row)
        })
        .collect()
}

/// Asserts that an expression asks for metrics, labels and values that exist.
fn exists(scrape: &Scrape, expr: &str, place: &str) {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut asked = 0;
    for (at, _) in expr.match_indices("flashsale_").chain(expr.match_indices("rpc_server_")) {
        let before = expr[..at].chars().next_back();
        if before.is_some_and(|c| word(c) || c == '"') {
            continue;
        }
        let end = expr[at..].find(|c| !word(c)).map_or(expr.len(), |length| at + length);
        let series = &expr[at..end];
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|end| series.strip_suffix(end))
            .find(|name| scrape.get(*name).is_some_and(|metric| metric.kind == "histogram"))
            .unwrap_or(series);
        let metric =
            scrape.get(name).unwrap_or_else(|| panic!("{place} asks for {series}: {expr}"));
        asked += 1;
        let Some(rest) = expr[end..].strip_prefix('{') else { continue };
        let braces = rest.split_once('}').unwrap().0;
        for (label, operator, value) in selectors(braces) {
            let values = metric.labels.get(&label);
            let values = values.unwrap_or_else(|| panic!("{place}: {name} has no label {label}"));
            if operator == "=" && !value.starts_with('$') {
                assert!(
                    values.contains(&value),
                    "{place}: {name} has no {label}={value}: {values:?}"
                );
            }
        }
    }
    assert!(asked > 0, "{place} asks for nothing of ours: {expr}");
    let count = |c| expr.matches(c).count();
    assert_eq!((count('('), count('{')), (count(')'), count('}')), "{place}: {expr}");
}

#[derive(Debug)]
struct Alert {
    name: String,
    expr: String,
    runbook: String,
}

/// The alerting rules. The file has one entry a line.
fn alerts() -> Vec<Alert> {
    let path = repository().join("observability/prometheus/alerts.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    text.split("- alert: ")
        .skip(1)
        .map(|rule| {
            let entry = |key: &str| {
                let line = rule.lines().find_map(|line| line.trim().strip_prefix(key));
                line.unwrap_or_else(|| panic!("no {key} in {rule}")).trim().to_owned()
            };
            assert!(!entry("summary:").is_empty() && entry("labels:").contains("severity:"));
            let name = rule.lines().next().unwrap().to_owned();
            Alert { name, expr: entry("expr:"), runbook: entry("runbook:") }
        })
        .collect()
}

/// Asserts that an alert leads to a page, and to a heading on it.
fn has_a_page(link: &str, alert: &str) {
    let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
    let text = std::fs::read_to_string(repository().join(page))
        .unwrap_or_else(|error| panic!("{alert} leads to {page}: {error}"));
    let anchors: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect();
    assert!(
        anchor.is_empty() || anchors.iter().any(|known| known == anchor),
        "{alert} leads to {link}, but there are only {anchors:?}"
    );
}

/// The expressions of the dashboard's panels and variables.
fn dashboard() -> Vec<(String, String)> {
    let path = repository().join("observability/grafana/flashsale.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut asked = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap().to_owned();
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked.push((title.clone(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            asked.push((format!("variable {}", variable["name"]), query.to_owned()));
        }
    }
    asked
}
