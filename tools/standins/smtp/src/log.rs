//! The sink's log: one JSON object a line per accepted message; the format is in the README.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use uuid::Uuid;

use crate::message::Message;
use crate::session::Envelope;

#[derive(Debug, Serialize)]
struct Line<'a> {
    ts_ms: u64,
    from: &'a str,
    to: &'a [String],
    message_id: Option<&'a str>,
    subject: Option<&'a str>,
    size: usize,
    headers: &'a BTreeMap<String, String>,
    body_sha256: &'a str,
}

/// The open log, and the folder for whole messages if there is one.
#[derive(Debug)]
pub struct Log {
    file: Mutex<BufWriter<File>>,
    maildir: Option<PathBuf>,
}

impl Log {
    /// Opens the file for appending and creates the folder.
    ///
    /// # Errors
    /// The I/O error of either.
    pub fn open(path: &Path, maildir: Option<&Path>) -> io::Result<Self> {
        if let Some(folder) = maildir {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let maildir = maildir.map(Path::to_owned);
        Ok(Self { file: Mutex::new(BufWriter::new(file)), maildir })
    }

    /// Stores a message. Once this returns, the operating system has it: only then may it be
    /// accepted.
    ///
    /// # Errors
    /// The I/O error of writing; the message must not be accepted then.
    pub fn keep(&self, envelope: &Envelope, raw: &[u8]) -> io::Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ts_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        if let Some(folder) = &self.maildir {
            std::fs::write(folder.join(format!("{ts_ms}-{}.eml", Uuid::new_v4())), raw)?;
        }
        let message = Message::read(raw);
        let mut text = serde_json::to_vec(&Line {
            ts_ms,
            from: &envelope.from,
            to: &envelope.to,
            message_id: message.message_id.as_deref(),
            subject: message.subject.as_deref(),
            size: raw.len(),
            headers: &message.headers,
            body_sha256: &message.body_sha256,
        })?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&text)?;
        file.flush()
    }
}
