//! The stand-in's log of what happened to the money, for an auditor.
//!
//! One JSON object a line, written and flushed before the answer that reports it; the format is
//! in the README. Nothing else writes to the file, and lines are only ever appended.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::intents::Fact;

#[derive(Debug, Serialize)]
pub struct Line<'a> {
    /// Milliseconds since 1970.
    pub ts_ms: u64,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub payment_intent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispute: Option<&'a str>,
    /// The test method that was charged, by the name that the caller gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<&'a str>,
    /// Smallest currency unit.
    pub amount: i64,
    pub currency: &'a str,
    /// `metadata.order_id`.
    pub order_id: Option<&'a str>,
    /// `metadata.sale_id`.
    pub sale_id: Option<&'a str>,
    pub idempotency_key: Option<&'a str>,
    /// The request that did it; none for what came about by itself.
    pub request_id: Option<&'a str>,
}

/// The `type` of an event in the log.
#[must_use]
pub fn name(fact: Fact) -> &'static str {
    match fact {
        Fact::Created => "payment_intent.created",
        Fact::Confirmed => "payment_intent.confirmed",
        Fact::RequiresAction => "payment_intent.requires_action",
        Fact::Captured => "payment_intent.captured",
        Fact::Declined => "payment_intent.declined",
        Fact::Canceled => "payment_intent.canceled",
        Fact::Refunded => "payment_intent.refunded",
        Fact::RefundFailed => "payment_intent.refund_failed",
        Fact::Disputed => "payment_intent.disputed",
        Fact::DisputeWon => "payment_intent.dispute_won",
        Fact::DisputeLost => "payment_intent.dispute_lost",
    }
}

/// The lines as they stand in the file.
///
/// # Errors
/// If a line cannot be written as JSON.
pub fn text(lines: &[Line<'_>]) -> io::Result<String> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line)?);
        text.push('\n');
    }
    Ok(text)
}

#[derive(Debug)]
pub struct Log {
    file: File,
    len: u64,
}

impl Log {
    /// Opens the file for appending; earlier lines stay.
    ///
    /// # Errors
    /// If the file cannot be opened or created.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    /// The offset in bytes at which the next line begins.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.len
    }

    /// Appends the lines of one step and hands them to the operating system.
    ///
    /// # Errors
    /// The I/O error of writing; the step must not be answered as done then.
    pub fn append(&mut self, text: &str) -> io::Result<()> {
        self.append_bytes(text.as_bytes())
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // A part of a step is none: its first lines may have been written.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Appends what is missing of a step's lines, which began at the byte `at`, when the process
    /// ended between the state and the log. A log that is elsewhere by now is left as it is.
    ///
    /// # Errors
    /// The I/O error of writing.
    pub fn complete(&mut self, at: u64, text: &str) -> io::Result<()> {
        let written = self.len.checked_sub(at).and_then(|written| usize::try_from(written).ok());
        match written.and_then(|written| text.as_bytes().get(written..)) {
            Some(missing) => self.append_bytes(missing),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_missing_bytes_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        // (what the log has of a step at byte 4, what it has then)
        let rows = [("abc\n", "abc\nd\u{e9}f\n"), ("abc\nd", "abc\nd\u{e9}f\n"), ("ab", "ab")];
        for (before, after) in rows {
            std::fs::write(&path, before).unwrap();
            Log::open(&path).unwrap().complete(4, "d\u{e9}f\n").unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after, "{before:?}");
        }
        let later = "abc\nd\u{e9}f\nghi\n";
        std::fs::write(&path, later).unwrap();
        Log::open(&path).unwrap().complete(4, "d\u{e9}f\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), later);
    }
}
