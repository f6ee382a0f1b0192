//! WooCommerce's product CSV
//! (<https://woocommerce.com/document/product-csv-importer-exporter/>).
//!
//! - A variable product has a row of its own and one for each variation, which names its parent by
//!   SKU or as `id:` with the number. Rows may stand in any order.
//! - A blank SKU is named after the parent's SKU and the values of the attributes, else `id:` with
//!   the number.
//! - Stock is the row's, `parent`, or, on a variation without any, that of a parent that has some:
//!   then all such variations share it.
//! - The sale price has dates, which are the shop's local ones.

use std::collections::HashMap;

use time::{Date, PrimitiveDateTime, Time, macros::format_description};

use super::{Finder, escape_note, list, named, titled, worse, yes};
use crate::{
    ReadOptions,
    format::Format,
    key::{KeyColumns, Keys},
    problems::{Problems, shown},
    row::{Catalogue, Columns, Kind, Listed, Product, Stock, Variant, Words},
    table::{Record, Sheet},
};

const EVERY_COLUMN: &str = "export the products from WooCommerce as CSV, with every column";
/// The most attributes that are read of a product.
const MAX_ATTRIBUTES: usize = 10;
const LAST_SECOND: Time = time::macros::time!(23:59:59);

/// Where the columns stand.
#[derive(Debug)]
struct Cells {
    id: Option<usize>,
    kind: Option<usize>,
    sku: Option<usize>,
    name: Option<usize>,
    published: Option<usize>,
    visibility: Option<usize>,
    sale_from: Option<usize>,
    sale_until: Option<usize>,
    in_stock: Option<usize>,
    stock: Option<usize>,
    backorders: Option<usize>,
    individually: Option<usize>,
    sale_price: Option<usize>,
    regular_price: Option<usize>,
    categories: Option<usize>,
    tags: Option<usize>,
    parent: Option<usize>,
    attributes: Vec<(Option<usize>, Option<usize>)>,
}

/// What a variation takes from its parent.
#[derive(Debug)]
struct Parent {
    line: usize,
    product: usize,
    listed: Listed,
    stock: Stock,
    backorder: bool,
    limit: Option<i64>,
    children: usize,
}

/// A row that is a product or a variation.
#[derive(Debug)]
struct Entry {
    variant: Variant,
    role: Role,
}

#[derive(Debug)]
enum Role {
    Alone,
    /// Above variations; its place among the parents.
    Parent(usize),
    /// The parent it names, and whether it says that the stock is that one's.
    Variation {
        parent: String,
        of_parent: bool,
    },
}

pub(super) fn read(mut sheet: Sheet<'_>, options: &ReadOptions<'_>) -> Result<Catalogue, Problems> {
    let cells = Cells::find(&sheet)?;
    sheet.keep(&cells.all());
    let columns = Columns {
        sku: sheet.name(cells.sku, "SKU"),
        title: sheet.name(cells.name, "Name"),
        price: sheet.name(cells.regular_price, "Regular price"),
        sale_price: sheet.name(cells.sale_price, "Sale price"),
        stock: sheet.name(cells.stock, "Stock"),
    };
    let key = [cells.id, cells.kind, cells.sku, cells.name, cells.parent];
    let mut reading = Reading {
        key: KeyColumns::find(&sheet, &key),
        cells,
        products: Vec::new(),
        parents: Vec::new(),
        by_name: HashMap::new(),
        entries: Vec::new(),
    };
    while sheet.next().map_err(Problems::one)?.is_some() {
        let record = sheet.record();
        reading.row(record, sheet.ragged(record));
    }
    let keys = Keys { own: reading.key.clone().into_names(), ..Keys::default() };
    let (products, variants, passed_over) = reading.finish();
    Ok(Catalogue {
        format: Format::WooCommerce,
        products,
        variants,
        passed_over,
        warnings: sheet.warnings(),
        decimal_mark: options.decimal_mark,
        columns,
        keys,
    })
}

impl Cells {
    fn find(sheet: &Sheet<'_>) -> Result<Self, Problems> {
        let mut finder = Finder::new(sheet);
        let attributes = 1..=MAX_ATTRIBUTES;
        let cells = Self {
            id: finder.find(&["ID"]),
            kind: finder.need(&["Type"], "Type", EVERY_COLUMN),
            sku: finder.need(&["SKU"], "SKU", EVERY_COLUMN),
            name: finder.find(&["Name"]),
            published: finder.find(&["Published"]),
            visibility: finder.find(&["Visibility in catalog"]),
            sale_from: finder.find(&["Date sale price starts"]),
            sale_until: finder.find(&["Date sale price ends"]),
            in_stock: finder.find(&["In stock?"]),
            stock: finder.find(&["Stock"]),
            backorders: finder.find(&["Backorders allowed?"]),
            individually: finder.find(&["Sold individually?"]),
            sale_price: finder.find(&["Sale price"]),
            regular_price: finder.need(&["Regular price"], "Regular price", EVERY_COLUMN),
            categories: finder.find(&["Categories"]),
            tags: finder.find(&["Tags"]),
            parent: finder.find(&["Parent"]),
            attributes: attributes
                .map(|number| {
                    (
                        finder.find(&[&format!("Attribute {number} name")]),
                        finder.find(&[&format!("Attribute {number} value(s)")]),
                    )
                })
                .collect(),
        };
        finder.done()?;
        Ok(cells)
    }

    fn all(&self) -> Vec<Option<usize>> {
        let mut all = vec![
            self.id,
            self.kind,
            self.sku,
            self.name,
            self.published,
            self.visibility,
            self.sale_from,
            self.sale_until,
            self.in_stock,
            self.stock,
            self.backorders,
            self.individually,
            self.sale_price,
            self.regular_price,
            self.categories,
            self.tags,
            self.parent,
        ];
        all.extend(self.attributes.iter().flat_map(|(name, values)| [*name, *values]));
        all
    }
}

#[derive(Debug)]
struct Reading {
    key: KeyColumns,
    cells: Cells,
    products: Vec<Product>,
    parents: Vec<Parent>,
    /// Parents by SKU and by `id:` with the number.
    by_name: HashMap<String, usize>,
    entries: Vec<Entry>,
}

impl Reading {
    fn row(&mut self, record: &Record, ragged: Option<(String, String)>) {
        let cell = |column: Option<usize>| record.cell(column);
        let product = self.products.len();
        let mut variant = Variant::new(record.line, Some(product));
        if let Some((what, remedy)) = ragged {
            variant.fail("", what, remedy);
            self.products.push(Product::default());
            self.entries.push(Entry { variant, role: Role::Alone });
            return;
        }
        let id = cell(self.cells.id);
        variant.source_key.id = id.to_owned();
        variant.source_key.sku = record.raw(self.cells.sku).to_owned();
        variant.source_key.cells = self.key.cells(record);
        variant.sku = record.key(self.cells.sku).to_owned();
        variant.notes.extend(escape_note(record, self.cells.sku, &variant.sku));
        variant.title = cell(self.cells.name).to_owned();
        variant.regular_price = cell(self.cells.regular_price).to_owned();
        variant.sale_price = cell(self.cells.sale_price).to_owned();
        self.dates(record, &mut variant);
        self.listed(record, &mut variant);
        variant.limit = (yes(cell(self.cells.individually)) == Some(true)).then_some(1);
        let backorders = cell(self.cells.backorders);
        let in_stock = cell(self.cells.in_stock);
        variant.backorder = yes(backorders) == Some(true)
            || backorders.eq_ignore_ascii_case("notify")
            || in_stock.eq_ignore_ascii_case("backorder");
        let stock = cell(self.cells.stock);
        let of_parent = stock.eq_ignore_ascii_case("parent");
        variant.stock = Stock::parse(if of_parent { "" } else { stock });
        if variant.stock == Stock::Missing {
            let out = yes(in_stock) == Some(false);
            variant.stock = if out { Stock::Known(0) } else { Stock::NotTracked };
        }

        let types = list(&cell(self.cells.kind).to_ascii_lowercase(), ',');
        let is = |name: &str| types.iter().any(|known| known == name);
        let extension = types.iter().find(|name| {
            let known = [
                "simple",
                "variable",
                "variation",
                "grouped",
                "external",
                "virtual",
                "downloadable",
            ];
            !known.contains(&name.as_str())
        });
        variant.kind = if extension.is_some() {
            Kind::Other
        } else if is("grouped") {
            Kind::Grouped
        } else if is("external") {
            Kind::External
        } else if is("virtual") || is("downloadable") {
            Kind::Digital
        } else {
            Kind::Physical
        };
        if let Some(name) = extension {
            variant.notes.push(format!("its type is {}", shown(name)));
        }

        let role = if is("variation") {
            // Of a variation each attribute has one value: the chosen one.
            for (name, value) in &self.cells.attributes {
                let (name, value) = (cell(*name), cell(*value));
                if !value.is_empty() {
                    variant.source_key.options.push((name.to_owned(), value.to_owned()));
                }
            }
            Role::Variation { parent: record.key(self.cells.parent).to_owned(), of_parent }
        } else {
            let handle = if variant.sku.is_empty() && !id.is_empty() {
                format!("id:{id}")
            } else {
                variant.sku.clone()
            };
            if is("variable") {
                let at = self.parents.len();
                for name in [format!("id:{id}"), variant.sku.clone()] {
                    if !name.is_empty() && name != "id:" {
                        self.by_name.entry(name).or_insert(at);
                    }
                }
                self.parents.push(Parent {
                    line: record.line,
                    product,
                    listed: variant.listed,
                    stock: variant.stock.clone(),
                    backorder: variant.backorder,
                    limit: variant.limit,
                    children: 0,
                });
                self.push_product(record, handle);
                Role::Parent(at)
            } else {
                variant.sku.clone_from(&handle);
                self.push_product(record, handle);
                Role::Alone
            }
        };
        self.entries.push(Entry { variant, role });
    }

    fn push_product(&mut self, record: &Record, handle: String) {
        let (mut tags, mut categories) = (Words::default(), Words::default());
        tags.add_list(record.cell(self.cells.tags), ',');
        categories.add_list(record.cell(self.cells.categories), ',');
        self.products.push(Product {
            handle,
            title: record.cell(self.cells.name).to_owned(),
            tags,
            categories,
            ..Product::default()
        });
    }

    fn listed(&self, record: &Record, variant: &mut Variant) {
        let published = record.cell(self.cells.published);
        variant.listed = match published {
            "" | "1" => Listed::Published,
            "0" => Listed::Unpublished,
            "-1" => Listed::Draft,
            _ => match yes(published) {
                Some(true) => Listed::Published,
                Some(false) => Listed::Unpublished,
                None => {
                    let what = format!("is {}", shown(published));
                    variant.fail("Published", what, "it is 1, 0 for private or -1 for a draft");
                    Listed::Published
                }
            },
        };
        if record.cell(self.cells.visibility).eq_ignore_ascii_case("hidden") {
            variant.listed = worse(variant.listed, Listed::Unlisted);
        }
    }

    fn dates(&self, record: &Record, variant: &mut Variant) {
        let (from, until) = (record.cell(self.cells.sale_from), record.cell(self.cells.sale_until));
        variant.sale_from = moment(from, Time::MIDNIGHT);
        variant.sale_until = moment(until, LAST_SECOND);
        if variant.sale_price.is_empty() {
            return;
        }
        for (name, text, read) in [
            ("Date sale price starts", from, variant.sale_from),
            ("Date sale price ends", until, variant.sale_until),
        ] {
            if !text.is_empty() && read.is_none() {
                let remedy = "write it such as 2026-11-27 or 2026-11-27 10:00:00";
                variant.fail(name, format!("is {}", shown(text)), remedy);
            }
        }
    }

    /// Joins variations and parents. Returns the products, what can be bought of them, and how many
    /// rows are neither.
    fn finish(mut self) -> (Vec<Product>, Vec<Variant>, usize) {
        for entry in &self.entries {
            if let Role::Variation { parent, .. } = &entry.role
                && let Some(at) = self.by_name.get(&plain(parent))
                && let Some(parent) = self.parents.get_mut(*at)
            {
                parent.children += 1;
            }
        }
        let (mut variants, mut passed_over) = (Vec::new(), 0);
        for Entry { mut variant, role } in self.entries {
            match role {
                Role::Alone => {}
                Role::Parent(at) => {
                    if self.parents.get(at).is_some_and(|parent| parent.children > 0) {
                        passed_over += 1;
                        continue;
                    }
                    if variant.kind == Kind::Physical || variant.kind == Kind::Digital {
                        variant.kind = Kind::VariableParent;
                    }
                }
                Role::Variation { parent: name, of_parent } => {
                    let at = self.by_name.get(&plain(&name));
                    match at.and_then(|at| self.parents.get(*at)) {
                        Some(parent) => join(&mut variant, parent, &self.products, of_parent),
                        None => {
                            let what = if name.is_empty() {
                                "is empty, but a variation has a parent".to_owned()
                            } else {
                                format!(
                                    "is {}, which is no variable product of the file",
                                    shown(&name)
                                )
                            };
                            variant.product = None;
                            variant.fail("Parent", what, "export the parent with it");
                        }
                    }
                }
            }
            if variant.sku.is_empty() && !variant.source_key.id.is_empty() {
                variant.sku = format!("id:{}", variant.source_key.id);
            }
            variants.push(variant);
        }
        (self.products, variants, passed_over)
    }
}

/// Gives a variation what it has from its parent.
fn join(variant: &mut Variant, parent: &Parent, products: &[Product], of_parent: bool) {
    variant.product = Some(parent.product);
    variant.listed = worse(variant.listed, parent.listed);
    variant.limit = variant.limit.or(parent.limit);
    if let Some(product) = products.get(parent.product) {
        if variant.title.is_empty() || variant.title == product.title {
            variant.title = titled(&product.title, &variant.chosen());
        }
        if variant.sku.is_empty() && !product.handle.is_empty() {
            variant.sku = named(&product.handle, &variant.chosen());
        }
    }
    let has_none = variant.stock == Stock::NotTracked;
    if let Stock::Known(units) = parent.stock
        && (of_parent || has_none)
    {
        variant.stock = Stock::Shared(units);
        variant.stock_line = parent.line;
        variant.backorder |= parent.backorder;
    } else if of_parent {
        variant.stock.clone_from(&parent.stock);
        variant.stock_line = parent.line;
    }
}

/// A parent's name, `id: 7` like `id:7`.
fn plain(parent: &str) -> String {
    match parent.split_once(':') {
        Some((key, number)) if key.trim().eq_ignore_ascii_case("id") => {
            format!("id:{}", number.trim())
        }
        _ => parent.to_owned(),
    }
}

/// A date, at `time` of its day, or a date with a time. The hour has one digit or two.
fn moment(text: &str, time: Time) -> Option<PrimitiveDateTime> {
    let (day, clock) = text.split_once([' ', 'T']).map_or((text, None), |(d, c)| (d, Some(c)));
    let day = Date::parse(day, format_description!("[year]-[month]-[day]")).ok()?;
    let Some(clock) = clock else { return Some(day.with_time(time)) };
    let seconds = format_description!("[hour padding:none]:[minute]:[second]");
    let minutes = format_description!("[hour padding:none]:[minute]");
    let clock = Time::parse(clock, seconds).or_else(|_| Time::parse(clock, minutes)).ok()?;
    Some(day.with_time(clock))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn moments_are_written_in_a_few_ways() {
        for (text, expected) in [
            ("2026-11-27", datetime!(2026-11-27 0:00)),
            ("2026-11-27 0:00:00", datetime!(2026-11-27 0:00)),
            ("2026-11-27 10:30:05", datetime!(2026-11-27 10:30:05)),
            ("2026-11-27T09:30", datetime!(2026-11-27 9:30)),
        ] {
            assert_eq!(moment(text, Time::MIDNIGHT), Some(expected), "{text}");
        }
        let end = Some(datetime!(2026-11-27 23:59:59));
        assert_eq!(moment("2026-11-27", LAST_SECOND), end);
        for text in
            ["", "27.11.2026", "2026-13-01", "2026-11-27 25:00", "2026-11-27 10:00:00+02:00"]
        {
            assert_eq!(moment(text, Time::MIDNIGHT), None, "{text}");
        }
    }
}
