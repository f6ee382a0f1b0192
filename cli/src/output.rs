//! Output as tables or JSON, and errors with their next step.

use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
};

use comfy_table::{Cell, CellAlignment, Table, presets};
use flashsale_errors::Failure;
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::Status;

use crate::client::Target;

/// The reader of the output has closed it, as `head` does once it has its lines: the program ends
/// without a message.
#[derive(Debug)]
pub struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the output was closed by its reader")
    }
}

impl std::error::Error for ReaderGone {}

/// Prints answers and errors, not with `println!` and the like, which panic when a pipe is closed.
#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
    reader_gone: watch::Sender<bool>,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json, reader_gone: watch::Sender::new(false) }
    }

    /// Whether JSON was requested: then nothing else goes to standard output.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints an answer: `value` as JSON, or the text that `human` returns.
    ///
    /// # Errors
    /// [`ReaderGone`] for a closed pipe; otherwise the I/O error of standard output.
    pub fn print(&self, value: &Value, human: impl FnOnce() -> String) -> anyhow::Result<()> {
        self.answer(&if self.json { format!("{value:#}") } else { human() })
    }

    /// Prints one value of a stream: a line of JSON, or of text.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn line(&self, value: &Value, human: impl FnOnce() -> String) -> anyhow::Result<()> {
        self.answer(&if self.json { value.to_string() } else { human() })
    }

    /// Writes a part of a file to standard output.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn bytes(&self, part: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(part).and_then(|()| stdout.flush()).map_err(unwritten)
    }

    /// Prints a text unchanged.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn answer(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(unwritten)
    }

    /// Writes a line to standard error.
    pub fn say(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Writes to standard error without ending the line.
    pub fn write(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let written = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        // No other failure of standard error can be reported anywhere.
        if written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            self.reader_gone.send_replace(true);
        }
    }

    /// Waits until a write has found standard error closed, so that a long command can stop.
    pub async fn reader_gone(&self) {
        if self.reader_gone.subscribe().wait_for(|gone| *gone).await.is_err() {
            // Unreachable: `self` holds the sender.
            std::future::pending::<()>().await;
        }
    }

    /// Prints what went wrong and what to do next. `target` is the service that was called, if any.
    pub fn error(&self, error: &anyhow::Error, target: Option<&Target>) {
        let status = error.downcast_ref::<Status>();
        if let Some(failure) = status.and_then(Failure::from_status) {
            if self.json {
                self.error_json(&failure_json(&failure));
            } else {
                self.say(&failure_text(&failure));
            }
            return;
        }
        let (message, next_step) = match (status, target) {
            (Some(status), Some(target)) => target.trouble(status),
            (Some(status), None) => (
                format!("the services that were started here do not answer ({})", status.message()),
                Some("Read their log: the newest .flashsale/runs/*/services.log.".to_owned()),
            ),
            (None, _) => (format!("{error:#}"), None),
        };
        if self.json {
            let mut value = json!({ "message": message });
            if let Some(next_step) = &next_step {
                value["next_step"] = json!(next_step);
            }
            self.error_json(&value);
        } else {
            self.say(&format!("flashsale: {message}"));
            if let Some(next_step) = next_step {
                self.say(&format!("What to do: {next_step}"));
            }
        }
    }

    fn error_json(&self, error: &Value) {
        // If this fails too, only the exit code is left to report the error.
        self.answer(&format!("{:#}", json!({ "error": error }))).ok();
    }
}

/// Why standard output takes no more.
fn unwritten(error: io::Error) -> anyhow::Error {
    if error.kind() == ErrorKind::BrokenPipe {
        ReaderGone.into()
    } else {
        anyhow::Error::new(error).context("standard output cannot be written")
    }
}

fn failure_json(failure: &Failure) -> Value {
    json!({
        "reason": failure.reason().as_str(),
        "message": failure.what(),
        "next_step": failure.reason().next_step(),
        "metadata": failure.metadata(),
        "fields": failure.violations().iter()
            .map(|violation| json!({ "field": violation.field, "problem": violation.description }))
            .collect::<Vec<_>>(),
        "retry_after_ms": failure.delay().map(|delay| delay.as_millis() as u64),
    })
}

fn failure_text(failure: &Failure) -> String {
    let places: Vec<String> = failure
        .violations()
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect();
    let mut text = failure.reason().as_str().to_owned();
    // The message of a failure repeats its first field violation: print it once.
    if !places.first().is_some_and(|first| failure.what().starts_with(first)) {
        text.push_str(&format!(": {}", failure.what()));
    }
    for place in places {
        text.push_str(&format!("\n  {place}"));
    }
    text.push_str(&format!("\nWhat to do: {}", failure.reason().next_step()));
    text
}

/// A table; the columns with an index in `numbers` are aligned to the right.
pub fn table(
    header: &[&str],
    numbers: &[usize],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header.to_vec());
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(column, text)| {
            let alignment =
                if numbers.contains(&column) { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(alignment)
        }));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use flashsale_errors::Reason;

    use super::*;

    #[test]
    fn every_violation_is_printed_once() {
        let field = failure_text(&Failure::invalid("sale_id", "is not a UUID"));
        assert_eq!(
            field,
            "ARGUMENT_INVALID\n  sale_id: is not a UUID\nWhat to do: Correct the named field and send it again."
        );
        let plain = failure_text(&Failure::new(Reason::SoldOut, "2 of TEE-M are left"));
        assert!(plain.starts_with("SOLD_OUT: 2 of TEE-M are left\nWhat to do: "), "{plain}");
    }
}
