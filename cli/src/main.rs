//! The `flashsale` command: operate a sale that is running, or have a whole one run on this
//! machine.

mod commands;
mod simulate;
mod times;

use std::{env, ffi::OsString, process::ExitCode};

use anyhow::bail;
use clap::{Parser, Subcommand};
use flashsale_cli::{
    client::Target,
    output::Output,
    program::{Common, EXIT_CODES, LOAD, NOT_DONE, RUN, UP, complete},
};

/// Carries a shop through a flash sale.
#[derive(Debug, Parser)]
#[command(name = "flashsale", version, about, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // These three are declared for the list in the help: `simulate` handles them before the command
    // line is parsed.
    #[command(about = UP)]
    Up,
    #[command(about = RUN)]
    Run,
    #[command(about = LOAD)]
    Load,
    /// Sales: import, create, schedule, update, start, pause, resume, cancel, end, changes, report, export,
    /// show.
    #[command(subcommand)]
    Sale(Box<commands::sale::SaleCommand>),
    /// Orders: show, watch, dead letters.
    #[command(subcommand)]
    Order(commands::order::OrderCommand),
    /// Payments: breaker, budget, list, show, retry, refund, abandon.
    #[command(subcommand)]
    Payment(commands::payment::PaymentCommand),
    /// Stock: show, audit, adjust, history.
    #[command(subcommand)]
    Stock(commands::stock::StockCommand),
    /// Keys of those who call: new, list, check.
    #[command(subcommand)]
    Access(commands::access::AccessCommand),
    /// Check a sale before it opens, or while it sells: what would go wrong, and what to do.
    Doctor(commands::doctor::DoctorArgs),
    /// Explain an error reason, or list all of them.
    Errors {
        /// The reason as an error names it, for example SOLD_OUT.
        reason: Option<String>,
    },
}

fn main() -> ExitCode {
    let mut args = env::args_os();
    let typed = args.next().unwrap_or_else(|| OsString::from("flashsale"));
    let args: Vec<OsString> = args.collect();
    if let Some(command) = simulate::command(&args) {
        let output = Output::new(args.iter().any(|arg| arg == "--json"));
        let Err(error) = simulate::become_it(&typed, &args);
        output.error(&error, None);
        return ExitCode::from(if command == "load" { NOT_DONE } else { 1 });
    }
    let cli = Cli::parse();
    // For https; several providers may be among the dependencies of a build.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let output = Output::new(cli.common.json);
    let target = Target::find(cli.common.server);
    let looks = matches!(cli.command, Command::Doctor(_));
    let failure = if looks { ExitCode::from(NOT_DONE) } else { ExitCode::FAILURE };
    complete(run(cli.command, &target, &output), &output, Some(&target), failure)
}

async fn run(command: Command, target: &Target, output: &Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up | Command::Run | Command::Load => {
            bail!("name the command before its options: flashsale up, run or load")
        }
        Command::Sale(command) => commands::sale::run(*command, target, output).await,
        Command::Order(command) => commands::order::run(command, target, output).await,
        Command::Payment(command) => commands::payment::run(command, target, output).await,
        Command::Stock(command) => commands::stock::run(command, target, output).await,
        Command::Access(command) => commands::access::run(command, output),
        Command::Doctor(args) => commands::doctor::run(args, target, output).await,
        Command::Errors { reason } => commands::errors::run(reason.as_deref(), output),
    }
}
