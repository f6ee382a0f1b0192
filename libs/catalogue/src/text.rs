//! Bytes as text, and the characters in it that cannot be seen.

use std::borrow::Cow;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::problems::Problem;

/// How much is decoded at once, in bytes, where the text is not UTF-8 already.
const CHUNK_BYTES: usize = 64 * 1024;
const SAVE_AS_UTF8: &str = "export it again, or save it as \"CSV UTF-8\"";

/// What a file is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, or UTF-16 if a byte order mark says so.
    #[default]
    Unicode,
    /// What older versions of Excel write in Western Europe and America. No file can be told to be
    /// written in it, so that only the caller knows.
    Windows1252,
}

/// A text, decoded a part at a time, so that a large file is not in memory twice.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Checked.
    Utf8,
    Utf16 {
        big_endian: bool,
    },
    Windows1252,
}

impl<'a> Decoder<'a> {
    /// A decoder of `content`, without its byte order mark.
    ///
    /// # Errors
    /// When it is no text, or in an encoding that was not named.
    pub(crate) fn new(content: &'a [u8], encoding: Encoding) -> Result<Self, Problem> {
        if let Some(what) = other_file(content) {
            return Err(Problem::file(what, "save the products as \"CSV UTF-8\""));
        }
        if let Some(rest) = content.strip_prefix(b"\xef\xbb\xbf") {
            return utf8(rest, content.len() - rest.len());
        }
        for (mark, big_endian) in [(b"\xff\xfe", false), (b"\xfe\xff", true)] {
            if let Some(rest) = content.strip_prefix(mark) {
                return Ok(Self { rest, kind: Kind::Utf16 { big_endian } });
            }
        }
        if encoding == Encoding::Windows1252 {
            // By chance, letters of Windows-1252 are hardly ever good UTF-8.
            if !content.is_ascii() && std::str::from_utf8(content).is_ok() {
                let what = "is windows-1252, but the file is UTF-8";
                return Err(Problem::option("--encoding", what, "leave it out"));
            }
            return Ok(Self { rest: content, kind: Kind::Windows1252 });
        }
        if matches!(content, [0, other, ..] | [other, 0, ..] if *other != 0) {
            let what = "looks like UTF-16 without a byte order mark";
            return Err(Problem::file(what, SAVE_AS_UTF8));
        }
        utf8(content, 0)
    }

    /// The next part of the text; `None` at its end.
    ///
    /// # Errors
    /// When the bytes are no text in the encoding; without the row, which the caller knows.
    pub(crate) fn next(&mut self) -> Result<Option<Cow<'a, str>>, Problem> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        match self.kind {
            Kind::Utf8 => {
                let text = std::str::from_utf8(std::mem::take(&mut self.rest)).unwrap_or_default();
                Ok(Some(Cow::Borrowed(text)))
            }
            Kind::Windows1252 => {
                let (now, rest) = self.rest.split_at(self.rest.len().min(CHUNK_BYTES));
                self.rest = rest;
                Ok(Some(now.iter().map(|byte| windows_1252(*byte)).collect()))
            }
            Kind::Utf16 { big_endian } => self.utf16(big_endian).map(Some),
        }
    }

    fn utf16(&mut self, big_endian: bool) -> Result<Cow<'a, str>, Problem> {
        let unit = |pair: &[u8]| match *pair {
            [a, b] if big_endian => u16::from_be_bytes([a, b]),
            [a, b] => u16::from_le_bytes([a, b]),
            _ => 0xdc00,
        };
        let mut bytes = self.rest.len().min(CHUNK_BYTES);
        // The two halves of a character stay together.
        if bytes < self.rest.len() && (0xd800..0xdc00).contains(&unit(&self.rest[bytes - 2..bytes]))
        {
            bytes -= 2;
        }
        let (now, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        let text: Result<String, _> = char::decode_utf16(now.chunks(2).map(unit)).collect();
        text.map(Cow::Owned).map_err(|_| Problem::file("is broken UTF-16", SAVE_AS_UTF8))
    }
}

fn utf8(text: &[u8], skipped: usize) -> Result<Decoder<'_>, Problem> {
    match std::str::from_utf8(text) {
        Ok(_) => Ok(Decoder { rest: text, kind: Kind::Utf8 }),
        Err(error) => {
            let good = error.valid_up_to();
            let row = 1 + line_ends(&text[..good]);
            let what = format!("is not UTF-8 at byte {} of the file", skipped + good);
            let remedy = format!(
                "{SAVE_AS_UTF8}; if it was saved by an older Excel, pass --encoding windows-1252"
            );
            Err(Problem::file(what, remedy).at_row(row))
        }
    }
}

/// What a file is that is plainly no text.
fn other_file(content: &[u8]) -> Option<&'static str> {
    if content.starts_with(b"PK\x03\x04") {
        Some("is a workbook of Excel or another zip file, not CSV")
    } else if content.starts_with(b"\xd0\xcf\x11\xe0") {
        Some("is a workbook of an older Excel, not CSV")
    } else if content.starts_with(b"\x1f\x8b") {
        Some("is compressed by gzip, not CSV")
    } else {
        None
    }
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

/// A byte of Windows-1252, with its five holes as the controls that browsers read them as.
fn windows_1252(byte: u8) -> char {
    const FROM_80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    let high = byte.checked_sub(0x80).and_then(|index| FROM_80.get(usize::from(index)));
    high.copied().unwrap_or(char::from(byte))
}

/// The characters of `text` that take no room and leave no mark, with which two texts that look the
/// same are different: formats, separators of lines and paragraphs (categories Cf, Zl and Zp), and
/// those that Unicode says are ignored by default although their category is another. Spaces of any
/// width are not among them.
pub fn invisible(text: &str) -> impl Iterator<Item = char> {
    // Nearly every text is ASCII, in which there are none.
    let text = if text.is_ascii() { "" } else { text };
    text.chars().filter(|c| is_invisible(*c))
}

/// `text` without what [`invisible`] finds in it.
pub fn visible(text: &str) -> Cow<'_, str> {
    if invisible(text).next().is_none() {
        Cow::Borrowed(text)
    } else {
        text.chars().filter(|c| !is_invisible(*c)).collect()
    }
}

fn is_invisible(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    // `Default_Ignorable_Code_Point` of Unicode without those of category Cf, and the blank pattern
    // of Braille.
    let ignored = matches!(
        c,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2065}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    ignored
        || matches!(
            c.general_category(),
            GeneralCategory::Format
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn decoded(content: &[u8], encoding: Encoding) -> Result<String, Problem> {
        let mut decoder = Decoder::new(content, encoding)?;
        let mut text = String::new();
        while let Some(part) = decoder.next()? {
            text.push_str(&part);
        }
        Ok(text)
    }

    fn utf16(text: &str, big_endian: bool) -> Vec<u8> {
        let unit = |unit: u16| if big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() };
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(unit).collect()
    }

    #[test]
    fn a_byte_order_mark_says_which_unicode_it_is() {
        let text = "größe;€;😀";
        let marked = format!("\u{feff}{text}");
        for content in
            [text.as_bytes().to_vec(), marked.into_bytes(), utf16(text, false), utf16(text, true)]
        {
            assert_eq!(decoded(&content, Encoding::Unicode).unwrap(), text);
            // A mark is stronger than the name; without one the name is a mistake.
            let named = decoded(&content, Encoding::Windows1252);
            assert_eq!(named.ok().as_deref() == Some(text), content != text.as_bytes());
        }
    }

    #[test]
    fn characters_stay_whole_between_parts() {
        for lead in 0..4 {
            let text = format!("{}{}", "x".repeat(lead), "😀".repeat(CHUNK_BYTES / 2));
            for big_endian in [false, true] {
                assert_eq!(decoded(&utf16(&text, big_endian), Encoding::Unicode).unwrap(), text);
            }
        }
    }

    #[test]
    fn windows_1252_is_read_when_named_only() {
        let content = b"a\nb\r\nCr\xe8me \x80\x99";
        let problem = decoded(content, Encoding::Unicode).unwrap_err();
        assert_eq!(problem.row, Some(3));
        assert!(problem.remedy.contains("--encoding windows-1252"), "{problem}");
        assert_eq!(decoded(content, Encoding::Windows1252).unwrap(), "a\nb\r\nCrème €™");
    }

    #[test]
    fn what_is_no_text_is_said_so() {
        for (content, what) in [
            (&b"PK\x03\x04\x14"[..], "workbook of Excel"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"S\0K\0U\0", "UTF-16 without"),
            (b"\0S\0K\0U", "UTF-16 without"),
            (b"\xff\xfeS\0\0\xd8,\0", "broken UTF-16"),
            (b"\xff\xfeS\0K", "broken UTF-16"),
        ] {
            let problem = decoded(content, Encoding::Unicode).unwrap_err();
            assert!(problem.what.contains(what), "{content:?}: {problem}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_taken_out() {
        for hidden in [
            '\u{ad}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{2060}',
            '\u{2066}',
            '\u{feff}',
            '\u{34f}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{e0041}',
            '\u{180e}',
        ] {
            let text = format!("MUG{hidden}");
            assert_eq!(invisible(&text).collect::<Vec<_>>(), [hidden], "{hidden:?}");
            assert_eq!(visible(&text), "MUG", "{hidden:?}");
        }
        for seen in ["Crème brûlée", "10\u{a0}ml", "e\u{301}", "東京\u{3000}", "😀", "\u{2003}"]
        {
            assert_eq!(invisible(seen).next(), None, "{seen:?}");
            assert_eq!(visible(seen), seen);
        }
    }
}
