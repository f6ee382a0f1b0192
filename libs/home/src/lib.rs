//! Where data goes on this machine: `.flashsale/` in the workspace.

use std::{
    io,
    path::{Path, PathBuf},
};

const NAME: &str = ".flashsale";

/// The data folder: `FLASHSALE_HOME` if set, else `.flashsale` beside the nearest `Cargo.lock`
/// above the working folder, else `.flashsale` in the working folder.
#[derive(Debug, Clone)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// Finds the data folder; it need not exist yet.
    ///
    /// # Errors
    /// If the working folder cannot be read, as after its removal.
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

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where `scripts/setup.sh` installs tools: `FLASHSALE_TOOLS` if set, else `tools` in the data
    /// folder.
    pub fn tools(&self) -> PathBuf {
        match std::env::var_os("FLASHSALE_TOOLS").filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => self.path.join("tools"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::fs;

    use super::*;

    #[test]
    fn home_is_beside_the_lock_file() {
        let workspace = tempfile::tempdir().unwrap();
        fs::write(workspace.path().join("Cargo.lock"), "").unwrap();
        let inner = workspace.path().join("libs/one");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(Home::above(&inner).path(), workspace.path().join(".flashsale"));
    }

    #[test]
    fn home_outside_a_workspace_is_local() {
        let cwd = tempfile::tempdir().unwrap();
        assert_eq!(Home::above(cwd.path()).path(), cwd.path().join(".flashsale"));
    }
}
