//! CSV a row at a time: the separator, the quotes, and where the columns stand.
//!
//! The csv crate guesses at broken quotes; an import must not. A file in which it is unknown where
//! cells begin and end is refused, with the one remedy that does not damage it.

use crate::{
    problems::{Problem, counted, shown},
    text::{Decoder, Encoding, Source, invisible, visible},
};

/// Rows of a file, without the header and without blank ones.
pub(crate) const MAX_ROWS: usize = 100_000;
const MAX_COLUMNS: usize = 512;
/// The longest cell, in bytes.
const MAX_CELL_BYTES: usize = 1024 * 1024;

/// What stands between two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    /// `,`
    Comma,
    /// `;`, as Excel writes where the comma stands in numbers.
    Semicolon,
    /// A tab.
    Tab,
}

impl Separator {
    const ALL: [Self; 3] = [Self::Comma, Self::Semicolon, Self::Tab];

    /// The separator written as `text`: itself, or `tab`.
    pub fn from_name(text: &str) -> Option<Self> {
        match text {
            "," | "comma" => Some(Self::Comma),
            ";" | "semicolon" => Some(Self::Semicolon),
            "\t" | "tab" => Some(Self::Tab),
            _ => None,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }

    /// What to pass for it.
    const fn name(self) -> &'static str {
        match self {
            Self::Comma => "','",
            Self::Semicolon => "';'",
            Self::Tab => "tab",
        }
    }
}

/// The cells of one row.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The line of the file it begins on; the first is 1.
    pub(crate) line: usize,
    text: Vec<u8>,
    ends: Vec<usize>,
    filled: bool,
    /// Cells without their invisible characters, where they had some.
    cleaned: Vec<(usize, String)>,
}

impl Record {
    /// The cell in column `index`, without spaces around it and with the escapes of exporters
    /// undone; empty where the row has none.
    pub(crate) fn cell(&self, index: Option<usize>) -> &str {
        let Some(index) = index else { return "" };
        let cleaned = self.cleaned.iter().find(|(at, _)| *at == index);
        let cell = cleaned.map_or_else(|| self.bare(index), |(_, text)| text);
        unescaped(cell.trim())
    }

    /// Like [`Record::cell`], and of `'0112` the apostrophe is none of the key's either: Shopify
    /// puts it before keys of digits alone, lest a spreadsheet takes them for numbers.
    pub(crate) fn key(&self, index: Option<usize>) -> &str {
        let cell = self.cell(index);
        match cell.strip_prefix('\'') {
            Some(digits)
                if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                digits
            }
            _ => cell,
        }
    }

    /// The cell as the file writes it.
    pub(crate) fn raw(&self, index: Option<usize>) -> &str {
        index.map_or("", |index| self.bare(index))
    }

    fn bare(&self, index: usize) -> &str {
        let Some(end) = self.ends.get(index) else { return "" };
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).unwrap_or(&0);
        std::str::from_utf8(&self.text[*start..*end]).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.cleaned.clear();
        self.filled = false;
    }
}

/// What [`Record::cell`] is of a cell that was kept as the file writes it.
pub(crate) fn plain(cell: &str) -> String {
    unescaped(visible(cell).trim()).to_owned()
}

/// `cell` without what exporters put around a text lest a spreadsheet runs it as a formula:
/// `="text"`, and an apostrophe before `=`, `+`, `-`, `@`, a tab or a carriage return.
fn unescaped(cell: &str) -> &str {
    if let Some(text) = cell.strip_prefix("=\"").and_then(|rest| rest.strip_suffix('"')) {
        return text.trim();
    }
    match cell.strip_prefix('\'') {
        Some(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => text.trim(),
        _ => cell,
    }
}

/// A file of rows under a header.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    decoder: Decoder<'a>,
    part: String,
    at: usize,
    machine: Machine,
    header: Vec<String>,
    header_line: usize,
    rows: usize,
    /// By column: cells with invisible characters, the first such row, and the first character.
    hidden: Vec<Option<(usize, usize, char)>>,
}

impl<'a> Sheet<'a> {
    /// Reads the header of `source`.
    ///
    /// # Errors
    /// When it is no text, is empty, or its header is broken.
    pub(crate) fn open(
        source: Source<'a>,
        encoding: Encoding,
        separator: Option<Separator>,
    ) -> Result<Self, Problem> {
        let mut decoder = Decoder::new(source, encoding)?;
        let part = decoder.next().map_err(|problem| problem.at_row(1))?.unwrap_or_default();
        let (mut at, mut line, mut named) = (0, 1, separator);
        if let Some((from_file, length)) = separator_line(&part) {
            (at, line) = (length, 2);
            named = separator.or(from_file);
        }
        let found = guess(&part[at..]);
        let separator = named.or(found).unwrap_or(Separator::Comma);
        let machine = Machine {
            separator: separator.byte(),
            better: found.filter(|found| *found != separator),
            at: At::CellStart,
            line,
            after_cr: false,
            formula: false,
            opened: line,
            cell_start: 0,
            cell_bytes: 0,
            last: 0,
            wanted: None,
            record: Record::default(),
        };
        let mut sheet = Self {
            decoder,
            part,
            at,
            machine,
            header: Vec::new(),
            header_line: line,
            rows: 0,
            hidden: Vec::new(),
        };
        while sheet.advance()? {
            let record = &sheet.machine.record;
            if record.filled {
                let names = (0..record.ends.len())
                    .map(|index| visible(record.cell(Some(index))).trim().to_owned());
                sheet.header = names.collect();
                sheet.header_line = record.line;
                sheet.hidden = vec![None; sheet.header.len()];
                return Ok(sheet);
            }
        }
        Err(Problem::file("is empty", "send the exported file"))
    }

    /// The names of the columns.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// The line that the header begins on.
    pub(crate) fn header_line(&self) -> usize {
        self.header_line
    }

    /// The name of a column as the file writes it, or `otherwise` where there is none.
    pub(crate) fn name(&self, column: Option<usize>, otherwise: &str) -> String {
        let name = column.and_then(|index| self.header.get(index));
        name.map_or(otherwise, String::as_str).to_owned()
    }

    /// The column with one of these names, in any case.
    ///
    /// # Errors
    /// When there are two.
    pub(crate) fn column(&self, names: &[&str]) -> Result<Option<usize>, Problem> {
        let is = |name: &String| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        let mut found = self.header.iter().enumerate().filter(|(_, name)| is(name));
        let first = found.next();
        if let (Some((_, one)), Some((_, other))) = (first, found.next()) {
            let what = if one == other {
                "is there twice".to_owned()
            } else {
                format!("means the same as {}", shown(other))
            };
            let problem = Problem::file(what, "keep one of the columns");
            return Err(problem.at_row(self.header_line).in_column(one));
        }
        Ok(first.map(|(index, _)| index))
    }

    /// Keeps these columns only: what stands in the others takes no memory.
    pub(crate) fn keep(&mut self, columns: &[Option<usize>]) {
        let mut wanted = vec![false; self.header.len()];
        for index in columns.iter().flatten() {
            if let Some(wanted) = wanted.get_mut(*index) {
                *wanted = true;
            }
        }
        self.machine.wanted = Some(wanted);
    }

    /// The next row that is not blank; `None` behind the last.
    ///
    /// # Errors
    /// When it is unknown where its cells begin and end, or there are too many.
    pub(crate) fn next(&mut self) -> Result<Option<&Record>, Problem> {
        loop {
            if !self.advance()? {
                return Ok(None);
            }
            if self.machine.record.filled {
                break;
            }
        }
        self.rows += 1;
        if self.rows > MAX_ROWS {
            let what = "has more than 100,000 rows";
            let remedy = "export fewer products, or split the file";
            return Err(Problem::file(what, remedy));
        }
        self.clean();
        Ok(Some(&self.machine.record))
    }

    /// Why the cells of the row cannot be told apart by the header.
    pub(crate) fn ragged(&self, record: &Record) -> Option<(String, String)> {
        let (has, header) = (record.ends.len(), self.header.len());
        let what = format!("has {has} cells, but the header has {header}");
        let remedy = "check its separators and quotes".to_owned();
        (has != header).then_some((what, remedy))
    }

    /// The row that [`Sheet::next`] returned last.
    pub(crate) fn record(&self) -> &Record {
        &self.machine.record
    }

    /// What was taken out of the cells, a text for each column.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let columns = self.header.iter().zip(&self.hidden);
        columns
            .filter_map(|(name, hidden)| {
                hidden.as_ref().map(|(cells, row, character)| {
                    format!(
                        "column {name}: invisible characters were taken out of {}, first \
                         U+{:04X} in row {row}",
                        counted(*cells, "cell"),
                        u32::from(*character)
                    )
                })
            })
            .collect()
    }

    fn clean(&mut self) {
        let record = &self.machine.record;
        if record.text.is_ascii() {
            return;
        }
        let mut cleaned = Vec::new();
        for (index, hidden) in self.hidden.iter_mut().enumerate() {
            let cell = record.bare(index);
            if let Some(first) = invisible(cell).next() {
                hidden.get_or_insert((0, record.line, first)).0 += 1;
                cleaned.push((index, visible(cell).into_owned()));
            }
        }
        self.machine.record.cleaned = cleaned;
    }

    /// Reads one row, blank or not. `false` behind the last.
    fn advance(&mut self) -> Result<bool, Problem> {
        self.machine.start();
        loop {
            let (read, complete) = self.machine.feed(&self.part.as_bytes()[self.at..])?;
            self.at += read;
            if complete {
                return Ok(true);
            }
            match self.decoder.next().map_err(|problem| problem.at_row(self.machine.line))? {
                Some(part) => (self.part, self.at) = (part, 0),
                None => return self.machine.finish(),
            }
        }
    }
}

/// A first line such as `sep=;`, which Excel reads and hides: what it names, and how long it is
/// with its end.
fn separator_line(text: &str) -> Option<(Option<Separator>, usize)> {
    let length = text.find(['\r', '\n'])?;
    let (line, rest) = text.split_at(length);
    let named = line.trim_matches('"').trim_matches(' ');
    let (key, value) = named.split_at_checked(4)?;
    if !key.eq_ignore_ascii_case("sep=") || value.chars().count() > 1 {
        return None;
    }
    let end = if rest.starts_with("\r\n") { 2 } else { 1 };
    Some((Separator::from_name(value), length + end))
}

/// The separator that stands most often in the first line with anything in it, outside quotes;
/// `None` if none does.
fn guess(text: &str) -> Option<Separator> {
    let mut counts = Separator::ALL.map(|separator| (separator, 0_usize));
    let mut quoted = false;
    for byte in text.trim_start_matches(['\r', '\n']).bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\r' | b'\n' if !quoted => break,
            _ if quoted => {}
            _ => {
                for (separator, count) in &mut counts {
                    *count += usize::from(separator.byte() == byte);
                }
            }
        }
    }
    // Of equals, the first: the comma.
    let most = counts.iter().rev().max_by_key(|(_, count)| *count)?;
    (most.1 > 0).then_some(most.0)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    CellStart,
    /// Behind blanks that nothing has followed yet.
    Blank,
    /// Behind `=` alone, which a quote may follow.
    Formula,
    Bare,
    Quoted,
    /// After a quote inside a quoted cell: its end, or the first half of a doubled one.
    Quote,
    /// Behind blanks after the closing quote.
    AfterQuote,
}

/// Cuts a text into cells, a part at a time.
#[derive(Debug)]
struct Machine {
    separator: u8,
    /// What the header line is separated by, if that is another.
    better: Option<Separator>,
    at: At,
    line: usize,
    /// Whether a line feed would belong to the carriage return before it.
    after_cr: bool,
    /// Whether the quoted cell is that of `="…"`.
    formula: bool,
    /// The line with the quote that opened the cell.
    opened: usize,
    /// Where the text of the cell begins in that of the record.
    cell_start: usize,
    /// How long the cell is, kept or not.
    cell_bytes: usize,
    /// The last byte of the cell.
    last: u8,
    /// The columns whose text is kept; all of them while the header is read.
    wanted: Option<Vec<bool>>,
    record: Record,
}

impl Machine {
    fn start(&mut self) {
        self.record.clear();
        self.record.line = self.line;
        (self.at, self.cell_start, self.cell_bytes) = (At::CellStart, 0, 0);
    }

    /// Reads on. Returns how many bytes it took, and whether the row ends with them.
    fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool), Problem> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            let quoted = self.at == At::Quoted;
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                if quoted {
                    self.push(b"\n")?;
                }
                at += 1;
                continue;
            }
            // Long stretches without anything special are taken whole.
            if matches!(self.at, At::Quoted | At::Bare) {
                let separator = self.separator;
                let special =
                    |b: &u8| matches!(b, b'"' | b'\n' | b'\r') || (!quoted && *b == separator);
                let plain = bytes[at..].iter().position(special).unwrap_or(bytes.len() - at);
                if plain > 0 {
                    self.push(&bytes[at..at + plain])?;
                    at += plain;
                    continue;
                }
            }
            at += 1;
            if matches!(byte, b'\n' | b'\r') {
                self.line += 1;
                self.after_cr = byte == b'\r';
                if quoted {
                    self.push(&[byte])?;
                } else {
                    self.end_cell()?;
                    if !self.record.filled && self.record.ends.len() == 1 {
                        // An empty line is no row.
                        self.start();
                    } else {
                        return Ok((at, true));
                    }
                }
            } else {
                self.step(byte)?;
            }
        }
        Ok((at, false))
    }

    /// Takes a byte that is no line end.
    fn step(&mut self, byte: u8) -> Result<(), Problem> {
        if byte == self.separator && self.at != At::Quoted {
            return self.end_cell();
        }
        let blank = matches!(byte, b' ' | b'\t');
        self.at = match (self.at, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Quote, b'"') => {
                self.push(b"\"")?;
                At::Quoted
            }
            (At::CellStart | At::Blank, b'"') => {
                self.record.text.truncate(self.cell_start);
                (self.opened, self.formula) = (self.line, false);
                At::Quoted
            }
            (At::Formula, b'"') => {
                self.push(b"\"")?;
                (self.opened, self.formula) = (self.line, true);
                At::Quoted
            }
            (At::Quote | At::AfterQuote, _) if blank => At::AfterQuote,
            (At::Quote | At::AfterQuote, _) => {
                let what = "has a quote inside a quoted cell that neither closes it nor is doubled";
                return Err(self.broken(what, "double the quotes inside a quoted cell", byte));
            }
            (At::Bare, b'"') => {
                let what = "has a quote inside a cell that does not begin with one";
                let remedy = "put the cell in quotes and double those inside";
                return Err(self.broken(what, remedy, self.last));
            }
            (from, _) => {
                self.push(&[byte])?;
                match from {
                    At::Quoted => At::Quoted,
                    At::CellStart if byte == b'=' => At::Formula,
                    At::CellStart | At::Blank if blank => At::Blank,
                    At::CellStart
                    | At::Blank
                    | At::Formula
                    | At::Bare
                    | At::Quote
                    | At::AfterQuote => At::Bare,
                }
            }
        };
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        self.cell_bytes += bytes.len();
        self.last = bytes.last().copied().unwrap_or(self.last);
        if self.cell_bytes > MAX_CELL_BYTES {
            let remedy = if matches!(self.at, At::Quoted) {
                format!("shorten it, or close the quote on line {}", self.opened)
            } else {
                "shorten it".to_owned()
            };
            let problem = Problem::file("has a cell of more than 1 MiB", remedy);
            return Err(problem.at_row(self.record.line));
        }
        if !self.record.filled {
            self.record.filled = bytes.iter().any(|byte| !byte.is_ascii_whitespace());
        }
        let column = self.record.ends.len();
        let kept = |wanted: &Vec<bool>| wanted.get(column).copied().unwrap_or_default();
        if self.wanted.as_ref().is_none_or(kept) {
            self.record.text.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn end_cell(&mut self) -> Result<(), Problem> {
        if matches!(self.at, At::Quote | At::AfterQuote) && std::mem::take(&mut self.formula) {
            self.push(b"\"")?;
        }
        if self.record.ends.len() == MAX_COLUMNS {
            let problem = Problem::file("has more than 512 columns", "remove those not needed");
            return Err(problem.at_row(self.record.line));
        }
        self.cell_start = self.record.text.len();
        self.record.ends.push(self.cell_start);
        (self.at, self.cell_bytes) = (At::CellStart, 0);
        Ok(())
    }

    /// Ends the file. `false` if there is no row behind the last line end.
    fn finish(&mut self) -> Result<bool, Problem> {
        if self.at == At::Quoted {
            let what = format!("has a quote, opened on line {}, that is never closed", self.opened);
            let problem = match self.better {
                Some(better) => self.separated_by(better),
                None => Problem::file(what, "close it"),
            };
            return Err(problem.at_row(self.record.line));
        }
        if self.at == At::CellStart && self.record.ends.is_empty() {
            return Ok(false);
        }
        self.end_cell()?;
        Ok(true)
    }

    /// A quote that is out of place. Where another separator stands beside it, or in the header,
    /// the quotes are right and the separator is not: doubling them would damage the file.
    fn broken(&self, what: &str, remedy: &str, beside: u8) -> Problem {
        let others = Separator::ALL.into_iter().filter(|other| other.byte() != self.separator);
        let other = others.into_iter().find(|other| other.byte() == beside);
        let problem = match self.better.or(other) {
            Some(better) => self.separated_by(better),
            None => Problem::file(what, remedy),
        };
        problem.at_row(self.record.line)
    }

    fn separated_by(&self, better: Separator) -> Problem {
        let used = Separator::ALL.into_iter().find(|used| used.byte() == self.separator);
        let used = used.map_or("','", Separator::name);
        let better = better.name();
        let what = format!("was read with {used} between its cells, but has {better} there");
        let remedy =
            format!("pass --separator {better}, or save the file with one separator throughout");
        Problem::file(what, remedy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    type Rows = Vec<(usize, Vec<String>)>;

    fn open(content: &[u8], separator: Option<Separator>) -> Result<Sheet<'_>, Problem> {
        Sheet::open(Source::open(content)?, Encoding::Unicode, separator)
    }

    fn rows(content: &[u8], separator: Option<Separator>) -> Result<Rows, Problem> {
        let mut sheet = open(content, separator)?;
        let mut rows = vec![(sheet.header_line(), sheet.header().to_vec())];
        while sheet.next()?.is_some() {
            let record = sheet.record();
            let cells = (0..record.ends.len()).map(|index| record.cell(Some(index)).to_owned());
            rows.push((record.line, cells.collect()));
        }
        Ok(rows)
    }

    fn read(text: &str) -> Rows {
        rows(text.as_bytes(), None).unwrap()
    }

    fn refused(text: &str) -> Problem {
        rows(text.as_bytes(), None).unwrap_err()
    }

    fn row(line: usize, cells: &[&str]) -> (usize, Vec<String>) {
        (line, cells.iter().map(|cell| (*cell).to_owned()).collect())
    }

    #[test]
    fn rows_are_numbered_by_the_lines_of_the_file() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["", "a,b", "1,\"two", "", "lines\"", "", ",", "3, 4 "].join(end);
            let two = format!("two{end}{end}lines");
            assert_eq!(
                read(&text),
                [row(2, &["a", "b"]), row(3, &["1", &two]), row(8, &["3", "4"])],
                "{end:?}"
            );
        }
    }

    #[test]
    fn the_separator_is_found_in_the_header() {
        for separator in Separator::ALL {
            let byte = char::from(separator.byte());
            let text = format!("\"a, b\"{byte}c{byte}d\n1{byte}\"x; y\"{byte}2\n");
            let expected = [row(1, &["a, b", "c", "d"]), row(2, &["1", "x; y", "2"])];
            assert_eq!(read(&text), expected, "{separator:?}");
        }
        assert_eq!(read("a\nb;c\n"), [row(1, &["a"]), row(2, &["b;c"])]);
    }

    #[test]
    fn a_first_line_names_the_separator() {
        for first in ["sep=;\n", "sep=;\r\n", "\"sep=;\"\r", "SEP=;\n", "\u{feff}sep=;\n"] {
            let expected = [row(2, &["a,b", "c"]), row(3, &["1,2", "3"])];
            assert_eq!(read(&format!("{first}a,b;c\n1,2;3\n")), expected, "{first:?}");
        }
        assert_eq!(read("sep=\t\na,b\tc\n"), [row(2, &["a,b", "c"])]);
        assert_eq!(read("separate,b\n"), [row(1, &["separate", "b"])]);
    }

    #[test]
    fn the_caller_may_name_the_separator() {
        let found = rows(b"sep=,\na,b;c\n1;2\n", Some(Separator::Semicolon)).unwrap();
        assert_eq!(found, [row(2, &["a,b", "c"]), row(3, &["1", "2"])]);
        for name in [",", ";", "\t", "tab"] {
            assert!(Separator::from_name(name).is_some(), "{name:?}");
        }
        assert_eq!(Separator::from_name("|"), None);
    }

    #[test]
    fn blanks_around_quotes_are_tolerated() {
        assert_eq!(
            read("a,b,c\n\"x\" , \"y, z\"\t,\"\" \n"),
            [row(1, &["a", "b", "c"]), row(2, &["x", "y, z", ""])]
        );
        assert_eq!(read("a\tb\n\"x\" \t\"y\"\n"), [row(1, &["a", "b"]), row(2, &["x", "y"])]);
    }

    #[test]
    fn escapes_are_undone() {
        let text = "a,b,c,d,e\n'=A,=\"0112\",\"=\"\"07\"\"\",'-3,'Tis\n";
        assert_eq!(
            read(text),
            [row(1, &["a", "b", "c", "d", "e"]), row(2, &["=A", "0112", "07", "-3", "'Tis"])]
        );
        let mut sheet = open(b"a\n'0112\n'01A\n'\n", None).unwrap();
        let mut keys = Vec::new();
        while let Some(record) = sheet.next().unwrap() {
            keys.push((record.key(Some(0)).to_owned(), record.raw(Some(0)).to_owned()));
        }
        let expected = [("0112", "'0112"), ("'01A", "'01A"), ("'", "'")];
        assert_eq!(keys, expected.map(|(key, raw)| (key.to_owned(), raw.to_owned())));
    }

    #[test]
    fn broken_quotes_are_refused_with_the_row() {
        for (text, place, remedy) in [
            ("a,b\n1,2\n3,x\"y\n", "row 3", "put the cell in quotes"),
            ("a,b\n\"x\"y,2\n", "row 2", "double the quotes"),
            ("a,b\n1,\"x\ny\n", "row 2", "close it"),
            ("a,b\n1,2\n\n3,=\"4\"5\n", "row 4", "double the quotes"),
        ] {
            let problem = refused(text);
            assert_eq!(problem.place(), place, "{text:?}");
            assert!(problem.remedy.contains(remedy), "{text:?}: {problem}");
        }
        assert!(refused("a,b\n1,\"x\ny\n").what.contains("opened on line 2"));
    }

    #[test]
    fn quotes_are_not_doubled_when_the_separator_is_wrong() {
        for (text, separator) in [
            ("\"a\";\"b\"\n\"1\";\"2\"\n", Some(Separator::Comma)),
            ("a;b;c\n1;\"2\";3\n", Some(Separator::Comma)),
            ("a,b\n\"1\";\"2\"\n", None),
            ("a,b\n1;\"2\"\n", None),
        ] {
            let problem = rows(text.as_bytes(), separator).unwrap_err();
            assert!(problem.remedy.contains("--separator ';'"), "{text:?}: {problem}");
            assert!(!problem.text().contains("double"), "{text:?}: {problem}");
        }
    }

    #[test]
    fn files_are_bounded() {
        let row = |cells: usize| vec!["a"; cells].join(",");
        assert_eq!(read(&row(512))[0].1.len(), 512);
        assert!(refused(&row(513)).what.contains("512 columns"));

        let rows = |rows: usize| format!("a\n{}", "b\n\n".repeat(rows));
        assert_eq!(read(&rows(100_000)).len(), 100_001);
        assert!(refused(&rows(100_001)).what.contains("100,000 rows"));

        let cell = |bytes: usize| format!("a\n{}\n", "x".repeat(bytes));
        assert_eq!(read(&cell(1024 * 1024)).len(), 2);
        assert!(refused(&cell(1024 * 1024 + 1)).what.contains("1 MiB"));
        for text in ["", "\n\n", "\u{feff}", ",,\n", "sep=,\n"] {
            assert!(refused(text).what.contains("empty"), "{text:?}");
        }
    }

    #[test]
    fn only_the_columns_kept_take_memory() {
        let text = format!("a,b\n{},2\n", "x".repeat(100_000));
        let mut sheet = open(text.as_bytes(), None).unwrap();
        sheet.keep(&[sheet.column(&["B"]).unwrap(), None]);
        let record = sheet.next().unwrap().unwrap();
        assert_eq!((record.cell(Some(0)), record.cell(Some(1))), ("", "2"));
        assert_eq!(record.text.len(), 1);
    }

    #[test]
    fn a_column_is_found_in_any_case_and_only_once() {
        let sheet = |text: &'static str| open(text.as_bytes(), None);
        let names = ["url handle", "handle"];
        assert_eq!(sheet("x, URL Handle ,y").unwrap().column(&names).unwrap(), Some(1));
        assert_eq!(sheet("x,y").unwrap().column(&names).unwrap(), None);
        let problem = sheet("Handle,Handle").unwrap().column(&names).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "row 1, column Handle is there twice; keep one of the columns"
        );
        let problem = sheet("Handle,URL handle").unwrap().column(&names).unwrap_err();
        assert!(problem.what.contains("the same as \"URL handle\""), "{problem}");
    }

    #[test]
    fn invisible_characters_are_counted_by_column() {
        let text = "sku,title\nA\u{200b},x\nB\u{200b}\u{ad},x\nC,10\u{a0}ml\n";
        let mut sheet = open(text.as_bytes(), None).unwrap();
        let mut cells = Vec::new();
        while let Some(record) = sheet.next().unwrap() {
            cells.push(record.cell(Some(0)).to_owned());
        }
        assert_eq!(cells, ["A", "B", "C"]);
        let warning =
            "column sku: invisible characters were taken out of 2 cells, first U+200B in row 2";
        assert_eq!(sheet.warnings(), [warning]);
    }

    proptest! {
        /// What the csv crate writes is read back, whatever stands in the cells.
        #[test]
        fn written_cells_are_read_back(
            cells in proptest::collection::vec(
                proptest::collection::vec("[ -~\r\n\u{e9}\u{1f600}]{0,6}", 3),
                0..6,
            ),
            at in 0..3_usize,
        ) {
            let separator = Separator::ALL[at];
            let mut writer =
                csv::WriterBuilder::new().delimiter(separator.byte()).from_writer(Vec::new());
            writer.write_record(["one", "two", "three"]).unwrap();
            for cells in &cells {
                writer.write_record(cells).unwrap();
            }
            let content = writer.into_inner().unwrap();
            let expected: Vec<Vec<&str>> = cells
                .iter()
                .filter(|cells| cells.iter().any(|cell| !cell.trim().is_empty()))
                .map(|cells| cells.iter().map(|cell| unescaped(cell.trim())).collect())
                .collect();
            let found = rows(&content, None).unwrap();
            let found: Vec<Vec<String>> = found.into_iter().skip(1).map(|(_, cells)| cells).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_bytes_make_it_panic(
            content in proptest::collection::vec(any::<u8>(), 0..200),
            comma in any::<bool>(),
        ) {
            let _ = rows(&content, comma.then_some(Separator::Comma));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a,;\t\"=' \r\n\u{200b}\u{e9}]{0,60}") {
            let _ = rows(text.as_bytes(), None);
        }
    }
}
