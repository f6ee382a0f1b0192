//! Reads the product exports of shops, and decides what of them a sale sells.
//!
//! A file goes through five layers: `text` makes characters of its bytes, `table` rows of those,
//! `format` tells by the names of the columns which shop it comes from, a reader of that shop makes
//! neutral rows ([`Catalogue`]), and [`select()`] decides, for all shops alike, what is sold of
//! them, at which price, and how many units. [`less_taken`] and [`Results`] write what a sale came
//! to. Plain Rust, without stores and without a clock.

mod export;
mod format;
mod key;
mod money;
mod problems;
mod readers;
mod row;
mod select;
mod table;
mod text;

use std::io::Read;

pub use export::{
    Baseline, Head, ItemRow, LineRow, Results, ResultsKind, Shop, StockFile, Taken, less_taken,
};
pub use format::Format;
pub use money::{DecimalMark, UnchargedOrder, amount, decimal, uncharged_order, uncharged_price};
pub use problems::{About, Problem, Problems};
pub use row::{Catalogue, Columns, Fault, Kind, Listed, Product, SourceKey, Stock, Variant, Words};
pub use select::{
    Decision, DuplicateSkus, LeftOut, MAX_ITEMS, MAX_QUANTITY, MAX_SKU_CHARS, MAX_TITLE_CHARS,
    Need, Percent, Preview, PreviewRow, PriceRule, Rounding, SelectOptions, Selection, SharedStock,
    Totals, UnitsRule, select, shop_time,
};
pub use table::Separator;
use text::Source;
pub use text::{Encoding, invisible, visible};

/// The largest file, in bytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What the caller knows of a file that the file does not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions<'a> {
    /// The format; `None` to recognise it.
    pub format: Option<Format>,
    /// What its characters are written in.
    pub encoding: Encoding,
    /// What stands between its cells; `None` to find it.
    pub separator: Option<Separator>,
    /// What separates the decimals of its prices.
    pub decimal_mark: DecimalMark,
    /// The market of Shopify whose prices count, as in `Price / International`.
    pub market: Option<&'a str>,
    /// Shopify's inventory CSV, in which the stock stands by location.
    pub inventory: Option<&'a [u8]>,
    /// The location of `inventory` whose stock counts; `None` for the sum of all.
    pub location: Option<&'a str>,
}

/// Reads a product export. See [`read_from`].
///
/// # Errors
/// As [`read_from`].
pub fn read(content: &[u8], options: &ReadOptions<'_>) -> Result<Catalogue, Problems> {
    read_from(content, options)
}

/// Reads a product export a part at a time: of a large file, what makes it large is mostly in
/// columns that are not kept. Rows that cannot be used are in the catalogue with their fault; whether
/// they matter is decided by [`select()`].
///
/// # Errors
/// When the file as a whole cannot be read: it is too large, no text, no table, of another format
/// than the one named, or without the columns that the format needs. Nothing is read behind the
/// place that shows it.
pub fn read_from(content: impl Read, options: &ReadOptions<'_>) -> Result<Catalogue, Problems> {
    readers::read(Source::open(content).map_err(Problems::one)?, options)
}
