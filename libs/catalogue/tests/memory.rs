//! What reading a large export takes. A process of its own: the peak is the process's.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{self, Read};

use flashsale_catalogue::{MAX_BYTES, ReadOptions, SelectOptions, UnitsRule, read_from, select};
use iso_currency::Currency;

const MIB: usize = 1024 * 1024;

/// The most memory the process has had resident so far, in bytes; `None` where the system does not
/// say.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// A product export of Shopify as shops have them: 90 % of it is descriptions in HTML. It is made
/// while it is read.
#[derive(Debug)]
struct Export {
    bytes: usize,
    product: usize,
    part: io::Cursor<Vec<u8>>,
    description: String,
}

impl Export {
    /// Of about so many bytes.
    fn new(bytes: usize) -> Self {
        let header = "Handle,Title,Body (HTML),Vendor,Type,Tags,Published,Option1 Name,Option1 Value,\
                      Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,\
                      Variant Inventory Policy,Variant Price,Variant Compare At Price,Status\n";
        let paragraph = "<p class=\"\"lead\"\">Woven in Größe, washed twice, \
                         <b>made to last</b> and to be mended.</p>\n";
        Self {
            bytes,
            product: 0,
            part: io::Cursor::new(header.as_bytes().to_vec()),
            description: paragraph.repeat(45),
        }
    }

    /// A product and its three variants.
    fn rows_of_one(&mut self) -> String {
        let (number, description) = (self.product, &self.description);
        self.product += 1;
        let first = format!(
            "product-{number},Product {number},\"{description}\",Northlight,Coats,\"drop, wool\",true,\
             Size,S,SKU-{number}-S,shopify,5,deny,19.90,29.90,active\n"
        );
        let others = ["M", "L"].map(|size| {
            format!(
                "product-{number},,,,,,,,{size},SKU-{number}-{size},shopify,5,deny,19.90,29.90,\n"
            )
        });
        first + &others.concat()
    }
}

impl Read for Export {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.part.read(buffer)?;
            if read > 0 {
                self.bytes = self.bytes.saturating_sub(read);
                return Ok(read);
            }
            if self.bytes == 0 {
                return Ok(0);
            }
            self.part = io::Cursor::new(self.rows_of_one().into_bytes());
        }
    }
}

/// One test: the peak never falls.
#[test]
fn large_exports_take_little_memory() {
    let Some(before) = peak() else { return };

    let problems = read_from(Export::new(200 * MIB), &ReadOptions::default()).unwrap_err();
    assert!(problems.to_string().contains("67,108,864"), "{problems}");
    let taken = peak().unwrap() - before;
    assert!(taken < 64 * MIB, "an export of 200 MiB was refused with {} KiB", taken / 1024);

    let catalogue = read_from(Export::new(MAX_BYTES - MIB), &ReadOptions::default()).unwrap();
    let options = SelectOptions {
        currency: Some(Currency::EUR),
        units: UnitsRule::FromFile,
        selection: flashsale_catalogue::Selection {
            handles: vec!["product-0".to_owned(), "product-7000".to_owned()],
            ..flashsale_catalogue::Selection::default()
        },
        ..SelectOptions::default()
    };
    let preview = select(&catalogue, &options).unwrap();
    assert_eq!(preview.totals.items, 6);
    assert!(catalogue.variants.len() > 20_000, "{} variants", catalogue.variants.len());
    let peak = peak().unwrap();
    assert!(peak < 160 * MIB, "an export of 63 MiB took {} KiB", peak / 1024);
}
