//! `flashsale-simulate`: what `flashsale up`, `run` and `load` do. A whole sale on this machine
//! with simulated buyers, or a load on a platform that runs somewhere.

mod crowd;
mod files;
mod live;
mod load;
mod proof;
mod run;
mod stack;
mod up;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use flashsale_cli::{
    output::Output,
    program::{Common, EXIT_CODES, LOAD, NOT_DONE, RUN, UP, complete},
};

/// Carries a shop through a flash sale with simulated buyers.
#[derive(Debug, Parser)]
#[command(name = "flashsale-simulate", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = UP)]
    Up(StackArgs),
    #[command(about = RUN)]
    Run(RunArgs),
    #[command(about = LOAD)]
    Load(Box<load::LoadArgs>),
}

/// What is sold, and how it is let in.
#[derive(Debug, Clone, Args)]
struct StackArgs {
    /// A shop's product export, of Shopify, WooCommerce or BigCommerce, or a list in our own CSV or
    /// JSON; a small sample of our own without it.
    #[arg(long)]
    export: Option<PathBuf>,
    /// Units of each item, instead of the export's own stock figures.
    #[arg(long, allow_negative_numbers = true)]
    quantity: Option<i64>,
    /// ISO 4217 code of the export's prices.
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// Buyers the waiting room admits per second.
    #[arg(long, default_value_t = 100.0, allow_negative_numbers = true)]
    admissions: f64,
    /// Units of each item one buyer may have; 0 means no limit.
    #[arg(long, default_value_t = 2, allow_negative_numbers = true)]
    per_buyer_limit: i64,
    /// How long units stay held, in seconds.
    #[arg(long, default_value_t = 15, allow_negative_numbers = true)]
    hold_seconds: u64,
    /// How long after a refusal another card is taken, in milliseconds; 2000 in `run` and `load`,
    /// the service's own 120000 in `up`.
    #[arg(long)]
    card_retry_ms: Option<u64>,
}

/// Who comes.
#[derive(Debug, Clone, Args)]
struct RunArgs {
    #[command(flatten)]
    stack: StackArgs,
    /// How many buyers come.
    #[arg(long, default_value_t = 2_000, allow_negative_numbers = true)]
    buyers: usize,
    /// Buyers arriving per second.
    #[arg(long, default_value_t = 200.0, allow_negative_numbers = true)]
    rate: f64,
    /// What the buyers do is drawn from this; printed, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let output = Output::new(common.json);
    // The exit code of a command that cannot do its work at all.
    let failure = match command {
        Command::Load(_) => ExitCode::from(NOT_DONE),
        Command::Up(_) | Command::Run(_) => ExitCode::FAILURE,
    };
    let work = async {
        match command {
            Command::Up(args) => up::up(&args, &output).await,
            Command::Run(args) => run::run(&args, &output).await,
            Command::Load(args) => load::load(&args, common.server, &output).await,
        }
    };
    complete(work, &output, None, failure)
}
