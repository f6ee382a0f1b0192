//! The options and exit codes of every command, and the programs that stand side by side.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    client::Target,
    output::{Output, ReaderGone},
};

// What the commands of the simulation do, for the help of both programs.
pub const UP: &str = "Keep everything running in the foreground, with an open sale to try";
pub const RUN: &str =
    "Run one whole sale with simulated buyers, audit it from the stores, and stop";
pub const LOAD: &str = "Load the platform with buyers who come by a schedule, whatever it does, and say whether it bore them";

/// The exit codes, for the help of both programs.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `run`: the sale came to rest and every promise held; for `load`: every threshold and the audit too
  1    refused, failed or interrupted: standard error says what happened and what to do (with --json, standard output)
  2    the command line is wrong; for `load`: there was none, or not to its end
  141  nobody reads the output any more";

/// There was no load, or not all of it.
pub const NOT_DONE: u8 = 2;
/// The output has no reader any more: the code of a program that SIGPIPE ended, as shells tell it.
const READER_GONE: u8 = 128 + 13;

// Without a doc comment: clap would print it as the description of the program.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Where the services are, for example http://127.0.0.1:50051. Without it, where `flashsale up` runs. (`up`, `run` and, without it, `load` start their own.)
    #[arg(long, global = true, env = "FLASHSALE_ADDR")]
    pub addr: Option<String>,
    /// Print JSON instead of tables, for errors too.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Carries out a command and answers how the process ends. `asked` is the service that the command
/// speaks to, if it speaks to one; `failure` the exit code of a command that cannot do its work.
pub fn complete(
    work: impl Future<Output = anyhow::Result<ExitCode>>,
    output: &Output,
    asked: Option<&Target>,
    failure: ExitCode,
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.say(&format!("flashsale: no threads to run on: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(work) {
        Ok(code) => code,
        Err(error) if error.is::<ReaderGone>() => ExitCode::from(READER_GONE),
        Err(error) => {
            output.error(&error, asked);
            failure
        }
    }
}

/// The path of another program of this workspace: they are built into one folder.
///
/// # Errors
/// When there is no such program beside the running one.
pub fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("this program cannot find itself")?;
    let path = here.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing: build the whole workspace (`make build`)", path.display());
    }
    Ok(path)
}
