//! The common options and exit codes, and the programs that are installed side by side.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    client::Target,
    output::{Output, ReaderGone},
};

// The simulation's commands, for the help of both programs.
pub const UP: &str = "Keep everything running in the foreground, with an open sale to try";
pub const RUN: &str =
    "Run one whole sale with simulated buyers, audit it from the stores, and stop";
pub const LOAD: &str = "Load the platform with buyers who arrive on a schedule, and check latencies against thresholds";

/// The exit codes, for the help of both programs.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `run`: the sale came to rest and every promise held; for `load`: every threshold and the audit too
  1    refused, failed or interrupted: standard error says what happened and what to do (with --json, standard output);
       for `doctor`: something is wrong with the sale
  2    the command line is wrong; for `load`: it did not start, or did not reach its end; for `doctor`: not all could be looked at
  141  the output was closed by its reader";

/// The load did not start, or did not reach its end; or not all of a sale could be looked at.
pub const NOT_DONE: u8 = 2;
/// A closed output: the code by which shells report a program that SIGPIPE ended.
const READER_GONE: u8 = 128 + 13;

// No doc comment: clap would print it as the description of the program.
#[derive(Debug, Clone, Args)]
pub struct Common {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print JSON instead of tables, for errors too.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Where the services are, and who calls them.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerArgs {
    /// Where the services are, for example http://127.0.0.1:50051. Without it, where `flashsale up`
    /// runs. (`up`, `run` and, without it, `load` start their own.)
    #[arg(long, global = true, env = "FLASHSALE_ADDR")]
    pub addr: Option<String>,
    /// The file with the key to call with, and the servers that the key is for. Without it, the key
    /// of `flashsale up` for where that runs.
    #[arg(long, global = true, env = "FLASHSALE_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// The authority behind an https address, PEM. Without it, the public ones.
    #[arg(long, global = true, env = "FLASHSALE_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// The certificate to call with at an https address, and its private key, both PEM in one file.
    #[arg(long, global = true, env = "FLASHSALE_CERT_FILE")]
    pub cert_file: Option<PathBuf>,
}

/// Runs a command to its exit code. `asked` is the service that the command calls, if any;
/// `failure` is the exit code after an error other than [`ReaderGone`].
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

/// The path of another program of this workspace, beside the running one.
///
/// # Errors
/// If it is not there, as after a partial build.
pub fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe().context("this program cannot find itself")?;
    let path = here.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing: build the whole workspace (`make build`)", path.display());
    }
    Ok(path)
}
