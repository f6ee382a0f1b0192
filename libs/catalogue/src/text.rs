//! Bytes as text, and the characters in it that cannot be seen.

use std::{
    borrow::Cow,
    fmt,
    io::{self, Cursor, Read},
};

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::{MAX_BYTES, problems::Problem};

/// How much is read and decoded at once, in bytes; an even number.
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

/// The bytes of a file, a chunk at a time, so that a large one is never in memory as a whole.
pub(crate) struct Source<'a> {
    from: Box<dyn Read + 'a>,
    /// What was read and is not decoded yet.
    buffer: Vec<u8>,
    /// How many bytes were read, decoded or not.
    bytes: usize,
    ended: bool,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl<'a> Source<'a> {
    /// Reads the first chunk of `from`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(from: impl Read + 'a) -> Result<Self, Problem> {
        let from = Box::new(from);
        let mut source = Self { from, buffer: Vec::new(), bytes: 0, ended: false };
        source.fill()?;
        Ok(source)
    }

    /// How the file begins: its first chunk, until anything is decoded.
    pub(crate) fn start(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads until there is a chunk to decode, or the rest of the file.
    fn fill(&mut self) -> Result<(), Problem> {
        let missing = CHUNK_BYTES.saturating_sub(self.buffer.len());
        if self.ended || missing == 0 {
            return Ok(());
        }
        let limit = u64::try_from(missing).unwrap_or(u64::MAX);
        let read = self.from.by_ref().take(limit).read_to_end(&mut self.buffer);
        let read = read
            .map_err(|error| Problem::file(format!("cannot be read: {error}"), "send it again"))?;
        self.ended = read < missing;
        self.bytes += read;
        if self.bytes > MAX_BYTES {
            let what = "ends behind the 67,108,864 bytes that are allowed";
            let remedy = "export fewer products, or without their descriptions";
            return Err(Problem::file(what, remedy));
        }
        Ok(())
    }
}

/// A text, decoded a part at a time.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    source: Source<'a>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Utf8,
    Utf16 {
        big_endian: bool,
    },
    Windows1252 {
        /// Whether all of it so far could be UTF-8 as well, and not only ASCII.
        looks: Looks,
    },
}

/// Which text the bytes of a file could be, that is said to be Windows-1252.
#[derive(Debug, Clone, PartialEq)]
enum Looks {
    /// So far it is ASCII.
    Ascii,
    /// So far it is UTF-8, but for the bytes here, which may begin a character.
    Utf8(Vec<u8>),
    /// It is no UTF-8.
    Other,
}

impl Looks {
    /// What it could be with `bytes` behind it.
    fn with(self, bytes: &[u8]) -> Self {
        let mut rest = match self {
            Self::Ascii if bytes.is_ascii() => return Self::Ascii,
            Self::Ascii => Vec::new(),
            Self::Utf8(begun) => begun,
            Self::Other => return Self::Other,
        };
        rest.extend_from_slice(bytes);
        match std::str::from_utf8(&rest) {
            Ok(_) => Self::Utf8(Vec::new()),
            Err(error) if error.error_len().is_none() => {
                Self::Utf8(rest.split_off(error.valid_up_to()))
            }
            Err(_) => Self::Other,
        }
    }
}

impl<'a> Decoder<'a> {
    /// A decoder of `source`, without its byte order mark.
    ///
    /// # Errors
    /// When it begins like no text, or in an encoding that was not named.
    pub(crate) fn new(mut source: Source<'a>, encoding: Encoding) -> Result<Self, Problem> {
        if let Some(what) = other_file(source.start()) {
            return Err(Problem::file(what, "save the products as \"CSV UTF-8\""));
        }
        for (mark, kind) in [
            (&b"\xef\xbb\xbf"[..], Kind::Utf8),
            (b"\xff\xfe", Kind::Utf16 { big_endian: false }),
            (b"\xfe\xff", Kind::Utf16 { big_endian: true }),
        ] {
            if source.start().starts_with(mark) {
                source.buffer.drain(..mark.len());
                return Ok(Self { source, kind });
            }
        }
        if encoding == Encoding::Windows1252 {
            return Ok(Self { source, kind: Kind::Windows1252 { looks: Looks::Ascii } });
        }
        if matches!(source.start(), [0, other, ..] | [other, 0, ..] if *other != 0) {
            let what = "looks like UTF-16 without a byte order mark";
            return Err(Problem::file(what, SAVE_AS_UTF8));
        }
        Ok(Self { source, kind: Kind::Utf8 })
    }

    /// The next part of the text; `None` at its end.
    ///
    /// # Errors
    /// When the bytes cannot be read, or are no text in the encoding; without the row, which the
    /// caller knows.
    pub(crate) fn next(&mut self) -> Result<Option<String>, Problem> {
        self.source.fill()?;
        if self.source.buffer.is_empty() {
            return self.end().map(|()| None);
        }
        match &mut self.kind {
            Kind::Utf8 => self.utf8().map(Some),
            Kind::Utf16 { big_endian } => {
                let big_endian = *big_endian;
                self.utf16(big_endian).map(Some)
            }
            Kind::Windows1252 { looks } => {
                let now = std::mem::take(&mut self.source.buffer);
                *looks = std::mem::replace(looks, Looks::Other).with(&now);
                Ok(Some(now.into_iter().map(windows_1252).collect()))
            }
        }
    }

    /// Judges what only the whole file shows.
    fn end(&self) -> Result<(), Problem> {
        match &self.kind {
            // By chance, letters of Windows-1252 are hardly ever good UTF-8.
            Kind::Windows1252 { looks: Looks::Utf8(begun) } if begun.is_empty() => {
                let what = "is windows-1252, but the file is UTF-8";
                Err(Problem::option("--encoding", what, "leave it out"))
            }
            Kind::Utf8 | Kind::Utf16 { .. } | Kind::Windows1252 { .. } => Ok(()),
        }
    }

    /// What is good of the bytes that were read: a character that a chunk cuts in two is left for
    /// the next call, and so are bytes that are none, which it then stands before.
    fn utf8(&mut self) -> Result<String, Problem> {
        let error = match String::from_utf8(std::mem::take(&mut self.source.buffer)) {
            Ok(text) => return Ok(text),
            Err(error) => error,
        };
        let good = error.utf8_error().valid_up_to();
        let mut bytes = error.into_bytes();
        self.source.buffer = bytes.split_off(good);
        if bytes.is_empty() {
            let at = self.source.bytes.saturating_sub(self.source.buffer.len());
            let what = format!("is not UTF-8 at byte {at} of the file");
            let remedy = format!(
                "{SAVE_AS_UTF8}; if it was saved by an older Excel, pass --encoding windows-1252"
            );
            return Err(Problem::file(what, remedy));
        }
        Ok(String::from_utf8(bytes).unwrap_or_default())
    }

    fn utf16(&mut self, big_endian: bool) -> Result<String, Problem> {
        let unit = |pair: &[u8]| match *pair {
            [a, b] if big_endian => u16::from_be_bytes([a, b]),
            [a, b] => u16::from_le_bytes([a, b]),
            _ => 0xdc00,
        };
        let mut now = std::mem::take(&mut self.source.buffer);
        // Both halves of a unit, and of a character, stay together. A chunk has an even number of
        // bytes; only the end of a file may not.
        if !self.source.ended
            && now.last_chunk().is_some_and(|pair: &[u8; 2]| (0xd800..0xdc00).contains(&unit(pair)))
        {
            self.source.buffer = now.split_off(now.len() - 2);
        }
        let text: Result<String, _> = char::decode_utf16(now.chunks(2).map(unit)).collect();
        text.map_err(|_| Problem::file("is broken UTF-16", SAVE_AS_UTF8))
    }
}

/// The text as bytes of UTF-8, for those who read bytes.
#[derive(Debug)]
pub(crate) struct TextReader<'a> {
    decoder: Decoder<'a>,
    part: Cursor<Vec<u8>>,
    /// Why the text could not be read to its end.
    pub(crate) problem: Option<Problem>,
}

impl<'a> TextReader<'a> {
    pub(crate) fn new(decoder: Decoder<'a>) -> Self {
        Self { decoder, part: Cursor::default(), problem: None }
    }
}

impl Read for TextReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.part.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.decoder.next() {
                Ok(Some(part)) => self.part = Cursor::new(part.into_bytes()),
                Ok(None) => return Ok(0),
                Err(problem) => {
                    let error = io::Error::other(problem.to_string());
                    self.problem = Some(problem);
                    return Err(error);
                }
            }
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
        let mut decoder = Decoder::new(Source::open(content)?, encoding)?;
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
            assert_eq!(decoded(text.as_bytes(), Encoding::Unicode).unwrap(), text);
            assert!(decoded(text.as_bytes(), Encoding::Windows1252).is_err(), "it is UTF-8");
            for big_endian in [false, true] {
                assert_eq!(decoded(&utf16(&text, big_endian), Encoding::Unicode).unwrap(), text);
            }
        }
    }

    /// A file that comes a byte at a time.
    #[derive(Debug)]
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn a_file_may_come_in_parts_of_any_size() {
        let text = "größe;€;😀".repeat(10_000);
        for encoding in [Encoding::Unicode, Encoding::Windows1252] {
            let content = match encoding {
                Encoding::Unicode => text.clone().into_bytes(),
                Encoding::Windows1252 => b"gr\xf6\xdfe".repeat(20_000),
            };
            let mut decoder =
                Decoder::new(Source::open(Trickle(&content)).unwrap(), encoding).unwrap();
            let mut read = String::new();
            while let Some(part) = decoder.next().unwrap() {
                assert!(part.len() <= 2 * CHUNK_BYTES, "{} bytes at once", part.len());
                read.push_str(&part);
            }
            assert_eq!(read, decoded(&content, encoding).unwrap());
        }
    }

    #[test]
    fn what_is_too_large_is_not_read_on() {
        let mut left = MAX_BYTES + 10 * CHUNK_BYTES;
        let endless = io::repeat(b'a').take(u64::try_from(left).unwrap());
        let mut decoder = Decoder::new(Source::open(endless).unwrap(), Encoding::Unicode).unwrap();
        let problem = loop {
            match decoder.next() {
                Ok(Some(part)) => left -= part.len(),
                Ok(None) => panic!("it is read to its end"),
                Err(problem) => break problem,
            }
        };
        assert!(problem.what.contains("67,108,864"), "{problem}");
        assert!(left >= 9 * CHUNK_BYTES, "{left} bytes are left");
    }

    #[test]
    fn windows_1252_is_read_when_named_only() {
        let content = b"a\nb\r\nCr\xe8me \x80\x99";
        let problem = decoded(content, Encoding::Unicode).unwrap_err();
        assert!(problem.what.contains("at byte 7 of"), "{problem}");
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
