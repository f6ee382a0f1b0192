//! Everything that is wrong with one file or with what was asked of it, in a bounded list, so that
//! a caller learns of all problems at once.

use std::fmt;

/// The most problems that are listed; the others are counted.
const MAX_LISTED: usize = 50;
/// The most text in the list, in bytes. It travels in HTTP/2 trailers, of which many clients accept
/// 16 KiB.
const MAX_TEXT_BYTES: usize = 8_000;
/// How much of a cell is repeated in a problem.
const MAX_SHOWN_CHARS: usize = 40;

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A place in the file.
    File,
    /// What the caller asked for.
    Options,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file is wrong or what was asked.
    pub about: About,
    /// The line of the file its row begins on; in JSON the number of the item, from 1.
    pub row: Option<usize>,
    /// The column as the file writes it, or the option of the command.
    pub column: Option<String>,
    /// What is wrong there.
    pub what: String,
    /// What would be right.
    pub remedy: String,
}

impl Problem {
    /// A problem of the file as a whole.
    pub(crate) fn file(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            about: About::File,
            row: None,
            column: None,
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// A problem of an option of the command, such as `--quantity`.
    pub(crate) fn option(
        option: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { about: About::Options, column: Some(option.into()), ..Self::file(what, remedy) }
    }

    pub(crate) fn at_row(mut self, row: usize) -> Self {
        self.row = Some(row);
        self
    }

    pub(crate) fn in_column(mut self, column: &str) -> Self {
        self.column = Some(column.to_owned());
        self
    }

    /// Where it is, as in `row 12, column Variant Price`.
    pub fn place(&self) -> String {
        match (self.about, self.row, &self.column) {
            (About::Options, _, Some(option)) => option.clone(),
            (About::Options, _, None) => "options".to_owned(),
            (About::File, Some(row), Some(column)) => format!("row {row}, column {column}"),
            (About::File, Some(row), None) => format!("row {row}"),
            (About::File, None, Some(column)) => format!("column {column}"),
            (About::File, None, None) => "content".to_owned(),
        }
    }

    /// What is wrong and what would be right, in one text.
    pub fn text(&self) -> String {
        if self.remedy.is_empty() {
            self.what.clone()
        } else {
            format!("{}; {}", self.what, self.remedy)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place(), self.text())
    }
}

/// Why a file cannot be read, or not be sold as was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    text_bytes: usize,
    more: usize,
    remaining: Option<usize>,
}

impl Problems {
    pub(crate) fn one(problem: Problem) -> Self {
        let mut problems = Self::default();
        problems.add(problem);
        problems
    }

    /// Adds a problem; only counts it if the list is full.
    pub(crate) fn add(&mut self, problem: Problem) {
        let column = problem.column.as_ref().map_or(0, String::len);
        let bytes = column + problem.what.len() + problem.remedy.len();
        if self.more > 0
            || self.listed.len() == MAX_LISTED
            || self.text_bytes + bytes > MAX_TEXT_BYTES
        {
            self.more += 1;
        } else {
            self.text_bytes += bytes;
            self.listed.push(problem);
        }
    }

    pub(crate) fn set_remaining(&mut self, rows: usize) {
        self.remaining = Some(rows);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there are, listed or not.
    pub fn count(&self) -> usize {
        self.listed.len() + self.more
    }

    /// The problems that are listed.
    pub fn listed(&self) -> &[Problem] {
        &self.listed
    }

    /// How many are not listed.
    pub fn more(&self) -> usize {
        self.more
    }

    /// How many rows would be sold if the faulty ones were left out; `None` where that would not
    /// help.
    pub fn remaining(&self) -> Option<usize> {
        self.remaining
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.listed.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        if let Some(rows) = self.remaining {
            let rows = counted(rows, "row");
            write!(f, "\n{rows} would be sold with --leave-out-faulty")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// So many of something, as in `1 row` and `2 rows`.
pub(crate) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A cell in a problem: quoted, and not the whole of a long one.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_problems_are_listed() {
        let mut problems = Problems::default();
        assert!(problems.is_empty());
        for row in 0..62 {
            problems.add(Problem::file("is wrong", "").at_row(row));
        }
        assert_eq!((problems.listed().len(), problems.more(), problems.count()), (50, 12, 62));
        assert_eq!(problems.listed()[49].place(), "row 49");
    }

    #[test]
    fn the_list_is_bounded_in_bytes_too() {
        let mut problems = Problems::default();
        for _ in 0..10 {
            problems.add(Problem::option("--sku", "x".repeat(1_000), ""));
        }
        assert!(problems.listed().len() < 10);
        assert_eq!(problems.count(), 10);
    }

    #[test]
    fn a_long_cell_is_not_repeated_whole() {
        assert_eq!(shown("a\"b"), "\"a\\\"b\"");
        assert_eq!(shown(&"é".repeat(41)), format!("\"{}…\"", "é".repeat(40)));
    }
}
