//! Tables for people, JSON for programs, and errors in words.

use comfy_table::{Cell, CellAlignment, Table, presets};
use flashsale_errors::Failure;
use serde_json::{Value, json};
use tonic::Status;

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Prints JSON, or tables.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON is asked for: then nothing else goes to standard output.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints an answer: `value` as JSON, or what `human` makes of it.
    pub fn print(self, value: &Value, human: impl FnOnce() -> String) {
        if self.json {
            println!("{value:#}");
        } else {
            println!("{}", human());
        }
    }

    /// Prints one value of a stream: a line of JSON, or of text.
    pub fn line(self, value: &Value, human: impl FnOnce() -> String) {
        if self.json {
            println!("{value}");
        } else {
            println!("{}", human());
        }
    }

    /// Says what went wrong and what to do next.
    pub fn error(self, error: &anyhow::Error) {
        let failure = error.downcast_ref::<Status>().and_then(Failure::from_status);
        if self.json {
            let value = match &failure {
                Some(failure) => json!({
                    "error": {
                        "reason": failure.reason().as_str(),
                        "message": failure.what(),
                        "next_step": failure.reason().next_step(),
                        "metadata": failure.metadata(),
                        "fields": failure.violations().iter()
                            .map(|violation| json!({ "field": violation.field, "problem": violation.description }))
                            .collect::<Vec<_>>(),
                        "retry_after_ms": failure.delay().map(|delay| delay.as_millis() as u64),
                    }
                }),
                None => json!({ "error": { "message": describe(error) } }),
            };
            println!("{value:#}");
            return;
        }
        match failure {
            Some(failure) => {
                eprintln!("{}: {}", failure.reason().as_str(), failure.what());
                for violation in failure.violations() {
                    eprintln!("  {}: {}", violation.field, violation.description);
                }
                eprintln!("What to do: {}", failure.reason().next_step());
            }
            None => eprintln!("flashsale: {}", describe(error)),
        }
    }
}

fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Status>() {
        Some(status) => format!(
            "the services do not answer ({}). Is `make up` running, or is --addr right?",
            status.message()
        ),
        None => format!("{error:#}"),
    }
}

/// A table; columns named in `numbers` are set to the right.
pub(crate) fn table(
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
