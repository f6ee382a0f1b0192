//! Fault suites: a platform of real processes, sales with buyers who retry, and what may fail,
//! failing at the worst moment. What became of it is read from the stores themselves. `make faults
//! SUITE=…` runs one.

mod crowd;
mod figures;
mod inventory;
mod orders;
mod patience;
mod payments;
mod platform;
mod points;
mod report;
mod schedule;
mod task;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, bail, ensure};
use clap::{Parser, ValueEnum};
use figures::{Figures, Zeros};
use platform::Platform;
use serde_json::{Map, Value, json};
use task::{Fault, Task};

/// Has a platform of real processes fail, and holds the stores against each other afterwards.
///
/// Ends with 0 if every fault was done as often as asked and no promise was broken.
#[derive(Debug, Parser)]
#[command(name = "flashsale-faults", version)]
struct Args {
    /// Which faults.
    #[arg(long, value_enum)]
    suite: Suite,
    /// Decides what is random; by default another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// A few of each fault, in a minute or two.
    #[arg(long)]
    short: bool,
    /// How often each fault is done, in place of its own number.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    runs: Option<u64>,
    /// Only these faults, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where to write the verdicts; by default faults.json beside the other reports, in
    /// .flashsale/.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Suite {
    /// What may happen to the stock.
    Inventory,
    /// What may happen to placed orders.
    Orders,
    /// What may happen between payment and its provider.
    Payments,
    /// What may happen to sales that are to open by themselves.
    Schedule,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Inventory => "inventory",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Schedule => "schedule",
        }
    }

    fn faults(self) -> Vec<Fault> {
        match self {
            Self::Inventory => inventory::faults(),
            Self::Orders => orders::faults(),
            Self::Payments => payments::faults(),
            Self::Schedule => schedule::faults(),
        }
    }

    fn zeros(self) -> Zeros {
        match self {
            Self::Inventory => inventory::ZEROS,
            Self::Orders => orders::ZEROS,
            Self::Payments => payments::ZEROS,
            Self::Schedule => schedule::ZEROS,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Two providers end up among the dependencies; the second finds this one, so a failure means it
    // is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ran = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)
        .and_then(|runtime| runtime.block_on(run(&args)));
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("faults: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Says what happens. That stderr is closed changes nothing.
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

async fn run(args: &Args) -> anyhow::Result<bool> {
    ensure!(
        flashsale_failpoint::COMPILED_IN,
        "this build cannot fail on purpose: use a build with debug assertions (`make build`)"
    );
    let faults = chosen(args.suite.faults(), &args.only)?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let name = args.suite.name();
    say(&format!("faults: suite {name}, seed {seed}"));
    let mut part = Map::from_iter([("seed".to_owned(), json!(seed))]);
    let mut held = true;
    let mut platform = None;
    let mut broken = Vec::new();
    for (number, fault) in (0_u64..).zip(faults) {
        let asked = args.runs.unwrap_or(if args.short { fault.short } else { fault.full });
        if asked == 0 {
            continue;
        }
        let fresh = match platform.take() {
            Some(platform) => platform,
            None => Platform::start().await?,
        };
        let began = Instant::now();
        let mut task = Task::new(fresh, seed.wrapping_add(number), asked, args.short);
        let run = async |figures: &mut Figures| (fault.run)(&mut task, figures).await;
        let mut figures = task::figures_of(Figures::new(asked, args.suite.zeros()), run).await;
        let wrong = figures.faults();
        figures.more.insert("seconds".to_owned(), json!(began.elapsed().as_secs()));
        say(&line(fault.name, &figures, &wrong));
        part.insert(fault.name.to_owned(), figures.json());
        held &= wrong.is_empty();
        if !wrong.is_empty() {
            // Its data and logs stay to be looked at, until the next run of this program.
            let folder = task.platform.abandon();
            say(&format!("        its data and logs: {}", folder.path().display()));
            broken.push(folder);
        } else if args.short {
            platform = Some(task.platform);
        } else {
            task.platform.stop().await.with_context(|| format!("after {}", fault.name))?;
        }
    }
    if let Some(platform) = platform {
        platform.stop().await?;
    }
    let path = match &args.out {
        Some(path) => path.clone(),
        None => report::default_path()?,
    };
    report::merge(&path, name, Value::from(part))?;
    say(&format!("faults: verdicts are in {}", path.display()));
    Ok(held)
}

fn chosen(mut faults: Vec<Fault>, only: &[String]) -> anyhow::Result<Vec<Fault>> {
    for name in only {
        if !faults.iter().any(|fault| fault.name == name) {
            let names: Vec<&str> = faults.iter().map(|fault| fault.name).collect();
            bail!("there is no fault {name:?}; there are {}", names.join(", "));
        }
    }
    faults.retain(|fault| only.is_empty() || only.iter().any(|name| name == fault.name));
    Ok(faults)
}

fn line(name: &str, figures: &Figures, wrong: &[String]) -> String {
    let verdict = if wrong.is_empty() { "held" } else { "BROKEN" };
    let mut line = format!(
        "faults: {name:19} {verdict}: {}, {} s",
        figures.summary(),
        figures.more.get("seconds").and_then(Value::as_u64).unwrap_or(0),
    );
    for what in wrong {
        line.push_str("\n        ");
        line.push_str(what);
    }
    line
}
