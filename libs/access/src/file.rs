//! Files that are read again while the process runs, so that keys and certificates rotate without a
//! restart.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};

/// What files are read by: their texts, in order, to the value, or why they are broken.
type Source<T> = Box<dyn Fn(&[String]) -> Result<T, String> + Send + Sync>;

/// The value of one file or of several that belong together, such as a certificate and its key.
/// Files that cannot be read or are broken when they are looked at again leave the value as it was.
pub struct Reloaded<T> {
    paths: Vec<PathBuf>,
    parse: Source<T>,
    value: ArcSwap<T>,
    last: Mutex<Last>,
}

impl<T: fmt::Debug> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded")
            .field("paths", &self.paths)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Last {
    /// What was read. Not the texts themselves: they may be secret.
    digest: [u8; 32],
    /// Why the newest texts are not in use.
    complaint: Option<String>,
}

/// What a look at the files has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// They have other content, which is in use from now on.
    Taken,
    /// They were broken and have their old content again.
    Mended,
    /// One is broken or away; the old content stays in use. Told once for each complaint.
    Broken(String),
}

impl<T> Reloaded<T> {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// If it cannot be read or is broken: a process must not start without it.
    pub fn open(
        path: &Path,
        parse: impl Fn(&str) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let only = move |texts: &[String]| parse(texts.first().map_or("", String::as_str));
        Self::open_all(vec![path.to_owned()], only)
    }

    /// Reads files that belong together for the first time; `parse` gets their texts in this order.
    ///
    /// # Errors
    /// If one cannot be read or is broken.
    pub fn open_all(
        paths: Vec<PathBuf>,
        parse: impl Fn(&[String]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let texts = read(&paths)?;
        let value = parse(&texts)?;
        Ok(Self {
            paths,
            parse: Box::new(parse),
            value: ArcSwap::from_pointee(value),
            last: Mutex::new(Last { digest: digest(&texts), complaint: None }),
        })
    }

    /// The present value.
    pub fn get(&self) -> Arc<T> {
        self.value.load_full()
    }

    /// Looks at the files again. `None`: nothing to tell.
    pub fn refresh(&self) -> Option<Change> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = read(&self.paths).and_then(|texts| {
            let digest = digest(&texts);
            if digest == last.digest {
                return Ok(None);
            }
            let value = (self.parse)(&texts)?;
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

fn digest(texts: &[String]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for text in texts {
        // Each by itself: what moves from one file to the next is another content.
        hasher.update(Sha256::digest(text.as_bytes()));
    }
    hasher.finalize().into()
}

fn read(paths: &[PathBuf]) -> Result<Vec<String>, String> {
    let text = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    paths.iter().map(text).collect()
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
        assert!(Reloaded::open(&path, number).unwrap_err().contains("number"));
        std::fs::write(&path, "x").unwrap();
        assert!(Reloaded::open(&path, number).is_err());

        std::fs::write(&path, "1").unwrap();
        let file = Reloaded::open(&path, number).unwrap();
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
        let file = Reloaded::open(&path, hidden).unwrap();
        assert!(!format!("{file:?}").contains("4711"));
    }

    #[test]
    fn files_that_belong_together_are_taken_together() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name)).to_vec();
        std::fs::write(&paths[0], "1").unwrap();
        let pair = |texts: &[String]| {
            if texts[0] == texts[1] { Ok(texts.concat()) } else { Err("no pair".to_owned()) }
        };
        assert!(Reloaded::open_all(paths.clone(), pair).is_err());
        std::fs::write(&paths[1], "1").unwrap();
        let files = Reloaded::open_all(paths.clone(), pair).unwrap();
        std::fs::write(&paths[0], "2").unwrap();
        assert_eq!(files.refresh(), Some(Change::Broken("no pair".to_owned())));
        std::fs::write(&paths[1], "2").unwrap();
        assert_eq!((files.refresh(), files.get().as_str()), (Some(Change::Taken), "22"));
    }
}
