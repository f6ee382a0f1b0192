//! A line on standard error that says how things stand: rewritten on a terminal, a new one now and
//! then elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use flashsale_cli::output::Output;

const ON_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(5);

/// The line.
#[derive(Debug)]
pub(crate) struct LiveLine {
    output: Output,
    terminal: bool,
}

impl LiveLine {
    /// A line that is not written yet.
    pub(crate) fn new(output: &Output) -> Self {
        Self { output: output.clone(), terminal: std::io::stderr().is_terminal() }
    }

    /// How often to write it.
    pub(crate) fn every(&self) -> Duration {
        if self.terminal { ON_TERMINAL } else { ELSEWHERE }
    }

    /// Writes it; the last one stays.
    pub(crate) fn write(&self, line: &str, last: bool) {
        if self.terminal {
            let end = if last { "\n" } else { "" };
            self.output.write(&format!("\r\x1b[2K  {line}{end}"));
        } else {
            self.output.say(&format!("  {line}"));
        }
    }
}
