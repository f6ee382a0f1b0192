//! The runbook and the error pages: every block of shell in them is run here, as on-call would.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use flashsale_errors::Reason;
use flashsale_proto::{
    checkout::OrderState,
    sale::{GetSaleRequest, sale_service_client::SaleServiceClient},
};
use flashsale_testbed::{assert_failure, eventually};
use nix::sys::signal::{Signal, kill};

use crate::{
    command::{Flashsale, Said, channel, flashsale, repository},
    shopper::Shopper,
};

/// Gauges that are updated by polling the stores: once they are exported, all that the pages show
/// is.
const LOOKED_UP: [&str; 7] = [
    "flashsale_stock_units{",
    "flashsale_oversold_units_by_record{",
    "flashsale_stranded_units{",
    "flashsale_queue_backlog{",
    "flashsale_payments_open{",
    "flashsale_room_waiting{",
    "flashsale_outbox_pending{",
];

/// A block of shell, with the output shown under it.
#[derive(Debug)]
pub(crate) struct Block {
    /// The file and line, for messages.
    place: String,
    pub(crate) shell: String,
    /// Lines it prints, with `…` for what differs.
    prints: Vec<String>,
}

/// The blocks of a page, in order.
pub(crate) fn blocks(page: &Path) -> Vec<Block> {
    let name = page.strip_prefix(repository()).unwrap().display().to_string();
    let text = std::fs::read_to_string(page).unwrap();
    let mut lines = text.lines().enumerate();
    let mut found: Vec<Block> = Vec::new();
    while let Some((at, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line.get(indent..).unwrap_or_default())
            .take_while(|line| *line != "```")
            .collect();
        match language {
            "sh" => found.push(Block {
                place: format!("{name}:{}", at + 1),
                shell: body.join("\n"),
                prints: Vec::new(),
            }),
            "text" => {
                let block = found.last_mut().expect("shell above what it prints");
                block.prints.extend(body.into_iter().map(str::to_owned));
            }
            "python" => {}
            other => panic!("{name}:{}: no test runs a block of {other:?}", at + 1),
        }
    }
    found
}

/// The pages of the reasons, in order of their names.
pub(crate) fn error_pages() -> Vec<PathBuf> {
    let folder = repository().join("docs/errors");
    let pages: BTreeSet<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.into_iter().collect()
}

/// Whether a line matches a pattern of a page, in which `…` stands for any text.
fn is_like(line: &str, pattern: &str) -> bool {
    let pieces: Vec<&str> = pattern.split('…').map(str::trim).collect();
    let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
    let Some(mut rest) = line.trim().strip_prefix(first) else { return false };
    if pieces.len() == 1 {
        return rest.is_empty();
    }
    for piece in &pieces[1..pieces.len() - 1] {
        let Some((_, behind)) = rest.split_once(piece) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// A terminal of on-call while the platform is up.
struct Terminal {
    /// The first block of the runbook, which is run before each other block.
    preparation: String,
    env: Vec<(&'static str, OsString)>,
}

impl Terminal {
    fn new(up: &Flashsale, order_id: &str) -> Self {
        let about = up.json("up.json");
        let value = |name: &str| about[name].as_str().unwrap().to_owned();
        let runbook = blocks(&repository().join("docs/runbook.md"));
        let ours = flashsale(up.home(), &[]);
        let mut path = vec![Path::new(ours.get_program()).parent().unwrap().to_owned()];
        let tools = ours.get_envs().find(|(name, _)| *name == "FLASHSALE_TOOLS").unwrap().1;
        path.push(Path::new(tools.unwrap()).join("bin"));
        path.extend(std::env::var_os("FLASHSALE_POSTGRES_BIN").map(PathBuf::from));
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
        Self {
            preparation: runbook[0].shell.clone(),
            env: vec![
                ("PATH", std::env::join_paths(path).unwrap()),
                ("FLASHSALE_HOME", up.home().into()),
                ("ADDR", value("grpc").into()),
                ("METRICS", format!("{}/metrics", value("http")).into()),
                ("POSTGRES", value("postgres").into()),
                ("REDIS", value("redis").into()),
                ("SALE", value("sale_id").into()),
                ("ORDER", order_id.into()),
            ],
        }
    }

    fn types(&self, shell: &str) -> Said {
        let mut bash = Command::new("timeout");
        bash.args(["60", "bash", "-euo", "pipefail", "-c"])
            .arg(format!("{}\n{shell}", self.preparation))
            .current_dir(repository())
            .stdin(std::process::Stdio::null())
            .envs(self.env.iter().cloned());
        Said::by(&mut bash)
    }

    /// Runs a block; returns how its result differs from the page, if it does.
    fn tries(&self, block: &Block) -> Option<String> {
        let said = self.types(&block.shell);
        let Block { place, shell, prints } = block;
        let at_fault = if said.code == Some(0) {
            let mut lines = said.out.lines();
            let missing = prints.iter().find(|wanted| !lines.any(|line| is_like(line, wanted)))?;
            format!("did not print {missing:?} (or not in this order)")
        } else {
            format!("ended with {:?}", said.code)
        };
        Some(format!("{place} {at_fault}:\n{shell}\n--- it said\n{}{}", said.out, said.err))
    }
}

#[tokio::test]
async fn documented_commands_print_what_they_claim() {
    let mut up = Flashsale::start(&["up"]);
    up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let sale_id = about["sale_id"].as_str().unwrap();
    let mut buyer = Shopper::new(channel(&about).await, sale_id, "Ada");
    buyer.come_in().await;
    let order = buyer.place(1, "pm_card_visa").await.unwrap();
    buyer.sees(&order, OrderState::Confirmed).await;
    let terminal = Terminal::new(&up, &order.order_id);
    eventually("everything is measured", || async {
        let metrics = terminal.types("curl -sS \"$METRICS\"").out;
        LOOKED_UP.iter().all(|name| metrics.contains(name)).then_some(())
    })
    .await;

    // The runbook last: it ends with ending the sale.
    let mut pages = error_pages();
    pages.push(repository().join("docs/runbook.md"));
    let mut at_fault = Vec::new();
    let mut calls = 0;
    for page in &pages {
        for block in blocks(page) {
            calls += 1;
            at_fault.extend(terminal.tries(&block));
        }
    }
    assert!(at_fault.is_empty(), "{} of {calls}:\n\n{}", at_fault.len(), at_fault.join("\n\n"));
    assert!(calls > 50, "only {calls} blocks were found");

    // An error links to its page. On a connection of its own: the server's pings on the buyer's
    // were not answered while the commands ran, and it may have closed it.
    let mut sales = SaleServiceClient::new(channel(&about).await);
    let unknown = GetSaleRequest { sale_id: uuid::Uuid::new_v4().to_string() };
    let status = sales.get_sale(unknown).await.unwrap_err();
    assert_failure(&status, Reason::SaleNotFound);
    let details = String::from_utf8_lossy(status.details()).into_owned();
    assert!(details.contains("/docs/errors/sale-not-found.md"), "{details}");

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
}

#[test]
fn incidents_have_all_five_parts() {
    let text = std::fs::read_to_string(repository().join("docs/runbook.md")).unwrap();
    let incidents: Vec<(&str, &str)> =
        text.split("\n## ").skip(2).map(|section| section.split_once('\n').unwrap()).collect();
    let names: Vec<&str> = incidents.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "Stock fenced",
            "Schedule late",
            "Room unanswered",
            "Two Redis servers",
            "Queue backing up",
            "Orders stay parked",
            "Breaker open",
            "Stripe down",
            "Payments differ",
            "Payments disputed",
            "Another account",
            "Payments stuck",
            "Postgres down",
            "NATS down",
            "Mail down",
            "Sold out but holds open",
            "Stores differ",
            "Bots",
            "Callers refused",
            "Oversell alarm",
        ]
    );
    for (name, section) in incidents {
        let mut rest = section;
        for part in ["**You notice**", "**Look**", "**Good**", "**Do**", "**Never**"] {
            let (_, behind) = rest
                .split_once(part)
                .unwrap_or_else(|| panic!("{name} has no {part} in its place"));
            rest = behind;
        }
    }
}

#[test]
fn runbook_names_exactly_the_alerts() {
    let read = |name: &str| std::fs::read_to_string(repository().join(name)).unwrap();
    let alerts: BTreeSet<String> = read("observability/prometheus/alerts.yaml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: ").map(str::to_owned))
        .collect();
    let named: BTreeSet<String> = read("docs/runbook.md")
        .split('`')
        .filter(|word| word.starts_with("Flashsale"))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, alerts);
}

#[test]
fn output_patterns_match_in_pieces() {
    for (line, pattern) in [
        ("  \"state\": \"OPEN\",", "…\"state\": \"OPEN\"…"),
        ("(0 rows)", "(0 rows)"),
        ("a{x=\"1\",y=\"2\"} 0", "a{…y=\"2\"} 0"),
        ("│ sku   allotted │", "… sku … allotted …"),
    ] {
        assert!(is_like(line, pattern), "{line} is {pattern}");
    }
    for (line, pattern) in [
        ("(10 rows)", "(0 rows)"),
        ("a{x=\"1\"} 10", "a{…} 0…1"),
        ("allotted sku", "… sku … allotted …"),
        ("a{x=\"1\"} 10", "a{…}  0"),
    ] {
        assert!(!is_like(line, pattern), "{line} is not {pattern}");
    }
}
