//! Writes CSV: UTF-8, commas, LF, and quotes where a cell needs them.

use std::fmt::{Display, Write as _};

use crate::problems::{counted, shown};

/// What a spreadsheet takes for the beginning of a formula, or skips to find one.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Rows under a header.
#[derive(Debug)]
pub(super) struct CsvWriter {
    text: String,
    columns: Vec<Column>,
    /// The column of the next cell.
    at: usize,
    rows: usize,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// Keys in it that begin like a formula, the row of the first one and how it begins.
    risky: Option<(usize, usize, String)>,
}

impl CsvWriter {
    /// Writes the header.
    pub(super) fn new<'n>(columns: impl IntoIterator<Item = &'n str>) -> Self {
        let columns = columns.into_iter();
        let columns: Vec<Column> =
            columns.map(|name| Column { name: name.to_owned(), risky: None }).collect();
        let mut writer = Self { text: String::new(), columns: Vec::new(), at: 0, rows: 0 };
        for column in &columns {
            writer.cell(&column.name);
        }
        writer.columns = columns;
        writer.line_end();
        writer
    }

    /// A cell by which a program finds something: byte for byte, since another text would be
    /// another key.
    pub(super) fn key(&mut self, cell: &str) {
        if cell.starts_with(FORMULA)
            && let Some(column) = self.columns.get_mut(self.at)
        {
            let row = self.rows + 2;
            column.risky.get_or_insert_with(|| (0, row, shown(cell))).0 += 1;
        }
        self.cell(cell);
    }

    /// A cell for people. An apostrophe before it keeps a spreadsheet from running it.
    pub(super) fn text(&mut self, cell: &str) {
        if cell.starts_with(FORMULA) {
            self.cell(&format!("'{cell}"));
        } else {
            self.cell(cell);
        }
    }

    /// A number, or nothing.
    pub(super) fn figure(&mut self, cell: impl Display) {
        self.cell(&cell.to_string());
    }

    /// Ends a row.
    pub(super) fn end_row(&mut self) {
        self.rows += 1;
        self.line_end();
    }

    /// Rows so far, without the header.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes since the last call.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text).into_bytes()
    }

    /// A text for each column with keys that a spreadsheet may run.
    pub(super) fn warnings(&self) -> Vec<String> {
        let risky = self.columns.iter().filter_map(|column| {
            let (keys, row, first) = column.risky.as_ref()?;
            Some(format!(
                "column {}: {} like a formula, first {first} in row {row}; they are keys and stay as they \
                 are, so do not open the file in a spreadsheet that runs formulas",
                column.name,
                counted_verb(*keys)
            ))
        });
        risky.collect()
    }

    fn cell(&mut self, cell: &str) {
        if self.at > 0 {
            self.text.push(',');
        }
        self.at += 1;
        let special = [',', ';', '"', '\n', '\r', '\t'];
        if cell.contains(special) || cell.trim().len() < cell.len() {
            // Writing into a String cannot fail.
            let _ = write!(self.text, "\"{}\"", cell.replace('"', "\"\""));
        } else {
            self.text.push_str(cell);
        }
    }

    fn line_end(&mut self) {
        self.text.push('\n');
        self.at = 0;
    }
}

fn counted_verb(keys: usize) -> String {
    let verb = if keys == 1 { "begins" } else { "begin" };
    format!("{} {verb}", counted(keys, "key"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::{
        table::Sheet,
        text::{Encoding, Source},
    };

    fn text(writer: &mut CsvWriter) -> String {
        String::from_utf8(writer.take()).unwrap()
    }

    #[test]
    fn cells_for_people_are_guarded_and_keys_are_not() {
        let mut writer = CsvWriter::new(["sku", "title", "units"]);
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "'=1", "plain", ""] {
            writer.key(cell);
            writer.text(cell);
            writer.figure(-1);
            writer.end_row();
        }
        assert_eq!(
            text(&mut writer),
            "sku,title,units\n=1+1,'=1+1,-1\n+1,'+1,-1\n-1,'-1,-1\n@SUM(A1),'@SUM(A1),-1\n\
             \"\tx\",\"'\tx\",-1\n\"\rx\",\"'\rx\",-1\n'=1,'=1,-1\nplain,plain,-1\n,,-1\n"
        );
        let warnings = writer.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let begin = "column sku: 6 keys begin like a formula, first \"=1+1\" in row 2; ";
        assert!(warnings[0].starts_with(begin), "{warnings:?}");
        assert_eq!(writer.rows(), 9);
    }

    #[test]
    fn a_part_begins_where_the_last_one_ended() {
        let mut writer = CsvWriter::new(["a"]);
        writer.text("x");
        writer.end_row();
        assert_eq!(text(&mut writer), "a\nx\n");
        assert_eq!(text(&mut writer), "");
        writer.text("y,\"z\"");
        writer.end_row();
        assert_eq!(text(&mut writer), "\"y,\"\"z\"\"\"\n");
        assert!(writer.warnings().is_empty());
    }

    proptest! {
        #[test]
        fn keys_are_read_back_byte_for_byte(
            cells in proptest::collection::vec("[ -~\r\n\t;\u{e9}\u{1f600}]{0,8}", 3),
        ) {
            let mut writer = CsvWriter::new(["one", "two", "three"]);
            for cell in &cells {
                writer.key(cell);
            }
            writer.end_row();
            let content = writer.take();
            let source = Source::open(content.as_slice()).unwrap();
            let mut sheet = Sheet::open(source, Encoding::Unicode, None).unwrap();
            if cells.iter().any(|cell| !cell.trim().is_empty()) {
                let record = sheet.next().unwrap().unwrap();
                for (index, cell) in cells.iter().enumerate() {
                    prop_assert_eq!(record.raw(Some(index)), cell.as_str());
                }
            }
        }
    }
}
