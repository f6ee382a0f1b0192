//! The stock of a shop less what a sale took, as its own importer reads it. All products are
//! invented.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod refused;
mod round_trip;
mod written;

use flashsale_catalogue::{Baseline, Encoding, Problems, Shop, StockFile, Taken, less_taken};

const INVENTORY: &[u8] = include_bytes!("../fixtures/shopify-inventory.csv");
const INVENTORY_COLUMNS: &[u8] = include_bytes!("../fixtures/shopify-inventory-columns.csv");
const PRODUCTS: &[u8] = include_bytes!("../fixtures/shopify-old.csv");
const WOOCOMMERCE: &[u8] = include_bytes!("../fixtures/woocommerce.csv");
const WOOCOMMERCE_SHARED: &[u8] = include_bytes!("../fixtures/woocommerce-shared.csv");
const PRESENT: &[u8] = include_bytes!("../fixtures/bigcommerce-present.csv");
const LEGACY: &[u8] = include_bytes!("../fixtures/bigcommerce-legacy.csv");

fn baseline<'a>(shop: Shop, content: &'a [u8], location: Option<&'a str>) -> Baseline<'a> {
    Baseline { shop, content, encoding: Encoding::Unicode, separator: None, location }
}

/// Units that are known by their sku only.
fn taken(sku: &str, units: i64) -> Taken {
    Taken { sku: sku.to_owned(), source: Vec::new(), units }
}

/// Units of what was imported from a row with these cells.
fn taken_of(sku: &str, source: &[(&str, &str)], units: i64) -> Taken {
    let source = source.iter().map(|(column, cell)| ((*column).to_owned(), (*cell).to_owned()));
    Taken { source: source.collect(), ..taken(sku, units) }
}

fn write(baseline: &Baseline<'_>, taken: &[Taken]) -> StockFile {
    less_taken(baseline, taken).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refusal(baseline: &Baseline<'_>, taken: &[Taken]) -> Problems {
    less_taken(baseline, taken).expect_err("it is written")
}

fn text(file: &StockFile) -> &str {
    std::str::from_utf8(&file.content).unwrap()
}
