//! Import, sell, export, import: the same catalogue less what was sold.

use flashsale_catalogue::{Catalogue, ReadOptions, Shop, Stock, StockFile, Taken, read};
use proptest::prelude::*;

use crate::{
    INVENTORY, INVENTORY_COLUMNS, LEGACY, PRESENT, PRODUCTS, WOOCOMMERCE, WOOCOMMERCE_SHARED,
    baseline, write,
};

/// A file as columns and rows.
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn parse(content: &[u8]) -> Self {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(content);
        let row = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
        let header = row(reader.headers().unwrap());
        let rows = reader.records().map(|record| row(&record.unwrap())).collect();
        Self { header, rows }
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    fn cell<'r>(&self, row: &'r [String], name: &str) -> &'r str {
        self.column(name).map_or("", |column| row[column].as_str())
    }

    fn written(&self) -> Vec<u8> {
        let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        for row in std::iter::once(&self.header).chain(&self.rows) {
            writer.write_record(row).unwrap();
        }
        writer.into_inner().unwrap()
    }
}

/// The shop's own file after it has imported `file`: in the row with the same keys, the figure in
/// the last column is replaced. `keys` says which columns find the row.
fn imported(before: &[u8], file: &StockFile, keys: impl Fn(&str) -> bool) -> Vec<u8> {
    let (mut shop, changes) = (Table::parse(before), Table::parse(&file.content));
    let stock = changes.header.last().unwrap().clone();
    for change in &changes.rows {
        let same = |row: &Vec<String>| {
            let mut columns = changes.header.iter().filter(|name| keys(name) && **name != stock);
            columns.all(|name| shop.cell(row, name) == changes.cell(change, name))
        };
        let found: Vec<usize> =
            (0..shop.rows.len()).filter(|index| same(&shop.rows[*index])).collect();
        assert_eq!(found.len(), 1, "{change:?}");
        let column = shop.column(&stock).unwrap();
        shop.rows[found[0]][column] = change.last().unwrap().clone();
    }
    // What is available follows from what is on hand.
    if stock == "On hand (new)" {
        let at = |name: &str| shop.column(name).unwrap();
        let (new, now) = (at("On hand (new)"), at("On hand (current)"));
        let (available, committed, unavailable) = (
            at("Available (not editable)"),
            at("Committed (not editable)"),
            at("Unavailable (not editable)"),
        );
        for row in &mut shop.rows {
            let on_hand = std::mem::take(&mut row[new]);
            if let Ok(units) = on_hand.parse::<i64>() {
                let promised = [committed, unavailable].map(|column| row[column].parse::<i64>());
                let promised: i64 = promised.into_iter().map(Result::unwrap).sum();
                row[now] = on_hand;
                row[available] = (units - promised).to_string();
            }
        }
    }
    shop.written()
}

/// Sells a part of each variant's stock, in thousandths, and expects that part to be gone.
fn sold(parts: &[usize], before: &Catalogue, shop: Shop) -> (Vec<Taken>, Vec<i64>) {
    let mut shared = std::collections::HashMap::new();
    let units: Vec<i64> = before
        .variants
        .iter()
        .zip(parts.iter().cycle())
        .map(|(variant, part)| {
            let left = match variant.stock {
                Stock::Known(units) => units,
                Stock::Shared(units) => *shared.entry(variant.stock_line).or_insert(units),
                Stock::NotTracked | Stock::Missing | Stock::Unreadable(_) => 0,
            };
            let units = left.max(0) * i64::try_from(*part).unwrap() / 1_000;
            shared.entry(variant.stock_line).and_modify(|left| *left -= units);
            units
        })
        .collect();
    let id = if shop == Shop::BigCommerce { "Product ID" } else { "ID" };
    let taken = before.variants.iter().zip(&units).map(|(variant, units)| {
        let source = match shop {
            Shop::Shopify => Vec::new(),
            Shop::WooCommerce | Shop::BigCommerce => vec![
                (id.to_owned(), variant.source_key.id.clone()),
                ("SKU".to_owned(), variant.source_key.sku.clone()),
            ],
        };
        Taken { sku: variant.sku.clone(), source, units: *units }
    });
    (taken.collect(), units)
}

/// The catalogue as it should be once these units are gone.
fn less(before: &Catalogue, units: &[i64]) -> Catalogue {
    let mut after = before.clone();
    for (index, variant) in after.variants.iter_mut().enumerate() {
        match &mut variant.stock {
            Stock::Known(stock) => *stock -= units[index],
            Stock::Shared(stock) => {
                let of_product = before.variants.iter().zip(units);
                let taken: i64 = of_product
                    .filter(|(other, _)| other.stock_line == variant.stock_line)
                    .map(|(_, units)| units)
                    .sum();
                *stock -= taken;
            }
            Stock::NotTracked | Stock::Missing | Stock::Unreadable(_) => {}
        }
    }
    after
}

fn check_products(shop: Shop, content: &[u8], parts: &[usize]) {
    let options = ReadOptions { format: Some(shop.format()), ..ReadOptions::default() };
    let before = read(content, &options).unwrap();
    let (taken, units) = sold(parts, &before, shop);
    let file = write(&baseline(shop, content, None), &taken);
    assert_eq!(file.units, units.iter().sum::<i64>());
    assert!(file.warnings.is_empty(), "{:?}", file.warnings);
    let after = read(&imported(content, &file, |_| true), &options).unwrap();
    assert_eq!(after.variants, less(&before, &units).variants);
    assert_eq!(after.products, before.products);
}

fn check_shopify(inventory: &[u8], location: &str, parts: &[usize]) {
    let options = |inventory| ReadOptions {
        inventory: Some(inventory),
        location: Some(location),
        ..ReadOptions::default()
    };
    let before = read(PRODUCTS, &options(inventory)).unwrap();
    let (taken, units) = sold(parts, &before, Shop::Shopify);
    let file = write(&baseline(Shop::Shopify, inventory, Some(location)), &taken);
    assert_eq!(file.units, units.iter().sum::<i64>());
    let keys = |name: &str| name != "Title" && name != "On hand (current)";
    let inventory = imported(inventory, &file, keys);
    let after = read(PRODUCTS, &options(&inventory)).unwrap();
    assert_eq!(after.variants, less(&before, &units).variants);
    assert_eq!(after.products, before.products);
}

#[test]
fn what_shopify_has_not_taken_is_no_stock() {
    let taken = Taken { sku: "0112".to_owned(), units: 1, ..Taken::default() };
    let quay_1 = baseline(Shop::Shopify, INVENTORY, Some("Quay 1"));
    let file = write(&quay_1, &[taken]);
    let options = ReadOptions { inventory: Some(&file.content), ..ReadOptions::default() };
    let problems = read(PRODUCTS, &options).unwrap_err();
    assert_eq!(problems.listed()[0].place(), "row 2, column On hand (new)");
    assert!(problems.listed()[0].text().contains("import the file into Shopify"), "{problems}");
}

fn parts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0..=1_000_usize, 17)
}

proptest! {
    #[test]
    fn woocommerce_has_what_was_not_sold(parts in parts()) {
        check_products(Shop::WooCommerce, WOOCOMMERCE, &parts);
        check_products(Shop::WooCommerce, WOOCOMMERCE_SHARED, &parts);
    }

    #[test]
    fn bigcommerce_has_what_was_not_sold(parts in parts()) {
        check_products(Shop::BigCommerce, PRESENT, &parts);
        check_products(Shop::BigCommerce, LEGACY, &parts);
    }

    #[test]
    fn shopify_has_what_was_not_sold(parts in parts()) {
        for location in ["Quay 1", "Quay 2"] {
            check_shopify(INVENTORY, location, &parts);
            check_shopify(INVENTORY_COLUMNS, location, &parts);
        }
    }
}
