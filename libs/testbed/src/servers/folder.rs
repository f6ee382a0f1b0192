//! Folders that belong to a living process: locked while it lives, swept by the next one after it
//! died.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

const LOCK: &str = "lock";

/// A fresh folder, locked until this value (or the process) is gone. Process ids would not do: they
/// are used again, and two containers that share the disk count them apart.
#[derive(Debug)]
pub(crate) struct LockedFolder {
    path: PathBuf,
    /// Held open: the kernel drops the lock with the process, however that ends.
    _lock: File,
}

impl LockedFolder {
    /// Sweeps what dead processes left in `parent`, then makes `<parent>/<prefix><pid>-<random>`.
    pub(crate) fn create(parent: &Path, prefix: &str) -> io::Result<Self> {
        sweep(parent, prefix)?;
        // Made and locked under another name, so that no sweep ever sees it unlocked.
        let made = tempfile::Builder::new()
            .prefix(&format!(".new-{prefix}{}-", std::process::id()))
            .tempdir_in(parent)?
            .keep();
        // Others may pass through (Postgres may run as another user) but not look around.
        fs::set_permissions(&made, Permissions::from_mode(0o711))?;
        let lock = File::create(made.join(LOCK))?;
        lock.lock()?;
        let name = made
            .file_name()
            .map(|name| name.to_string_lossy().replacen(".new-", "", 1))
            .unwrap_or_default();
        let path = parent.join(name);
        fs::rename(&made, &path)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder with all that is in it.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// Removes the folders of this kind that no process holds. In a shared place such as /tmp only our
/// own are touched.
fn sweep(parent: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let Ok(entry) = entry else { continue };
        let ours = entry.file_name().to_string_lossy().starts_with(prefix)
            && entry
                .metadata()
                .is_ok_and(|meta| meta.is_dir() && meta.uid() == Uid::effective().as_raw());
        if !ours {
            continue;
        }
        let path = entry.path();
        match File::open(path.join(LOCK)) {
            Ok(lock) if lock.try_lock().is_err() => {}
            // Unlocked, or half removed by a sweep that died. Another sweep may be at it too:
            // whatever is left of it then is not worth failing for.
            Ok(_) | Err(_) => {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_folder_is_swept_once_its_owner_is_gone_and_not_before() {
        let parent = tempfile::tempdir().unwrap();
        let first = LockedFolder::create(parent.path(), "run-").unwrap();
        fs::write(first.path().join("data"), "x").unwrap();
        let second = LockedFolder::create(parent.path(), "run-").unwrap();
        assert!(first.path().exists());

        let left_behind = first.path().to_owned();
        drop(first);
        let _third = LockedFolder::create(parent.path(), "run-").unwrap();
        assert!(!left_behind.exists());
        assert!(second.path().exists());
    }

    #[test]
    fn folders_of_another_kind_are_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        fs::create_dir(parent.path().join("precious")).unwrap();
        let _folder = LockedFolder::create(parent.path(), "run-").unwrap();
        assert!(parent.path().join("precious").exists());
    }
}
