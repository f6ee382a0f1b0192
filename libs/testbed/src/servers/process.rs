//! Child processes that are stopped in order, reaped at once, and never outlive their parent.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Gid, Pid, Uid};
use tokio::sync::watch;

use super::death;

/// How long a dropped child may take to end by itself before it is killed.
const DROP_GRACE: Duration = Duration::from_secs(2);
/// A waiting thread does next to nothing.
const WAITER_STACK_BYTES: usize = 128 * 1024;

/// What to start, and under which rules.
#[derive(Debug, Clone)]
pub struct Command {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    clean_env: bool,
    log: Option<PathBuf>,
    user: Option<(Uid, Gid)>,
    death: Signal,
    foreground: bool,
}

impl Command {
    /// A program with this process's environment, no input, its output thrown away, in a process
    /// group of its own (so that the terminal's Ctrl-C reaches only us, and we stop it in order),
    /// ended by SIGKILL if we die.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            clean_env: false,
            log: None,
            user: None,
            death: Signal::SIGKILL,
            foreground: false,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one variable of its environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Passes on nothing of our environment but PATH: a stray PGPORT or TZ must not change a
    /// server.
    pub(crate) fn clean_env(mut self) -> Self {
        self.clean_env = true;
        self
    }

    /// Appends its output to a file.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Runs it as another user, with that user's main group only.
    pub(crate) fn user(mut self, user: Option<(Uid, Gid)>) -> Self {
        self.user = user;
        self
    }

    /// The signal it gets when we die without stopping it (SIGKILL unless set).
    #[must_use]
    pub fn death_signal(mut self, signal: Signal) -> Self {
        self.death = signal;
        self
    }

    /// Leaves it our terminal, input, output and process group: for a command that stands in for
    /// us.
    #[must_use]
    pub fn foreground(mut self) -> Self {
        self.foreground = true;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// What the system says: no such program, no permission, the log file cannot be opened.
    pub fn spawn(&self) -> io::Result<Child> {
        let mut command = process::Command::new(&self.program);
        command.args(&self.args);
        if self.clean_env {
            command.env_clear();
            if let Some(path) = std::env::var_os("PATH") {
                command.env("PATH", path);
            }
            command.env("LC_ALL", "C").env("TZ", "UTC");
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        if !self.foreground {
            command.process_group(0).stdin(Stdio::null());
            match &self.log {
                Some(path) => {
                    let file = OpenOptions::new().create(true).append(true).open(path)?;
                    command.stdout(file.try_clone()?).stderr(file);
                }
                None => {
                    command.stdout(Stdio::null()).stderr(Stdio::null());
                }
            }
        }
        if let Some((uid, gid)) = self.user {
            // A working folder that the user may not enter makes Postgres complain.
            command.uid(uid.as_raw()).gid(gid.as_raw()).current_dir("/");
        }
        death::die_with_parent(&mut command, self.death);
        Child::watch(spawn_from_the_lasting_thread(command)?, self.death, !self.foreground)
    }
}

type Job = (process::Command, mpsc::SyncSender<io::Result<process::Child>>);

/// The parent-death signal fires when the spawning *thread* ends, and runtimes end threads at will
/// (each test has a runtime of its own): so one thread that ends only with the process spawns
/// everybody.
fn spawn_from_the_lasting_thread(command: process::Command) -> io::Result<process::Child> {
    static SPAWNER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

    let (answer, answered) = mpsc::sync_channel(1);
    {
        let mut spawner = lock(&SPAWNER);
        let jobs = match spawner.as_ref() {
            Some(jobs) => jobs,
            None => {
                let (jobs, inbox) = mpsc::channel::<Job>();
                thread::Builder::new().name("sandbox-spawner".to_owned()).spawn(move || {
                    for (mut command, answer) in inbox {
                        // There is no waiter any more only if the caller's thread was lost: the
                        // child then ends here.
                        if let Err(mpsc::SendError(Ok(mut orphan))) = answer.send(command.spawn()) {
                            let _ = orphan.kill();
                            let _ = orphan.wait();
                        }
                    }
                })?;
                spawner.insert(jobs)
            }
        };
        jobs.send((command, answer)).map_err(io::Error::other)?;
    }
    answered.recv().map_err(io::Error::other)?
}

/// A running (or ended) child process. Dropped, it is stopped with its death signal, then SIGKILL.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    death: Signal,
    leads_a_group: bool,
    shared: Arc<Shared>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

#[derive(Debug)]
struct Shared {
    /// Set together with the reaping of the process, under the lock: a holder that finds
    /// `None` may send a signal without ever hitting another process that got the same id.
    status: Mutex<Option<ExitStatus>>,
    changed: Condvar,
}

impl Child {
    fn watch(mut child: process::Child, death: Signal, leads_a_group: bool) -> io::Result<Self> {
        let raw = i32::try_from(child.id()).map_err(io::Error::other)?;
        let pid = Pid::from_raw(raw);
        let shared = Arc::new(Shared { status: Mutex::new(None), changed: Condvar::new() });
        let (tell, ended) = watch::channel(None);
        let waiter = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("sandbox-wait-{raw}"))
            .stack_size(WAITER_STACK_BYTES)
            .spawn(move || {
            while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
                == Err(Errno::EINTR)
            {}
            let mut status = lock(&waiter.status);
            // It has ended, so this returns at once. Should the system refuse, the child is not
            // ours any more.
            let ended = child.wait().unwrap_or_default();
            *status = Some(ended);
            waiter.changed.notify_all();
            tell.send_replace(Some(ended));
        })?;
        Ok(Self { pid, death, leads_a_group, shared, ended })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<ExitStatus> {
        *lock(&self.shared.status)
    }

    /// Waits until it has ended, however long that takes.
    pub async fn wait(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            // The waiting thread is gone without a word: it panicked. The status it left, if any,
            // is all there is.
            Err(_) => self.ended().unwrap_or_default(),
        }
    }

    /// Sends it a signal. False if it had ended.
    pub fn signal(&self, signal: Signal) -> bool {
        let status = lock(&self.shared.status);
        status.is_none() && signal::kill(self.pid, signal).is_ok()
    }

    /// SIGKILL, to it and all it started that is still in its group.
    pub fn kill(&self) {
        let status = lock(&self.shared.status);
        if status.is_none() {
            if self.leads_a_group {
                let _ = signal::killpg(self.pid, Signal::SIGKILL);
            }
            let _ = signal::kill(self.pid, Signal::SIGKILL);
        }
    }

    /// Sends `signal`, waits at most `grace`, then kills. True if killing was not needed.
    pub async fn stop(&self, signal: Signal, grace: Duration) -> bool {
        self.signal(signal);
        // A stopped (paused) process acts on nothing but SIGKILL until it goes on.
        self.signal(Signal::SIGCONT);
        if tokio::time::timeout(grace, self.wait()).await.is_ok() {
            return true;
        }
        self.kill();
        self.wait().await;
        false
    }

    fn wait_blocking(&self, limit: Duration) -> bool {
        let (status, _) = self
            .shared
            .changed
            .wait_timeout_while(lock(&self.shared.status), limit, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        status.is_some()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        if self.death != Signal::SIGKILL {
            self.signal(self.death);
            self.signal(Signal::SIGCONT);
            if self.wait_blocking(DROP_GRACE) {
                return;
            }
        }
        self.kill();
        self.wait_blocking(DROP_GRACE);
    }
}

/// The end of a log file, for an error message: what was written behind `from_byte`, at most 15
/// lines.
pub(crate) fn log_tail(path: &Path, from_byte: u64) -> String {
    let Ok(bytes) = std::fs::read(path) else {
        return format!("({} cannot be read)", path.display());
    };
    let from = usize::try_from(from_byte).unwrap_or(bytes.len()).min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[from..]);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// No lock here guards a state that a panic could leave half-written.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
