//! Parses a CSV file (RFC 4180) into rows with their line numbers. The csv crate guesses at broken
//! quoting; an import must not, so the text is checked first.

use std::borrow::Cow;

use crate::domain::{Kind, Problems};

/// One row of the file.
#[derive(Debug)]
pub(super) struct Row {
    /// The line of the file it begins on; the header is line 1.
    pub(super) line: usize,
    cells: csv::StringRecord,
}

impl Row {
    /// The cell in column `index`, without spaces around it; empty where the row has none.
    pub(super) fn cell(&self, index: usize) -> &str {
        self.cells.get(index).unwrap_or("").trim()
    }

    /// How many cells it has.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether nothing stands in it.
    pub(super) fn is_blank(&self) -> bool {
        self.cells.iter().all(|cell| cell.trim().is_empty())
    }
}

/// The rows of `content`, which may begin with a byte order mark. `None` if it is not CSV; the
/// problem is added.
pub(super) fn rows(content: &[u8], problems: &mut Problems) -> Option<Vec<Row>> {
    let text = match std::str::from_utf8(content) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let offset = error.valid_up_to();
            let line = 1 + line_ends(&content[..offset]);
            let what = format!(
                "is not UTF-8 at byte {offset} of the file; export it again, or save it as \"CSV UTF-8\""
            );
            problems.add(Kind::Export, format!("row {line}"), what);
            return None;
        }
    };
    if text.trim().is_empty() {
        problems.add(Kind::Export, "content", "is empty; send the exported file");
        return None;
    }
    if let Err((line, what)) = check_quotes(text) {
        problems.add(Kind::Export, format!("row {line}"), what);
        return None;
    }

    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    let (mut line, mut seen) = (1, 0);
    for record in reader.records() {
        let cells = match record {
            Ok(cells) => cells,
            Err(error) => {
                problems.add(Kind::Export, format!("row {line}"), format!("is broken: {error}"));
                return None;
            }
        };
        // Its position may still be before the end of the line above it, or before empty lines.
        let mut start = cells.position().map_or(seen, |at| offset(at.byte()).min(text.len()));
        start += text.as_bytes()[start..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        line += line_ends(&text.as_bytes()[seen..start]);
        seen = start;
        rows.push(Row { line, cells });
    }
    Some(rows)
}

fn offset(byte: u64) -> usize {
    usize::try_from(byte).unwrap_or(usize::MAX)
}

/// How many lines end in `bytes`: with LF, CR LF or CR.
fn line_ends(bytes: &[u8]) -> usize {
    let mut ends = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => ends += 1,
            b'\r' if bytes.get(at + 1) != Some(&b'\n') => ends += 1,
            _ => {}
        }
    }
    ends
}

/// Checks that every quote opens a cell, closes one, or is doubled inside one. After the first one
/// that does not, it is unknown where rows begin, so that there is nothing more to check.
fn check_quotes(text: &str) -> Result<(), (usize, Cow<'static, str>)> {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        CellStart,
        Bare,
        Quoted,
        // After a quote inside a quoted cell: its end, or the first half of a doubled one.
        Quote,
    }
    let bytes = text.as_bytes();
    let (mut at, mut line, mut row, mut opened) = (At::CellStart, 1, 1, 1);
    for (index, byte) in bytes.iter().enumerate() {
        let line_ends = match byte {
            b'\n' => true,
            b'\r' => bytes.get(index + 1) != Some(&b'\n'),
            _ => false,
        };
        at = match (at, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Quoted, _) => At::Quoted,
            (At::CellStart, b'"') => {
                opened = line;
                At::Quoted
            }
            (At::Quote, b'"') => At::Quoted,
            (_, b',') => At::CellStart,
            (_, b'\n' | b'\r') => {
                row = line + usize::from(line_ends);
                At::CellStart
            }
            (At::Bare, b'"') => {
                let what = "has a quote inside a cell that does not begin with one; put the cell in quotes and double \
                            those inside";
                return Err((row, what.into()));
            }
            (At::Quote, _) => {
                let what =
                    "has text behind a closing quote; double the quotes inside a quoted cell";
                return Err((row, what.into()));
            }
            (At::CellStart | At::Bare, _) => At::Bare,
        };
        line += usize::from(line_ends);
    }
    if at == At::Quoted {
        let what = format!("has a quote, opened on line {opened}, that is never closed");
        return Err((row, what.into()));
    }
    Ok(())
}
