//! The `flashsale` command as a child, with a data folder of its own.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program of ours. `make test` has built all of them beside the tests.
fn program(name: &str) -> PathBuf {
    let target = std::env::current_exe().unwrap();
    let path = target.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{} is missing: run `make build`", path.display());
    path
}

/// A running `flashsale`.
#[derive(Debug)]
pub(crate) struct Flashsale {
    child: Child,
    // Kept open to the end: a program that cannot speak any more is another test.
    errors: BufReader<ChildStderr>,
    home: TempDir,
}

impl Flashsale {
    pub(crate) fn start(args: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("flashsale-whole-").tempdir().unwrap();
        let mut child = Command::new(program("flashsale"))
            .args(args)
            .current_dir(repository())
            .env("FLASHSALE_HOME", home.path())
            .env("FLASHSALE_TOOLS", tools())
            .env_remove("STRIPE_SECRET_KEY")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self { child, errors, home }
    }

    /// Reads standard error until a line has `text` in it.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            let read = self.errors.read_line(&mut seen).unwrap();
            assert!(read > 0, "it never said {text:?}, but:\n{seen}");
            if seen[start..].contains(text) {
                return;
            }
        }
    }

    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Waits for the end; the exit status and what was said on both outputs.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        if let Some(mut output) = self.child.stdout.take() {
            output.read_to_string(&mut said).unwrap();
        }
        self.errors.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }

    /// A file of the data folder as JSON.
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.home.path().join(name)).unwrap())
            .unwrap()
    }

    /// Processes that mention the data folder: everything that was started for it.
    pub(crate) fn left_running(&self) -> Vec<String> {
        let home = self.home.path().to_str().unwrap();
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
            .filter(|command| command.contains(home))
            .collect()
    }
}

impl Drop for Flashsale {
    fn drop(&mut self) {
        // Its children end with it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Where set-up has put the servers: the tests' own data folders have none.
fn tools() -> PathBuf {
    std::env::var_os("FLASHSALE_TOOLS")
        .map_or_else(|| repository().join(".flashsale/tools"), PathBuf::from)
}
