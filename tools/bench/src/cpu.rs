//! Processor time and memory of processes, from `/proc`, and processor time of a thread.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::Context as _;
use nix::time::ClockId;

/// Processor seconds by who used them.
pub(crate) type Seconds = BTreeMap<&'static str, f64>;

/// The processes whose time is told apart.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// Name and process; several may share a name.
    pub(crate) processes: Vec<(&'static str, u32)>,
}

impl Watched {
    /// What each has used so far, children included.
    pub(crate) fn read(&self) -> Seconds {
        let all: Vec<Stat> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Stat::read(entry.file_name().to_str()?.parse().ok()?))
            .collect();
        let mut seconds = Seconds::new();
        for (name, pid) in &self.processes {
            let of = |stat: &&Stat| {
                stat.pid == *pid || (stat.parent == *pid && *pid != std::process::id())
            };
            let used: f64 = all.iter().filter(of).map(|stat| stat.seconds).sum();
            *seconds.entry(name).or_default() += used;
        }
        seconds
    }
}

/// What was used between two readings.
pub(crate) fn between(before: &Seconds, after: &Seconds) -> Seconds {
    after
        .iter()
        .map(|(name, seconds)| (*name, seconds - before.get(name).copied().unwrap_or_default()))
        .collect()
}

/// Processor time of the calling thread so far, to the nanosecond: `/proc` has ticks of 10 ms.
pub(crate) fn of_this_thread() -> anyhow::Result<Duration> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
}

/// The memory that a process has in RAM, in MB.
pub(crate) fn resident_mb(pid: u32) -> anyhow::Result<f64> {
    Ok(kib(&pid.to_string(), "VmRSS:")? * 1_024.0 / 1_000_000.0)
}

/// The most memory that this process has had in RAM so far, in MiB.
pub(crate) fn peak_mib() -> anyhow::Result<f64> {
    Ok(kib("self", "VmHWM:")? / 1_024.0)
}

/// What proc(5) says of a process, in KiB; it writes kB.
fn kib(process: &str, field: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse().ok()).context("a process without memory")
}

struct Stat {
    pid: u32,
    parent: u32,
    seconds: f64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // What is before the last parenthesis may hold spaces; behind it stand fields 3 and up of
        // proc(5): state, parent, and from field 14 on the user and system time of the process and
        // of its children that have ended, in ticks of 10 ms. This program's own children are
        // measured as themselves.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let own = ticks(14)? + ticks(15)?;
        let ended = if pid == std::process::id() { 0.0 } else { ticks(16)? + ticks(17)? };
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, seconds: (own + ended) / 100.0 })
    }
}
