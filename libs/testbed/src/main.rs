//! `flashsale-sandbox exec -- COMMAND …`: runs a command (the test runner) beside one Postgres that
//! all its tests share. `flashsale-sandbox grants`: writes `k8s/stores/` from its list.
//!
//! Redis and NATS start in milliseconds, so that each test has its own; a Postgres takes seconds,
//! so that each test has a database of its own in this one.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use anyhow::Context;
use flashsale_testbed::{
    Command, Home, PostgresOptions, PostgresServer, RunDir, Tools, grants::Grants,
};
use nix::sys::signal::Signal;
use nix::unistd;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

const USAGE: &str = "usage: flashsale-sandbox exec -- COMMAND [ARGUMENT …]
       flashsale-sandbox grants

grants writes the files in k8s/stores/ from grants.toml, as it was when this program was built.

Runs COMMAND with a private Postgres for tests and ends with its exit code. COMMAND finds in its environment:
  FLASHSALE_TEST_PG_URL   the Postgres, as superuser (it keeps nothing across crashes of the machine)
  FLASHSALE_REDIS_SERVER  FLASHSALE_NATS_SERVER  FLASHSALE_POSTGRES_BIN   the servers' programs";

#[tokio::main]
#[allow(clippy::print_stderr, reason = "a command speaks to the person who typed it")]
async fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|verb| verb == "grants") {
        return match Grants::list().write() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("flashsale-sandbox: k8s/stores/ cannot be written: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let (Some(verb), Some(dashes)) = (args.next(), args.next()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let command: Vec<OsString> = args.collect();
    if verb != "exec" || dashes != "--" || command.is_empty() {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    match exec(&command).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("flashsale-sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// SIGINT and SIGTERM, caught from the first moment so that nothing is left behind.
struct Interrupts {
    int: Signals,
    term: Signals,
}

impl Interrupts {
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.int.recv() => Signal::SIGINT,
            _ = self.term.recv() => Signal::SIGTERM,
        }
    }
}

async fn exec(command: &[OsString]) -> anyhow::Result<u8> {
    let mut interrupts = Interrupts {
        int: signal(SignalKind::interrupt())?,
        term: signal(SignalKind::terminate())?,
    };
    let tools = Tools::locate()?;
    let run = RunDir::create(&Home::locate()?).context("cannot make a folder for this run")?;
    let options = PostgresOptions { fsync: false, ..PostgresOptions::default() };
    let dir = run.path().join("postgres");
    let postgres = tokio::select! {
        started = PostgresServer::start(&tools, dir, options) => started?,
        signal = interrupts.next() => return Ok(code_of_signal(signal as i32)),
    };

    let (program, args) = command.split_first().context(USAGE)?;
    let child = Command::new(program)
        .args(args)
        .env("FLASHSALE_TEST_PG_URL", postgres.url())
        .env("FLASHSALE_REDIS_SERVER", tools.redis_server())
        .env("FLASHSALE_NATS_SERVER", tools.nats_server())
        .env("FLASHSALE_POSTGRES_BIN", tools.postgres_bin())
        // It keeps the terminal; should we be killed, it is asked to end in order, for what it has
        // started.
        .foreground()
        .death_signal(Signal::SIGTERM)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let mut asked = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            signal = interrupts.next() => {
                if asked {
                    child.kill();
                } else if signal != Signal::SIGINT || !terminal_tells_all() {
                    child.signal(signal);
                }
                asked = true;
            }
        }
    };
    postgres.stop().await?;
    run.remove().context("cannot remove the folder of this run")?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => code_of_signal(signal),
        (None, None) => u8::MAX,
    })
}

/// Ctrl-C at a terminal reaches every process in the foreground, so the command has had it already;
/// twice is "at once".
fn terminal_tells_all() -> bool {
    let stdin = std::io::stdin();
    stdin.is_terminal() && unistd::tcgetpgrp(&stdin).is_ok_and(|group| group == unistd::getpgrp())
}

/// As shells say it.
fn code_of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
