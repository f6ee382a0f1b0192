//! A file that is read again while the process runs, so that keys and certificates rotate without a
//! restart.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, TryLockError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};

/// What a file is read by: its text to the value, or why it is broken.
pub type Source<T> = fn(&str) -> Result<T, String>;

/// The value of a file, read again at most once per interval when it is asked for. A file that
/// cannot be read or is broken leaves the value as it was.
#[derive(Debug)]
pub struct Reloaded<T> {
    path: PathBuf,
    parse: Source<T>,
    every: Duration,
    value: ArcSwap<T>,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    read_at: Instant,
    /// What was read. Not the text itself: it may be a secret.
    digest: [u8; 32],
    /// Why the newest text is not in use.
    complaint: Option<String>,
}

/// What a look at the file has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It has other content, which is in use from now on.
    Taken,
    /// It was broken and has its old content again.
    Mended,
    /// It is broken or away; the old content stays in use. Told once for each complaint.
    Broken(String),
}

impl<T> Reloaded<T> {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// If it cannot be read or is broken: a process must not start without it.
    pub fn open(path: &Path, every: Duration, parse: Source<T>) -> Result<Self, String> {
        let text = read(path)?;
        let value = parse(&text)?;
        Ok(Self {
            path: path.to_owned(),
            parse,
            every,
            value: ArcSwap::from_pointee(value),
            last: Mutex::new(Last {
                read_at: Instant::now(),
                digest: digest(&text),
                complaint: None,
            }),
        })
    }

    /// The present value.
    pub fn get(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// Looks at the file if the last look is older than the interval. While one thread looks, the
    /// others go on with the old value. `None`: nothing to tell.
    pub fn refresh(&self) -> Option<Change> {
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if last.read_at.elapsed() < self.every {
            return None;
        }
        last.read_at = Instant::now();
        let taken = read(&self.path).and_then(|text| {
            let digest = digest(&text);
            if digest == last.digest {
                return Ok(None);
            }
            let value = (self.parse)(&text)?;
            Ok(Some((digest, value)))
        });
        match taken {
            Ok(new) => {
                let was_broken = last.complaint.take().is_some();
                let Some((digest, value)) = new else {
                    return was_broken.then_some(Change::Mended);
                };
                last.digest = digest;
                self.value.store(Arc::new(value));
                Some(Change::Taken)
            }
            Err(complaint) => {
                let told = last.complaint.as_ref() == Some(&complaint);
                last.complaint = Some(complaint.clone());
                (!told).then_some(Change::Broken(complaint))
            }
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn number(text: &str) -> Result<u32, String> {
        text.trim().parse().map_err(|_| "it is not a number".to_owned())
    }

    #[test]
    fn a_broken_file_leaves_the_old_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        assert!(Reloaded::open(&path, Duration::ZERO, number).unwrap_err().contains("number"));
        std::fs::write(&path, "x").unwrap();
        assert!(Reloaded::open(&path, Duration::ZERO, number).is_err());

        std::fs::write(&path, "1").unwrap();
        let file = Reloaded::open(&path, Duration::ZERO, number).unwrap();
        assert_eq!((*file.get(), file.refresh()), (1, None));
        std::fs::write(&path, "2").unwrap();
        assert_eq!((file.refresh(), *file.get()), (Some(Change::Taken), 2));

        std::fs::write(&path, "three").unwrap();
        assert_eq!(file.refresh(), Some(Change::Broken("it is not a number".to_owned())));
        assert_eq!((file.refresh(), *file.get()), (None, 2));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(file.refresh(), Some(Change::Broken(_))));
        assert_eq!(*file.get(), 2);
        std::fs::write(&path, "2").unwrap();
        assert_eq!((file.refresh(), file.refresh()), (Some(Change::Mended), None));
    }

    #[test]
    fn what_was_read_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "4711").unwrap();
        let hidden = |text: &str| Ok(text.len());
        let file = Reloaded::open(&path, Duration::ZERO, hidden).unwrap();
        assert!(!format!("{file:?}").contains("4711"));
    }

    #[test]
    fn it_is_read_once_per_interval() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let file = Reloaded::open(&path, Duration::from_secs(3_600), number).unwrap();
        std::fs::write(&path, "2").unwrap();
        assert_eq!((file.refresh(), *file.get()), (None, 1));
    }
}
