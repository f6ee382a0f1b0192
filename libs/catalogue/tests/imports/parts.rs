//! Files that come a part at a time.

use std::io::{self, Read};

use flashsale_catalogue::{Encoding, ReadOptions, read, read_from, select};

use crate::{eur_of, sold};

/// A file that comes in parts of these sizes, over and over.
#[derive(Debug)]
struct Parts<'a> {
    rest: &'a [u8],
    sizes: Vec<usize>,
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.sizes.rotate_left(1);
        let most = buffer.len().min(self.sizes[0]);
        self.rest.read(&mut buffer[..most])
    }
}

#[test]
fn characters_and_lines_may_be_cut_anywhere() {
    let rows: Vec<String> =
        (0..9_000).map(|row| format!("S{row},\"Größe\r\n{row} 😀\",5\r\n")).collect();
    let csv = format!("sku,title,price\r\n{}", rows.concat());
    let items: Vec<String> = (0..9_000)
        .map(|row| format!("{{\"sku\":\"S{row}\",\"title\":\"Größe {row} 😀\",\"price\":5}}"))
        .collect();
    let json = format!("[{}]", items.join(","));
    let units = std::iter::once(0xfeff).chain(csv.encode_utf16());
    let utf16: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    let options = ReadOptions::default();
    for file in [csv.as_bytes(), json.as_bytes(), &utf16] {
        assert!(file.len() > 3 * 65_536, "it has several chunks");
        let whole = format!("{:?}", read(file, &options).unwrap());
        for sizes in [vec![1], vec![2, 3], vec![65_535], vec![65_537, 1], vec![1_000_000]] {
            let parts = Parts { rest: file, sizes: sizes.clone() };
            let read = read_from(parts, &options).unwrap();
            assert!(format!("{read:?}") == whole, "{sizes:?}");
        }
    }
}

#[test]
fn a_file_that_breaks_off_is_refused() {
    #[derive(Debug)]
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let rows = "A,1\n".repeat(50_000);
    for start in [String::new(), format!("sku,price\n{rows}"), "[".to_owned()] {
        let problems =
            read_from(start.as_bytes().chain(Broken), &ReadOptions::default()).unwrap_err();
        assert!(problems.to_string().contains("the disk is gone"), "{problems}");
    }
}

#[test]
fn nothing_is_read_behind_a_header_that_is_refused() {
    /// Never ends, and counts.
    #[derive(Debug, Default)]
    struct Endless(usize);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.iter_mut().zip(b"a\n".iter().cycle()).for_each(|(to, from)| *to = *from);
            self.0 += buffer.len();
            Ok(buffer.len())
        }
    }
    let mut endless = Endless::default();
    let problems = read_from(&mut endless, &ReadOptions::default()).unwrap_err();
    assert!(problems.to_string().contains("no known format"), "{problems}");
    assert!(endless.0 <= 1024 * 1024, "{} bytes were read", endless.0);

    let mut endless = Endless::default();
    let rows = b"sku,price\n".as_slice().chain(&mut endless);
    let problems = read_from(rows, &ReadOptions::default()).unwrap_err();
    assert!(problems.to_string().contains("100,000 rows"), "{problems}");
    assert!(endless.0 <= 1024 * 1024, "{} bytes were read", endless.0);
}

#[test]
fn an_encoding_is_judged_by_the_whole_file() {
    let rows = "A,5\n".repeat(40_000);
    let latin = ReadOptions { encoding: Encoding::Windows1252, ..ReadOptions::default() };
    let file = format!("sku,price,title\n{rows}é,5,é\n");
    let problems = read(file.as_bytes(), &latin).unwrap_err();
    assert_eq!(problems.listed()[0].place(), "--encoding");
    let file = [b"sku,price,title\n\xe9,5,\xe9\n".as_slice(), "é,5,é\n".as_bytes()].concat();
    let found = select(&read(&file, &latin).unwrap(), &eur_of(1)).unwrap();
    assert_eq!(sold(&found)[0].0, "é");
    assert_eq!(sold(&found)[1].0, "Ã©");
}
