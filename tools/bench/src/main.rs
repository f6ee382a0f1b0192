//! `make bench`: what a call costs on this machine, as ratios within one run. `docs/benchmarks.md`
//! says what each figure means.
//!
//! The platform runs as it is deployed, one process per service and per store; this program is the
//! load generator, and in processes of their own the no-op service and the claimer that are measured
//! against it, the calls to Stripe, and the reader of an export.

mod breaker;
mod calls;
mod ceilings;
mod claims;
mod cluster;
mod cpu;
mod drive;
mod import;
mod noop;
mod once;
mod open;
mod payments;
mod platform;
mod report;
mod rounds;
mod sales;
mod stack;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Measures no-op, Join, Reserve and PlaceOrder calls, their stores' ceilings, claims, payments and
/// sales on schedule.
#[derive(Debug, Parser)]
#[command(name = "flashsale-bench", version)]
struct Args {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    settings: Settings,
}

/// How to measure.
#[derive(Debug, Clone, clap::Args)]
struct Settings {
    /// Rounds; each figure is the median of its rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// About how long each measurement of a round takes, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Calls in flight.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: u32,
    /// Connections they share.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    /// Holds that are weighed, recorded orders that a stock is rebuilt from, and payments that are
    /// due; a tenth of it skus are loaded, a fifth of it wait in the queue.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    holds: u32,
    /// How long each open loop takes, in seconds.
    #[arg(long, default_value_t = 10.0)]
    open_seconds: f64,
    /// Orders that are watched at once.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    watchers: u32,
    /// Sales that open and close by the clock.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    openings: u32,
    /// Changes of all prices of a sale, of a tenth of the holds, or 10,000 items.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    reprices: u32,
    /// Decides when an instance is killed in each of them; by default another one each time.
    #[arg(long)]
    seed: Option<u32>,
    /// Measure only these; what is left out is not in the figures.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(rounds::NAMES))]
    only: Vec<String>,
    /// Where to write the figures; by default bench.json beside the other reports, in .flashsale/.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Serves Reserve calls with a ready answer, on the server of all services.
    ServeNoop,
    /// Claims orders and does nothing else.
    ServeClaims,
    /// Calls Stripe through payment's stack and without it, and prints what each call takes.
    CallStripe,
    /// Reads a shop's export, and prints how long that takes and how much memory.
    ReadExport {
        /// The export.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let Args { part, settings } = Args::parse();
    match part {
        Some(Part::ServeNoop) => return noop::main(),
        Some(Part::ServeClaims) => return claims::main(),
        Some(Part::CallStripe) => return stack::main(&settings),
        Some(Part::ReadExport { file }) => return import::main(&file),
        None => {}
    }
    // Two providers end up among the dependencies; the second finds this one, so a failure means it
    // is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let measured = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::new)
        .and_then(|runtime| runtime.block_on(rounds::measure(&settings)));
    match measured.and_then(|figures| report::write(settings.out.as_deref(), &figures)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Says what happens. That stderr is closed changes nothing.
fn say(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}
