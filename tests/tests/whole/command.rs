//! The `flashsale` command as a child, with a data folder of its own.

use std::{
    io::{BufReader, PipeReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
};

use flashsale_proto::NamedChannel;
use flashsale_testbed::{eventually, keys::KeyFolder};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::Endpoint;

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A program of ours. `make test` has built all of them beside the tests.
pub(crate) fn program(name: &str) -> PathBuf {
    let target = std::env::current_exe().unwrap();
    let path = target.parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{} is missing: run `make build`", path.display());
    path
}

/// A data folder for one test.
pub(crate) fn own_home() -> TempDir {
    tempfile::Builder::new().prefix("flashsale-whole-").tempdir().unwrap()
}

/// The command as a user of `home` types it, in the repository.
pub(crate) fn flashsale(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("flashsale"));
    command
        .args(args)
        .current_dir(repository())
        .env("FLASHSALE_HOME", home)
        .env("FLASHSALE_TOOLS", tools())
        .env_remove("FLASHSALE_ADDR")
        .env_remove("FLASHSALE_KEY_FILE")
        .env_remove("STRIPE_SECRET_KEY")
        .env_remove("STRIPE_BASE_URL")
        .env_remove("STRIPE_VERSION")
        .stdin(Stdio::null());
    command
}

/// A connection for a shop and an operator to what `flashsale up` has written about itself.
pub(crate) async fn channel(about: &Value) -> NamedChannel {
    let endpoint = Endpoint::from_shared(about["grpc"].as_str().unwrap().to_owned()).unwrap();
    keys(about).shop_and_operator(endpoint.connect().await.unwrap())
}

/// The keys of what `flashsale up` has written about itself.
pub(crate) fn keys(about: &Value) -> KeyFolder {
    KeyFolder::read(&Path::new(about["folder"].as_str().unwrap()).join("keys")).unwrap()
}

/// A command's output and exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Runs a command to its end.
    pub(crate) fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[derive(Debug)]
pub(crate) struct Flashsale {
    child: Child,
    // Kept open to the end; `pipes` tests programs whose reader is gone.
    output: BufReader<ChildStdout>,
    errors: BufReader<ChildStderr>,
    home: TempDir,
}

impl Flashsale {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// The same with environment variables.
    pub(crate) fn start_with(args: &[&str], env: &[(&str, &str)]) -> Self {
        let home = own_home();
        let mut child = flashsale(home.path(), args)
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self { child, output, errors, home }
    }

    /// Reads standard error until a line has `text` in it.
    pub(crate) fn wait_for(&mut self, text: &str) {
        read_until(&mut self.errors, text);
    }

    /// Reads standard output until a line has `text` in it, and returns what was read.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        read_until(&mut self.output, text)
    }

    /// Another command of the same user, run to its end.
    pub(crate) fn say(&self, args: &[&str]) -> Said {
        Said::by(&mut flashsale(self.home(), args))
    }

    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Waits for the end; returns the exit status and the rest of both outputs.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        self.errors.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap(), said)
    }

    /// A file of the data folder as JSON.
    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.home.path().join(name)).unwrap())
            .unwrap()
    }

    /// The processes that were started for it and still run.
    pub(crate) fn left_running(&self) -> Vec<String> {
        left_running(self.home())
    }
}

/// The processes whose command line mentions the data folder: all that were started for it.
pub(crate) fn left_running(home: &Path) -> Vec<String> {
    let home = home.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok())
        .filter(|command| command.contains(home))
        .collect()
}

/// Reads until a line has `text` in it, and returns what was read.
pub(crate) fn read_until(from: &mut impl std::io::BufRead, text: &str) -> String {
    let mut seen = String::new();
    loop {
        let start = seen.len();
        let read = from.read_line(&mut seen).unwrap();
        assert!(read > 0, "it never said {text:?}, but:\n{seen}");
        if seen[start..].contains(text) {
            return seen;
        }
    }
}

/// Starts a command with both outputs in one pipe, as `2>&1 |` does, for a reader that may close it
/// early.
pub(crate) fn piped(command: &mut Command) -> (Child, BufReader<PipeReader>) {
    let (reader, writer) = std::io::pipe().unwrap();
    let child = command.stdout(writer.try_clone().unwrap()).stderr(writer).spawn().unwrap();
    // `command` holds copies of the pipe's write end; replace them, so that only the child has it.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    (child, BufReader::new(reader))
}

/// Waits for a child to end, within the bound of `eventually`.
pub(crate) async fn ended(child: &mut Child) -> ExitStatus {
    let ended = eventually("it ends", || {
        let status = child.try_wait().unwrap();
        async move { status }
    });
    ended.await
}

impl Drop for Flashsale {
    fn drop(&mut self) {
        // Its own children end with it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Where set-up has installed the servers: the tests' own data folders have none.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("FLASHSALE_TOOLS")
        .map_or_else(|| repository().join(".flashsale/tools"), PathBuf::from)
}
