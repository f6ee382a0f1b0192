//! A folder for each run in the data folder.

use std::fs;
use std::io;
use std::path::Path;

use flashsale_home::Home;

use super::folder::LockedFolder;

/// The folder of one run, safe from being swept as long as this value lives.
#[derive(Debug)]
pub struct RunDir {
    folder: LockedFolder,
}

impl RunDir {
    /// A fresh folder for this run in `home`, `runs/<pid>-<random>`, so that runs beside each other
    /// do not meet. It stays when the run ends, for its logs to be read; the next run removes it.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn create(home: &Home) -> io::Result<Self> {
        let runs = home.path().join("runs");
        fs::create_dir_all(&runs)?;
        Ok(Self { folder: LockedFolder::create(&runs, "run-")? })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes it now, for a run whose logs are not wanted. Stop the servers first.
    ///
    /// # Errors
    /// If something in it cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        self.folder.remove()
    }
}
