//! The tie that ends a child with its parent: the kernel's parent-death signal.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd;

/// Has `command`'s process get `signal` when the *thread* that spawns it ends, for whatever reason.
///
/// The setting does not outlive a later change of user; `Command::uid` is carried out before this
/// hook, so it is safe to combine the two.
#[allow(
    unsafe_code,
    reason = "pre_exec is the only place between fork and exec, and it is unsafe by signature"
)]
pub(crate) fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = unistd::getpid();
    let hook = move || -> io::Result<()> {
        prctl::set_pdeathsig(signal)?;
        // The parent may have died before the line above: then the signal is never sent.
        if unistd::getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        Ok(())
    };
    // SAFETY: the hook runs in the forked child before exec and calls only prctl(2) and getppid(2),
    // which are safe after a fork of a process with threads; it allocates nothing and takes no
    // lock.
    unsafe {
        command.pre_exec(hook);
    }
}
