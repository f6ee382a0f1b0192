//! Files of shops, good and bad, as what is sold of them. All products are invented.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod any_bytes;
mod bad_input;
mod bigcommerce;
mod deciding;
mod keys;
mod own;
mod parts;
mod shopify;
mod woocommerce;

use flashsale_catalogue::{
    Catalogue, Decision, Preview, PreviewRow, Problems, ReadOptions, SelectOptions, UnitsRule,
    read, select,
};
use iso_currency::Currency;

/// Options with a currency alone.
fn eur() -> SelectOptions {
    SelectOptions { currency: Some(Currency::EUR), ..SelectOptions::default() }
}

/// As [`eur`], with so many units of each.
fn eur_of(units: i64) -> SelectOptions {
    SelectOptions { units: UnitsRule::Fixed(units), ..eur() }
}

fn catalogue(content: &[u8]) -> Catalogue {
    read(content, &ReadOptions::default()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn preview(content: &[u8], options: &SelectOptions) -> Preview {
    select(&catalogue(content), options).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Why a file is refused, by whichever layer.
fn refused(content: &[u8], options: &SelectOptions) -> Problems {
    match read(content, &ReadOptions::default()) {
        Ok(catalogue) => select(&catalogue, options).expect_err("it is sold"),
        Err(problems) => problems,
    }
}

/// What is sold: sku, title, price and units.
fn sold(preview: &Preview) -> Vec<(&str, &str, Option<i64>, Option<i64>)> {
    let rows = preview.rows.iter().filter(|row| row.decision == Decision::Sell);
    rows.map(|row| (row.sku.as_str(), row.title.as_str(), row.price_minor, row.units)).collect()
}

fn skus(preview: &Preview) -> Vec<&str> {
    sold(preview).into_iter().map(|(sku, ..)| sku).collect()
}

/// What is not sold: the line, and the code of the reason.
fn left_out(preview: &Preview) -> Vec<(usize, &'static str)> {
    let rows = preview.rows.iter().filter_map(|row| match &row.decision {
        Decision::Sell => None,
        Decision::LeftOut(why) => Some((row.line, why.code())),
    });
    rows.collect()
}

fn row<'a>(preview: &'a Preview, sku: &str) -> &'a PreviewRow {
    preview.rows.iter().find(|row| row.sku == sku).unwrap_or_else(|| panic!("no {sku}"))
}

/// The one problem of a file: its place and its text.
fn only(problems: &Problems) -> (String, String) {
    assert_eq!(problems.count(), 1, "{problems}");
    (problems.listed()[0].place(), problems.listed()[0].text())
}
