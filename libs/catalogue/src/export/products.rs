//! WooCommerce's and BigCommerce's product CSV, with the columns by which their importers find a
//! row and its stock, and no others: what is not there stays as it is in the shop.

use std::collections::HashMap;

use super::{Baseline, Change, Found, StockFile, Taken, Warnings, csv::CsvWriter, remember};
use crate::{
    ReadOptions, Shop,
    problems::{Problem, Problems, shown},
    row::{Catalogue, Stock},
    table::{Record, Sheet},
};

/// The columns of a file, each by its names in the shop's exports.
#[derive(Debug)]
struct Layout {
    /// How rows are told apart.
    keys: &'static [&'static [&'static str]],
    stock: &'static [&'static str],
    /// What names the kind of a row, where variants have to stand below their product.
    item: Option<&'static [&'static str]>,
}

const WOOCOMMERCE: Layout = Layout { keys: &[&["ID"], &["SKU"]], stock: &["Stock"], item: None };

const ITEM: &[&str] = &["Item", "Item Type"];

const BIGCOMMERCE: Layout = Layout {
    keys: &[
        ITEM,
        &["ID", "Product ID"],
        &["Name", "Product Name"],
        &["SKU", "Product Code/SKU", "Code"],
        // The legacy importer refuses products without it.
        &["Category", "Category String"],
    ],
    stock: &["Current Stock", "Current Stock Level", "Stock Level"],
    item: Some(ITEM),
};

const ID: &[&str] = &["ID", "Product ID"];
const SKU: &[&str] = &["SKU", "Product Code/SKU", "Code"];

pub(super) fn less_taken(
    sheet: Sheet<'_>,
    baseline: &Baseline<'_>,
    taken: &[&Taken],
) -> Result<StockFile, Problems> {
    let options = ReadOptions {
        format: Some(baseline.shop.format()),
        encoding: baseline.encoding,
        separator: baseline.separator,
        ..ReadOptions::default()
    };
    let catalogue = crate::read(baseline.content, &options)?;
    let mut warnings = Warnings::default();
    let changes = changes(&catalogue, taken, &mut warnings)?;
    let layout = match baseline.shop {
        Shop::BigCommerce => &BIGCOMMERCE,
        Shop::WooCommerce | Shop::Shopify => &WOOCOMMERCE,
    };
    write(sheet, layout, &changes, warnings)
}

/// What is taken from which line of the file, and how much stands there.
fn changes<'a>(
    catalogue: &Catalogue,
    taken: &[&'a Taken],
    warnings: &mut Warnings,
) -> Result<HashMap<usize, (i64, Change<'a>)>, Problems> {
    let (mut by_id, mut by_both, mut by_sku) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (index, variant) in catalogue.variants.iter().enumerate() {
        let (id, sku) = (variant.source_key.id.as_str(), variant.source_key.sku.as_str());
        if !id.is_empty() {
            remember(&mut by_id, id, index);
            remember(&mut by_both, (id, sku), index);
        }
        if !variant.sku.is_empty() {
            remember(&mut by_sku, variant.sku.as_str(), index);
        }
    }
    let mut changes: HashMap<usize, (i64, Change<'a>)> = HashMap::new();
    let mut problems = Problems::default();
    for &taken in taken {
        // A number is the shop's own, but BigCommerce numbers products and variants apart; a sku
        // may have been given to another product since.
        let id = taken.source(ID).map(str::trim).filter(|id| !id.is_empty());
        let both = id.zip(taken.source(SKU)).and_then(|both| by_both.get(&both));
        let found = both
            .or_else(|| id.and_then(|id| by_id.get(id)))
            .or_else(|| by_sku.get(taken.sku.as_str()));
        let variant = match found {
            Some(Found::One(index)) => catalogue.variants.get(*index),
            Some(Found::Several) | None => None,
        };
        let Some(variant) = variant else {
            warnings.not_found(taken, found.is_some());
            continue;
        };
        match &variant.stock {
            Stock::Known(stock) | Stock::Shared(stock) => {
                let (_, change) =
                    changes.entry(variant.stock_line).or_insert((*stock, Change::default()));
                change.add(taken);
            }
            Stock::NotTracked | Stock::Missing => warnings.not_counted(&taken.sku, taken.units),
            Stock::Unreadable(text) => {
                let problem = Problem::file(format!("is {}", shown(text)), "write a whole number");
                let problem = problem.at_row(variant.stock_line);
                problems.add(problem.in_column(&catalogue.columns.stock));
            }
        }
    }
    if problems.is_empty() { Ok(changes) } else { Err(problems) }
}

/// Writes the rows with a change, and the products above them.
fn write(
    mut sheet: Sheet<'_>,
    layout: &Layout,
    changes: &HashMap<usize, (i64, Change<'_>)>,
    mut warnings: Warnings,
) -> Result<StockFile, Problems> {
    let find = |names: &[&str]| sheet.column(names).map_err(Problems::one);
    let mut keys = Vec::new();
    for names in layout.keys {
        keys.extend(find(names)?);
    }
    let item = match layout.item {
        Some(names) => find(names)?,
        None => None,
    };
    let Some(stock) = find(layout.stock)? else {
        let called = layout.stock.first().copied().unwrap_or_default();
        let problem = Problem::file("is missing", "export the products with their stock");
        return Err(Problems::one(problem.at_row(sheet.header_line()).in_column(called)));
    };
    let columns: Vec<Option<usize>> = keys.iter().copied().chain([stock]).map(Some).collect();
    let names: Vec<String> = columns.iter().map(|column| sheet.name(*column, "")).collect();
    let mut writer = CsvWriter::new(names.iter().map(String::as_str));
    sheet.keep(&columns);

    let (mut units, mut problems) = (0_i64, Problems::default());
    // The last product that is not written: its variants need it above them.
    let mut above: Option<Vec<String>> = None;
    while sheet.next().map_err(Problems::one)?.is_some() {
        let record = sheet.record();
        if let Some((what, remedy)) = sheet.ragged(record) {
            problems.add(Problem::file(what, remedy).at_row(record.line));
            continue;
        }
        let is_product = record.cell(item).eq_ignore_ascii_case("product");
        if is_product {
            above = None;
        }
        let change = changes.get(&record.line);
        let less = match change {
            // Out of stock without a figure: one would have the shop count it from now on.
            Some((_, change)) if record.cell(Some(stock)).is_empty() => {
                warnings.not_counted(change.sku, change.units);
                None
            }
            Some((before, change)) => {
                change.within(*before, &mut warnings).map(|less| (*before, less))
            }
            None => None,
        };
        match less {
            Some((before, less)) => {
                if let Some(product) = above.take() {
                    write_row(&mut writer, &product);
                }
                units += less;
                let mut cells = cells(record, &keys);
                cells.push((before - less).to_string());
                write_row(&mut writer, &cells);
            }
            None if is_product => {
                let mut cells = cells(record, &keys);
                cells.push(record.raw(Some(stock)).to_owned());
                above = Some(cells);
            }
            None => {}
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut more = sheet.warnings();
    more.extend(writer.warnings());
    Ok(StockFile {
        rows: writer.rows(),
        content: writer.take(),
        units,
        warnings: warnings.done(more),
    })
}

fn cells(record: &Record, columns: &[usize]) -> Vec<String> {
    columns.iter().map(|column| record.raw(Some(*column)).to_owned()).collect()
}

/// A row of keys with a figure behind them.
fn write_row(writer: &mut CsvWriter, cells: &[String]) {
    if let Some((stock, keys)) = cells.split_last() {
        for key in keys {
            writer.key(key);
        }
        writer.figure(stock);
        writer.end_row();
    }
}
