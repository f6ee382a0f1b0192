//! The `flashsale` command: run a whole sale on this machine, or operate one that is running.

mod client;
mod commands;
mod crowd;
mod host;
mod live;
mod load;
mod output;
mod proof;
mod run;
mod stack;
mod up;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    client::Target,
    output::{Output, ReaderGone},
};

/// The exit code when nobody reads the output any more: that of a program which SIGPIPE ended, as shells tell it.
const READER_GONE: u8 = 128 + 13;

const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `run`: the sale came to rest and every promise held; for `load`: every threshold and the audit too
  1    refused, failed or interrupted: standard error says what happened and what to do (with --json, standard output)
  2    the command line is wrong; for `load`: there was none, or not to its end
  141  nobody reads the output any more";

/// Carries a shop through a flash sale.
#[derive(Debug, Parser)]
#[command(name = "flashsale", version, about, after_help = EXIT_CODES)]
struct Cli {
    /// Where the services are, for example http://127.0.0.1:50051. Without it, where `flashsale up` runs. (`up`, `run` and, without it, `load` start their own.)
    #[arg(long, global = true, env = "FLASHSALE_ADDR")]
    addr: Option<String>,
    /// Print JSON instead of tables, for errors too.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep everything running in the foreground, with an open sale to try.
    Up(StackArgs),
    /// Run one whole sale with simulated buyers, audit it from the stores, and stop.
    Run(RunArgs),
    /// Load the platform with buyers who come by a schedule, whatever it does, and say whether it bore them.
    Load(Box<load::LoadArgs>),
    /// Serve all services in this process, configured by the environment.
    #[command(hide = true)]
    Serve,
    /// Sales: import, create, start, end, show.
    #[command(subcommand)]
    Sale(commands::sale::SaleCommand),
    /// Orders: show, watch, dead letters.
    #[command(subcommand)]
    Order(commands::order::OrderCommand),
    /// Stock: show, audit, adjust, history.
    #[command(subcommand)]
    Stock(commands::stock::StockCommand),
    /// Explain an error reason, or list all of them.
    Errors {
        /// The reason as it stands in an error, for example SOLD_OUT.
        reason: Option<String>,
    },
}

/// What is sold, and how it is let in.
#[derive(Debug, Clone, Args)]
struct StackArgs {
    /// A shop's product export in Shopify's CSV format; a small sample of our own without it.
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
    let cli = Cli::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let output = Output::new(cli.json);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.say(&format!("flashsale: no threads to run on: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let target = Target::find(cli.addr.clone());
    // When a command cannot do its work at all.
    let failure = if matches!(cli.command, Command::Load(_)) {
        ExitCode::from(load::NOT_DONE)
    } else {
        ExitCode::FAILURE
    };
    let (result, asked) = match cli.command {
        Command::Serve => return host::main(runtime, &output),
        Command::Up(args) => (runtime.block_on(up::up(&args, &output)), None),
        Command::Run(args) => (runtime.block_on(run::run(&args, &output)), None),
        Command::Load(args) => (runtime.block_on(load::load(&args, cli.addr, &output)), None),
        Command::Sale(command) => {
            (runtime.block_on(commands::sale::run(command, &target, &output)), Some(&target))
        }
        Command::Order(command) => {
            (runtime.block_on(commands::order::run(command, &target, &output)), Some(&target))
        }
        Command::Stock(command) => {
            (runtime.block_on(commands::stock::run(command, &target, &output)), Some(&target))
        }
        Command::Errors { reason } => (commands::errors::run(reason.as_deref(), &output), None),
    };
    match result {
        Ok(code) => code,
        Err(error) if error.is::<ReaderGone>() => ExitCode::from(READER_GONE),
        Err(error) => {
            output.error(&error, asked);
            failure
        }
    }
}
