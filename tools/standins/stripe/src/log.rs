//! The stand-in's log of what happened to the money, for an auditor.
//!
//! One JSON object a line, written and flushed before the answer that reports it; the format is
//! in the README. Nothing else writes to the file, and lines are only ever appended.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
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
    pub request_id: &'a str,
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
    }
}

#[derive(Debug)]
pub struct Log {
    file: BufWriter<File>,
}

impl Log {
    /// Opens the file for appending; earlier lines stay.
    ///
    /// # Errors
    /// If the file cannot be opened or created.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: BufWriter::new(file) })
    }

    /// Appends the lines of one step and hands them to the operating system.
    ///
    /// # Errors
    /// The I/O error of writing; the step must not be answered as done then.
    pub fn append(&mut self, lines: &[Line<'_>]) -> io::Result<()> {
        for line in lines {
            serde_json::to_writer(&mut self.file, line)?;
            self.file.write_all(b"\n")?;
            self.file.flush()?;
        }
        Ok(())
    }
}
