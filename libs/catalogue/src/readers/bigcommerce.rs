//! BigCommerce's product CSV, of its present export and the legacy one. Written from BigCommerce's
//! documentation of the fields; no store's own export has been seen.
//!
//! - A product has a row, and below it one for each variant (`Variant`; in the legacy export
//!   `  SKU`, indented). The order counts: nothing else says which product a variant belongs to.
//! - A variant's blank price is its product's.
//! - Stock is counted not at all, by product, which its variants then share, or by variant.

use super::{Finder, escape_note, named, titled, yes};
use crate::{
    ReadOptions,
    format::Format,
    key::{KeyColumns, Keys},
    problems::{Problems, shown},
    row::{Catalogue, Columns, Kind, Listed, Product, Stock, Variant, Words},
    table::{Record, Sheet},
};

const EVERY_COLUMN: &str =
    "export the products from BigCommerce as CSV, with every column of its default template";

/// The most options that are read of a variant.
const MAX_OPTIONS: usize = 10;

/// Where the columns stand.
#[derive(Debug)]
struct Cells {
    item: Option<usize>,
    id: Option<usize>,
    name: Option<usize>,
    kind: Option<usize>,
    sku: Option<usize>,
    options: Option<usize>,
    tracking: Option<usize>,
    stock: Option<usize>,
    price: Option<usize>,
    sale_price: Option<usize>,
    visible: Option<usize>,
    purchases: Option<usize>,
    categories: Option<usize>,
}

/// The product above the rows that are read.
#[derive(Debug)]
struct Base {
    variant: Variant,
    tracking: Tracking,
    variants: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Tracking {
    None,
    Product,
    Variant,
    /// The file does not say.
    Unknown,
}

pub(super) fn read(mut sheet: Sheet<'_>, options: &ReadOptions<'_>) -> Result<Catalogue, Problems> {
    let cells = Cells::find(&sheet)?;
    sheet.keep(&cells.all());
    let columns = Columns {
        sku: sheet.name(cells.sku, "SKU"),
        title: sheet.name(cells.name, "Name"),
        price: sheet.name(cells.price, "Price"),
        sale_price: sheet.name(cells.sale_price, "Sale Price"),
        stock: sheet.name(cells.stock, "Current Stock"),
    };
    let key = [cells.item, cells.id, cells.name, cells.sku, cells.options];
    let mut reading = Reading {
        key: KeyColumns::find(&sheet, &key),
        item_name: sheet.name(cells.item, "Item"),
        tracking_name: sheet.name(cells.tracking, "Inventory Tracking"),
        cells,
        products: Vec::new(),
        base: None,
        variants: Vec::new(),
        passed_over: 0,
    };
    while sheet.next().map_err(Problems::one)?.is_some() {
        let record = sheet.record();
        reading.row(record, sheet.ragged(record));
    }
    reading.end_product();
    Ok(Catalogue {
        format: Format::BigCommerce,
        products: reading.products,
        variants: reading.variants,
        passed_over: reading.passed_over,
        warnings: sheet.warnings(),
        decimal_mark: options.decimal_mark,
        columns,
        keys: Keys { own: reading.key.into_names(), ..Keys::default() },
    })
}

impl Cells {
    fn find(sheet: &Sheet<'_>) -> Result<Self, Problems> {
        let mut finder = Finder::new(sheet);
        let cells = Self {
            item: finder.need(&["Item", "Item Type"], "Item (or Item Type)", EVERY_COLUMN),
            id: finder.find(&["ID", "Product ID"]),
            name: finder.find(&["Name", "Product Name"]),
            kind: finder.find(&["Type", "Product Type"]),
            sku: finder.need(
                &["SKU", "Product Code/SKU", "Code"],
                "SKU (or Product Code/SKU)",
                EVERY_COLUMN,
            ),
            options: finder.find(&["Options"]),
            tracking: finder.find(&["Inventory Tracking", "Track Inventory"]),
            stock: finder.find(&["Current Stock", "Current Stock Level", "Stock Level"]),
            price: finder.need(&["Price"], "Price", EVERY_COLUMN),
            sale_price: finder.find(&["Sale Price"]),
            visible: finder.find(&[
                "Is Visible",
                "Is Visible?",
                "Product Visible?",
                "Product Visible",
            ]),
            purchases: finder.find(&["Allow Purchases?", "Allow Purchases"]),
            categories: finder.find(&["Categories", "Category", "Category String"]),
        };
        finder.done()?;
        Ok(cells)
    }

    fn all(&self) -> Vec<Option<usize>> {
        vec![
            self.item,
            self.id,
            self.name,
            self.kind,
            self.sku,
            self.options,
            self.tracking,
            self.stock,
            self.price,
            self.sale_price,
            self.visible,
            self.purchases,
            self.categories,
        ]
    }
}

#[derive(Debug)]
struct Reading {
    key: KeyColumns,
    cells: Cells,
    item_name: String,
    tracking_name: String,
    products: Vec<Product>,
    base: Option<Base>,
    variants: Vec<Variant>,
    passed_over: usize,
}

impl Reading {
    fn row(&mut self, record: &Record, ragged: Option<(String, String)>) {
        let item = record.cell(self.cells.item).to_ascii_lowercase();
        if let Some((what, remedy)) = ragged {
            // Rows below it would go to the product above it.
            if item == "product" {
                self.end_product();
            }
            let mut variant = Variant::new(record.line, None);
            variant.fail("", what, remedy);
            self.variants.push(variant);
            return;
        }
        match item.as_str() {
            "product" => {
                self.end_product();
                self.base = Some(self.product(record));
            }
            "variant" | "sku" => {
                let variant = self.variant(record);
                self.variants.push(variant);
            }
            "rule" | "image" | "video" => self.passed_over += 1,
            _ => {
                let mut variant = Variant::new(record.line, None);
                let what = format!("is {}", shown(record.cell(self.cells.item)));
                variant.fail(&self.item_name, what, "it is Product, Variant or SKU, Rule or Image");
                self.variants.push(variant);
            }
        }
    }

    fn product(&mut self, record: &Record) -> Base {
        let cell = |column: Option<usize>| record.cell(column);
        let mut variant = Variant::new(record.line, Some(self.products.len()));
        self.identify(record, &mut variant);
        variant.title = cell(self.cells.name).to_owned();
        if variant.sku.is_empty() && !variant.source_key.id.is_empty() {
            variant.sku = format!("id:{}", variant.source_key.id);
        }
        variant.regular_price = cell(self.cells.price).to_owned();
        variant.sale_price = sale_price(cell(self.cells.sale_price));
        if yes(cell(self.cells.visible)) == Some(false) {
            variant.listed = Listed::Unpublished;
        } else if yes(cell(self.cells.purchases)) == Some(false) {
            variant.listed = Listed::NotForSale;
        }
        let kind = cell(self.cells.kind);
        if kind.eq_ignore_ascii_case("d") || kind.eq_ignore_ascii_case("digital") {
            variant.kind = Kind::Digital;
        }
        let tracking = match cell(self.cells.tracking).to_ascii_lowercase().as_str() {
            "none" => Tracking::None,
            "product" | "by product" => Tracking::Product,
            "variant" | "by variant" | "option" | "by option" => Tracking::Variant,
            "" => Tracking::Unknown,
            other => {
                let what = format!("is {}", shown(other));
                let remedy =
                    "it is none, product or variant, in the legacy export by product or by option";
                variant.fail(&self.tracking_name, what, remedy);
                Tracking::Unknown
            }
        };
        variant.stock = match tracking {
            Tracking::None => Stock::NotTracked,
            Tracking::Product | Tracking::Variant | Tracking::Unknown => {
                Stock::parse(cell(self.cells.stock))
            }
        };
        let mut categories = Words::default();
        categories.add_list(&cell(self.cells.categories).replace('/', " > "), ';');
        self.products.push(Product {
            handle: variant.sku.clone(),
            title: variant.title.clone(),
            categories,
            ..Product::default()
        });
        Base { variant, tracking, variants: 0 }
    }

    fn variant(&mut self, record: &Record) -> Variant {
        let mut variant = Variant::new(record.line, None);
        self.identify(record, &mut variant);
        let text = [self.cells.options, self.cells.name].map(|column| record.cell(column));
        variant.source_key.options = text
            .into_iter()
            .map(chosen_options)
            .find(|found| !found.is_empty())
            .unwrap_or_default();
        let Some(base) = &mut self.base else {
            let what = "belongs to the product above it, but there is none";
            variant.fail(&self.item_name, what, "keep the order in which the rows were exported");
            return variant;
        };
        base.variants += 1;
        variant.product = base.variant.product;
        variant.listed = base.variant.listed;
        variant.kind = base.variant.kind;
        variant.fault.clone_from(&base.variant.fault);
        variant.title = titled(&base.variant.title, &variant.chosen());
        if variant.sku.is_empty() {
            variant.sku = named(&base.variant.sku, &variant.chosen());
        }
        let price = record.cell(self.cells.price);
        variant.sale_price = sale_price(record.cell(self.cells.sale_price));
        if price.is_empty() {
            variant.regular_price.clone_from(&base.variant.regular_price);
            if variant.sale_price.is_empty() {
                variant.sale_price.clone_from(&base.variant.sale_price);
            }
        } else {
            variant.regular_price = price.to_owned();
        }
        if base.tracking == Tracking::Product {
            variant.stock_line = base.variant.line;
        }
        variant.stock = match (base.tracking, &base.variant.stock) {
            (Tracking::None, _) => Stock::NotTracked,
            (Tracking::Product, Stock::Known(units)) => Stock::Shared(*units),
            (Tracking::Product, other) => other.clone(),
            (Tracking::Variant | Tracking::Unknown, _) => {
                Stock::parse(record.cell(self.cells.stock))
            }
        };
        variant
    }

    fn identify(&self, record: &Record, variant: &mut Variant) {
        variant.source_key.id = record.cell(self.cells.id).to_owned();
        variant.source_key.sku = record.raw(self.cells.sku).to_owned();
        variant.source_key.cells = self.key.cells(record);
        variant.sku = record.key(self.cells.sku).to_owned();
        variant.notes.extend(escape_note(record, self.cells.sku, &variant.sku));
    }

    /// A product without variants is sold itself.
    fn end_product(&mut self) {
        match self.base.take() {
            Some(base) if base.variants == 0 => self.variants.push(base.variant),
            Some(_) => self.passed_over += 1,
            None => {}
        }
    }
}

/// A sale price of zero stands for none.
fn sale_price(text: &str) -> String {
    let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.' | b','));
    if zero { String::new() } else { text.to_owned() }
}

/// The options of a variant: `Type=Rectangle|Name=Size|Value=M`, one after the other, or, in the
/// legacy export, `[RT]Size=M,[CS]Colour=Blue:#0000ff`.
fn chosen_options(text: &str) -> Vec<(String, String)> {
    let without_colour = |value: &str, mark: &str| {
        let value = value.rsplit_once(mark).map_or(value, |(value, _)| value);
        value.trim().to_owned()
    };
    if text.contains("|Value=") {
        let mut parts: Vec<&str> = text.split("|Name=").collect();
        let last = parts.len().saturating_sub(1);
        // Behind every value but the last, the next option's type begins.
        for (index, part) in parts.iter_mut().enumerate() {
            if index < last {
                *part = part.rsplit_once("Type=").map_or(*part, |(part, _)| part);
            }
        }
        let options = parts.iter().skip(1).take(MAX_OPTIONS);
        let options = options.filter_map(|part| part.split_once("|Value="));
        return options
            .map(|(name, value)| {
                let value = value.trim().trim_end_matches([';', ',']);
                (name.trim().to_owned(), without_colour(value, "[#"))
            })
            .collect();
    }
    if !text.starts_with('[') {
        return Vec::new();
    }
    let options = text.split(",[").take(MAX_OPTIONS).filter_map(|part| {
        let (_, option) = part.split_once(']')?;
        option.split_once('=')
    });
    options.map(|(name, value)| (name.trim().to_owned(), without_colour(value, ":#"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> String {
        let options = chosen_options(text);
        let options: Vec<String> =
            options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        options.join(" ")
    }

    #[test]
    fn options_are_written_in_both_ways() {
        for (text, expected) in [
            ("Type=Rectangle|Name=Size|Value=M", "Size=M"),
            (
                "Type=Swatch|Name=Colour|Value=Blue[#0000ff]Type=Rectangle|Name=Size|Value=M",
                "Colour=Blue Size=M",
            ),
            ("Type=Rectangle|Name=Size|Value=M;Type=Radio|Name=Fit|Value=Slim", "Size=M Fit=Slim"),
            ("[RT]Size=M,[CS]Colour=Blue:#0000ff", "Size=M Colour=Blue"),
            ("[S]Size=M, tall", "Size=M, tall"),
            ("Harbour cape", ""),
            ("", ""),
            ("[]", ""),
        ] {
            assert_eq!(options(text), expected, "{text}");
        }
    }

    #[test]
    fn a_sale_price_of_zero_is_none() {
        for (text, price) in [("0.00", ""), ("", ""), ("0", ""), ("10.00", "10.00")] {
            assert_eq!(sale_price(text), price);
        }
    }
}
