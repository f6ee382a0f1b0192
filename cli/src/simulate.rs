//! `flashsale up`, `run` and `load`: the program `flashsale-simulate` replaces this one by `exec`,
//! so that the operators' command links none of what a simulation needs.

use std::{
    convert::Infallible,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::Command,
};

use anyhow::Context as _;
use flashsale_cli::program::sibling;

const PROGRAM: &str = "flashsale-simulate";

/// Which of the three commands the arguments (without the program's name) run or ask the help of.
/// Options after the command are left to the other program.
pub(crate) fn command(args: &[OsString]) -> Option<&'static str> {
    let mut words = args.iter();
    let mut help = false;
    while let Some(word) = words.next() {
        match word.to_str()? {
            "--json" => {}
            "--addr" => {
                words.next();
            }
            word if word.starts_with("--addr=") => {}
            "help" if !help => help = true,
            word => return ["up", "run", "load"].into_iter().find(|command| *command == word),
        }
    }
    None
}

/// Executes that program in place of this one: same process, arguments and standard streams. It is
/// also given the name this one was called by, which its help and errors show.
///
/// # Errors
/// If it is not beside this program, or cannot be executed. It does not return otherwise.
pub(crate) fn become_it(typed: &OsStr, args: &[OsString]) -> anyhow::Result<Infallible> {
    let path = sibling(PROGRAM)
        .with_context(|| format!("up, run and load need the program {PROGRAM} beside this one"))?;
    let error = Command::new(&path).arg0(typed).args(args).exec();
    Err(error).with_context(|| format!("{} cannot be executed", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<&'static str> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        command(&args)
    }

    #[test]
    fn simulation_commands_are_forwarded() {
        for (line, expected) in [
            ("run", "run"),
            ("run --help", "run"),
            ("run sale show", "run"),
            ("up --json", "up"),
            ("help load", "load"),
            ("--json help run", "run"),
            ("--addr http://127.0.0.1:1 load --peak 3", "load"),
            ("--addr=run --json up", "up"),
        ] {
            assert_eq!(of(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn other_commands_are_not_forwarded() {
        for line in [
            "",
            "help",
            "help help run",
            "--help",
            "--help run",
            "--addr run",
            "sale show run",
            "errors run",
            "serve",
            "--json",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
