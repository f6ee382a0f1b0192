//! Takes the results of a sale back: the stock of the shop less what the sale took, with the
//! columns that the shop's own importer needs, and lists of our own.
//!
//! A shop's file overwrites its stock. It is therefore made from a fresh export of the shop, the
//! baseline: only rows that the sale took something from are written, and what stands in them is
//! the baseline's, byte for byte, but for the stock.

mod csv;
mod inventory;
mod products;
mod results;

use std::collections::HashMap;

pub use results::{Head, ItemRow, LineRow, Results, ResultsKind};

use crate::{
    Encoding, MAX_BYTES, Separator,
    format::{Format, Recognised, recognise},
    problems::{Problem, Problems},
    readers::own,
    table::Sheet,
    text::Source,
};

/// The most warnings in a list; the others are counted.
const MAX_WARNINGS: usize = 50;

/// A shop whose stock can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shop {
    /// Shopify, by its inventory CSV.
    Shopify,
    /// WooCommerce, by its product CSV.
    WooCommerce,
    /// BigCommerce, by its product CSV, of the present export or the legacy one.
    BigCommerce,
}

impl Shop {
    /// The format of its product exports.
    pub const fn format(self) -> Format {
        match self {
            Self::Shopify => Format::Shopify,
            Self::WooCommerce => Format::WooCommerce,
            Self::BigCommerce => Format::BigCommerce,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Shopify => "Shopify's inventory",
            Self::WooCommerce | Self::BigCommerce => self.format().title(),
        }
    }
}

/// A fresh export of a shop.
#[derive(Debug, Clone, Copy)]
pub struct Baseline<'a> {
    /// The shop.
    pub shop: Shop,
    /// The file: of Shopify the inventory CSV, of the others the product CSV.
    pub content: &'a [u8],
    /// What its characters are written in.
    pub encoding: Encoding,
    /// What stands between its cells; `None` to find it.
    pub separator: Option<Separator>,
    /// The location of Shopify whose stock changes; `None` where the file has only one.
    pub location: Option<&'a str>,
}

/// What a sale took of one item.
#[derive(Debug, Clone, Default)]
pub struct Taken {
    /// What it was sold as.
    pub sku: String,
    /// The keys of the row that it was imported from: columns of the shop's file with their cells
    /// as they stood. Empty where it is known by its sku only.
    pub source: Vec<(String, String)>,
    /// Units.
    pub units: i64,
}

impl Taken {
    /// The cell of the first of these columns that its source has.
    fn source(&self, names: &[&str]) -> Option<&str> {
        let is = |column: &str| names.iter().any(|name| column.eq_ignore_ascii_case(name));
        self.source.iter().find(|(column, _)| is(column)).map(|(_, cell)| cell.as_str())
    }
}

/// A file for a shop's importer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockFile {
    /// CSV in UTF-8.
    pub content: Vec<u8>,
    /// Rows, without the header.
    pub rows: usize,
    /// Units by which the stock is lower than in the baseline.
    pub units: i64,
    /// What could not be taken off, and what else is worth knowing.
    pub warnings: Vec<String>,
}

/// The stock of the baseline less what was taken. Takes some 10 ms for each MiB.
///
/// # Errors
/// When the baseline cannot be read, is the file of another shop, has rows with too few or too many
/// cells or stock that is no whole number where something was taken, or has several locations of
/// which none is named.
pub fn less_taken(baseline: &Baseline<'_>, taken: &[Taken]) -> Result<StockFile, Problems> {
    let sheet = open(baseline)?;
    let taken: Vec<&Taken> = taken.iter().filter(|taken| taken.units > 0).collect();
    match baseline.shop {
        Shop::Shopify => inventory::less_taken(sheet, baseline.location, &taken),
        Shop::WooCommerce | Shop::BigCommerce => products::less_taken(sheet, baseline, &taken),
    }
}

/// Opens the baseline, if it is a file of its shop.
fn open<'a>(baseline: &Baseline<'a>) -> Result<Sheet<'a>, Problems> {
    let Baseline { shop, content, encoding, separator, location } = *baseline;
    let refused = |problem| Err(Problems::one(problem));
    if content.len() > MAX_BYTES {
        let what = format!("has {} bytes; 67,108,864 are allowed", content.len());
        return refused(Problem::file(what, "export fewer products"));
    }
    if location.is_some() && shop != Shop::Shopify {
        let what = format!("is for Shopify's inventory, but the file is {}", shop.title());
        return refused(Problem::option("--location", what, "leave it out"));
    }
    if own::is_json(content) {
        return refused(other_file(shop, "JSON", "pass the shop's own export"));
    }
    let source = Source::open(content).map_err(Problems::one)?;
    let sheet = Sheet::open(source, encoding, separator).map_err(Problems::one)?;
    let problem = match (recognise(sheet.header()), shop) {
        (Recognised::As(Format::WooCommerce), Shop::WooCommerce)
        | (Recognised::As(Format::BigCommerce), Shop::BigCommerce)
        | (Recognised::ShopifyInventory, Shop::Shopify) => return Ok(sheet),
        // Its reader says which column it misses.
        (Recognised::Unknown, _) => return Ok(sheet),
        (Recognised::As(Format::Shopify), Shop::Shopify) => {
            let remedy = "export the inventory (Products > Inventory > Export) and pass that: products are \
                          not what Shopify reads stock by location from";
            other_file(shop, Format::Shopify.title(), remedy)
        }
        (Recognised::ShopifyInventory, _) => {
            other_file(shop, Shop::Shopify.title(), "pass --format shopify")
        }
        (Recognised::As(found), _) => {
            let remedy = format!("pass --format {}, or the export of the other shop", found.name());
            other_file(shop, found.title(), &remedy)
        }
    };
    refused(problem.at_row(sheet.header_line()))
}

fn other_file(shop: Shop, found: &str, remedy: &str) -> Problem {
    Problem::file(format!("is {found}, not {}", shop.title()), remedy)
}

/// What one key of the baseline leads to.
#[derive(Debug, Clone, Copy)]
enum Found<T> {
    One(T),
    /// Several rows have it, so that none of them is known to be meant.
    Several,
}

fn remember<K: std::hash::Hash + Eq, T: PartialEq>(
    by: &mut HashMap<K, Found<T>>,
    key: K,
    value: T,
) {
    match by.get(&key) {
        None => {
            by.insert(key, Found::One(value));
        }
        Some(Found::One(known)) if *known == value => {}
        Some(Found::One(_) | Found::Several) => {
            by.insert(key, Found::Several);
        }
    }
}

/// What is taken from one figure of stock.
#[derive(Debug, Default)]
struct Change<'a> {
    /// The first sku that it is taken for.
    sku: &'a str,
    units: i64,
}

impl<'a> Change<'a> {
    fn add(&mut self, taken: &'a Taken) {
        if self.sku.is_empty() {
            self.sku = &taken.sku;
        }
        self.units = self.units.saturating_add(taken.units);
    }

    /// How many of the units can be taken off `stock`; `None` if it is below zero already, which a
    /// figure of ours would hide.
    fn within(&self, stock: i64, warnings: &mut Warnings) -> Option<i64> {
        if stock < 0 {
            warnings.add(format!(
                "{}: the shop's stock is {stock} already; its row is left out, and {} more were taken",
                self.sku, self.units
            ));
            return None;
        }
        if self.units > stock {
            warnings.add(format!(
                "{}: the shop has {stock}, but {} were taken; its stock becomes 0",
                self.sku, self.units
            ));
        }
        Some(self.units.min(stock))
    }
}

/// Warnings, of which only the first are listed.
#[derive(Debug, Default)]
struct Warnings {
    listed: Vec<String>,
    more: usize,
}

impl Warnings {
    fn add(&mut self, text: String) {
        if self.listed.len() < MAX_WARNINGS {
            self.listed.push(text);
        } else {
            self.more += 1;
        }
    }

    /// That a sku has no row, or not one of its own.
    fn not_found(&mut self, taken: &Taken, several: bool) {
        let Taken { sku, units, .. } = taken;
        let why = if several { "is in several rows of" } else { "is not in" };
        self.add(format!("{sku} {why} the file: its units, {units}, are not taken off"));
    }

    /// That there is no figure to take something off.
    fn not_counted(&mut self, sku: &str, units: i64) {
        let what = "the shop does not count its stock";
        self.add(format!("{sku}: {what}; its units, {units}, are not taken off"));
    }

    fn done(mut self, more: Vec<String>) -> Vec<String> {
        if self.more > 0 {
            self.listed.push(format!("and {} more", self.more));
        }
        self.listed.extend(more);
        self.listed
    }
}
