//! Where data goes: `.flashsale/` in the workspace, with a folder for each run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::folder::LockedFolder;

const NAME: &str = ".flashsale";

/// The data folder: `FLASHSALE_HOME` if set, else `.flashsale` beside the nearest `Cargo.lock` above the working folder,
/// else `.flashsale` in the working folder.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Finds the data folder; it need not exist yet.
    ///
    /// # Errors
    /// If the working folder is gone.
    pub fn locate() -> io::Result<Self> {
        let cwd = std::env::current_dir()?;
        if let Some(path) = std::env::var_os("FLASHSALE_HOME").filter(|path| !path.is_empty()) {
            return Ok(Self { path: cwd.join(path) });
        }
        Ok(Self::above(&cwd))
    }

    fn above(cwd: &Path) -> Self {
        let workspace =
            cwd.ancestors().find(|folder| folder.join("Cargo.lock").exists()).unwrap_or(cwd);
        Self { path: workspace.join(NAME) }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where `scripts/setup.sh` puts the tools it brings: `FLASHSALE_TOOLS` if set, else `tools` in the data folder.
    pub fn tools(&self) -> PathBuf {
        match std::env::var_os("FLASHSALE_TOOLS").filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => self.path.join("tools"),
        }
    }

    /// A fresh folder for this run, `runs/<pid>-<random>`, so that runs beside each other do not meet. It stays when the
    /// run ends, for its logs to be read; the next run removes it.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn run_dir(&self) -> io::Result<RunDir> {
        let runs = self.path.join("runs");
        fs::create_dir_all(&runs)?;
        Ok(RunDir { folder: LockedFolder::create(&runs, "run-")? })
    }
}

/// The folder of one run, safe from being swept as long as this value lives.
#[derive(Debug)]
pub struct RunDir {
    folder: LockedFolder,
}

impl RunDir {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes it now, for a run whose logs nobody will want. Stop the servers first.
    ///
    /// # Errors
    /// If something in it cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        self.folder.remove()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_data_folder_stands_beside_the_lock_file_of_the_workspace() {
        let workspace = tempfile::tempdir().unwrap();
        fs::write(workspace.path().join("Cargo.lock"), "").unwrap();
        let inner = workspace.path().join("libs/one");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(Home::above(&inner).path(), workspace.path().join(".flashsale"));
    }

    #[test]
    fn outside_of_a_workspace_the_data_folder_stands_in_the_working_folder() {
        let cwd = tempfile::tempdir().unwrap();
        assert_eq!(Home::above(cwd.path()).path(), cwd.path().join(".flashsale"));
    }
}
