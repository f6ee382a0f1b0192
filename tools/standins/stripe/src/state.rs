//! The state on disk, with which the stand-in survives a restart: a journal of steps, one JSON
//! object a line, appended before a step is answered.
//!
//! A step holds the whole of every object that it changed, so reading the lines in their order, and
//! taking each object as it was last, restores everything. A line that the end of the process cut
//! off is no step: it was never answered. At the start the journal is rewritten with what is left
//! of it, so that it grows only while the stand-in runs, to 4 GiB at most.
//!
//! The journal is written before the log (see [`crate::log`]). A step therefore carries its lines
//! of the log and where they begin: what of them is missing there is appended at the next start.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::idempotency::KeptKey;
use crate::intents::{Charge, ConfirmationToken, Dispute, PaymentIntent, Refund};
use crate::ledger::StoredEvent;

/// The size to which a journal can grow; beyond it, steps are refused.
const MAX_BYTES: u64 = 4 << 30;

/// One changed object, as it is now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    Intent(Box<PaymentIntent>),
    Charge(Box<Charge>),
    Refund(Refund),
    Dispute(Dispute),
    Token(ConfirmationToken),
    Event(StoredEvent),
    /// The event of that id is no longer pending.
    Delivered(String),
    Key(KeptKey),
    /// The clock is ahead of the machine's by so many milliseconds.
    AheadMs(u64),
}

/// A step's lines of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Logged {
    /// The byte of the log at which they begin.
    pub at: u64,
    pub text: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Step<R, L> {
    records: R,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<L>,
}

/// What a journal had in it.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order in which they were written.
    pub records: Vec<Record>,
    /// The lines of the last step that had any.
    pub logged: Option<Logged>,
}

/// Reads the journal, which need not exist.
///
/// # Errors
/// If the file cannot be read, or a line other than the last is not a step.
pub fn read(path: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            break;
        }
        let step: Step<Vec<Record>, Logged> = serde_json::from_slice(&line).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {number} is no step: {error}"))
        })?;
        found.records.extend(step.records);
        found.logged = step.log.or(found.logged);
    }
    Ok(found)
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    len: u64,
}

impl Journal {
    /// Writes a journal of these records, each a step, in the place of the old one, and opens it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn replace(path: &Path, records: impl Iterator<Item = Record>) -> io::Result<Self> {
        let draft = PathBuf::from(format!("{}.tmp", path.display()));
        let mut writer = BufWriter::new(File::create(&draft)?);
        for record in records {
            writer.write_all(&line(&[record], None)?)?;
        }
        let file = writer.into_inner()?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// Appends a step and hands it to the operating system. Returns where it begins, for `undo`.
    ///
    /// # Errors
    /// If it cannot be written, or the journal is full; then nothing of it is there.
    pub fn append(&mut self, records: &[Record], log: Option<&Logged>) -> io::Result<u64> {
        let before = self.len;
        let line = line(records, log)?;
        if before + line.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the journal is full"));
        }
        if let Err(error) = self.file.write_all(&line) {
            self.undo(before)?;
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(before)
    }

    /// Takes back everything from there on.
    ///
    /// # Errors
    /// If the file cannot be cut off there.
    pub fn undo(&mut self, before: u64) -> io::Result<()> {
        self.file.set_len(before)?;
        self.len = before;
        Ok(())
    }
}

fn line(records: &[Record], log: Option<&Logged>) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Step { records, log })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn torn_last_line_is_no_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert!(read(&path).unwrap().records.is_empty());
        let mut journal = Journal::replace(&path, [Record::AheadMs(1)].into_iter()).unwrap();
        let logged = Logged { at: 7, text: "line\n".into() };
        journal.append(&[Record::AheadMs(2), Record::AheadMs(3)], Some(&logged)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let torn = journal.append(&[Record::AheadMs(4)], None).unwrap();
        assert_eq!(torn, whole.len() as u64);

        let all = std::fs::read(&path).unwrap();
        for end in whole.len()..all.len() {
            std::fs::write(&path, &all[..end]).unwrap();
            let found = read(&path).unwrap();
            assert_eq!(found.records.len(), 3, "cut off at byte {end}");
            assert_eq!(found.logged.unwrap().at, 7);
        }
        std::fs::write(&path, &all).unwrap();
        assert_eq!(read(&path).unwrap().records.len(), 4);
        std::fs::write(&path, [b"nonsense\n", all.as_slice()].concat()).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn undone_step_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut journal = Journal::replace(&path, std::iter::empty()).unwrap();
        journal.append(&[Record::AheadMs(1)], None).unwrap();
        let before = journal.append(&[Record::AheadMs(2)], None).unwrap();
        journal.undo(before).unwrap();
        journal.append(&[Record::AheadMs(3)], None).unwrap();
        let found = read(&path).unwrap().records;
        assert!(matches!(found[..], [Record::AheadMs(1), Record::AheadMs(3)]), "{found:?}");
    }
}
