//! Shopify's product CSV (<https://help.shopify.com/en/manual/products/import-export/using-csv>),
//! under the names its columns had and those they have now.
//!
//! - A product spreads over rows with the same handle, which may stand apart and in any order: its
//!   title is in one of them, and what any of them says of its state counts. Each variant has a
//!   row; rows with neither price nor option nor SKU only add images.
//! - A variant without a SKU is named after its handle and option values,
//!   `handle/option1/option2/option3`, leaving out `Default Title`, which Shopify writes where
//!   there is no choice.
//! - `Price` is what the shop asks now. Where a higher price to compare it with stands beside it,
//!   that one is the regular price and this one a sale's.

use std::{cmp::Ordering, collections::HashMap};

use super::{Finder, escape_note, inventory, named, titled, worse, yes};
use crate::{
    ReadOptions,
    format::Format,
    key::{Cells as KeyCells, KeyColumns, Keys},
    money,
    problems::{Problem, Problems, shown},
    row::{Catalogue, Columns, Kind, Listed, Product, Stock, Variant},
    table::{Record, Sheet},
};

/// What Shopify writes as the option of a product without a choice.
pub(crate) const NO_CHOICE: &str = "Default Title";
const EVERY_COLUMN: &str =
    "export the products from Shopify's admin as a CSV file, with every column";

/// Where the columns stand.
#[derive(Debug, Default)]
struct Cells {
    handle: Option<usize>,
    title: Option<usize>,
    names: [Option<usize>; 3],
    options: [Option<usize>; 3],
    sku: Option<usize>,
    tracker: Option<usize>,
    stock: Option<usize>,
    policy: Option<usize>,
    price: Option<usize>,
    compare: Option<usize>,
    market_price: Option<usize>,
    market_compare: Option<usize>,
    included: Option<usize>,
    published: Option<usize>,
    status: Option<usize>,
    gift_card: Option<usize>,
    tags: Option<usize>,
    categories: [Option<usize>; 3],
}

/// What all rows of a handle say together.
#[derive(Debug)]
struct State {
    product: Product,
    option_names: [String; 3],
    listed: Listed,
    gift_card: bool,
    /// A row that cannot be read might say that the product is not for sale.
    broken_row: Option<usize>,
    /// A status that is none.
    unknown: Option<(usize, String)>,
    /// What stands in [`Reading::key_of_product`].
    key: Vec<String>,
}

pub(super) fn read(mut sheet: Sheet<'_>, options: &ReadOptions<'_>) -> Result<Catalogue, Problems> {
    let cells = Cells::find(&sheet, options)?;
    let mut inventory = match options.inventory {
        Some(content) => Some(inventory::read(content, options)?),
        None => None,
    };
    sheet.keep(&cells.all());
    let columns = Columns {
        sku: sheet.name(cells.sku, "Variant SKU"),
        title: sheet.name(cells.title, "Title"),
        price: sheet.name(cells.market_price.or(cells.price), "Variant Price"),
        sale_price: sheet.name(cells.market_price.or(cells.price), "Variant Price"),
        stock: sheet.name(cells.stock, "Variant Inventory Qty"),
    };
    let mut reading = Reading {
        status_name: sheet.name(cells.status, "Status"),
        handle_name: sheet.name(cells.handle, "Handle"),
        key: KeyColumns::find(&sheet, &cells.of_variant()),
        key_of_product: KeyColumns::find(&sheet, &cells.of_product()),
        cells,
        options,
        states: Vec::new(),
        by_handle: HashMap::new(),
        variants: Vec::new(),
        passed_over: 0,
    };
    while sheet.next().map_err(Problems::one)?.is_some() {
        let record = sheet.record();
        reading.row(record, sheet.ragged(record));
    }
    let mut warnings = sheet.warnings();
    if reading.cells.status.is_none() && reading.cells.published.is_none() {
        warnings.push(
            "the file has neither a column Status nor Published: drafts cannot be told apart"
                .to_owned(),
        );
    }
    let Reading { states, mut variants, passed_over, status_name, key, key_of_product, .. } =
        reading;
    let mut keys =
        Keys { own: key.into_names(), of_product: key_of_product.into_names(), location: None };
    for variant in &mut variants {
        if let Some(state) = variant.product.and_then(|at| states.get(at)) {
            finish(variant, state, &status_name);
            if let Some(inventory) = &mut inventory {
                inventory.apply(variant, &state.product.handle);
            }
        }
    }
    if let Some(inventory) = inventory {
        keys.location.clone_from(&inventory.location);
        warnings.extend(inventory.warnings());
    }
    Ok(Catalogue {
        format: Format::Shopify,
        products: states.into_iter().map(State::into_product).collect(),
        variants,
        passed_over,
        warnings,
        decimal_mark: options.decimal_mark,
        columns,
        keys,
    })
}

impl Cells {
    fn find(sheet: &Sheet<'_>, options: &ReadOptions<'_>) -> Result<Self, Problems> {
        let mut finder = Finder::new(sheet);
        let mut cells = Self {
            handle: finder.need(&["Handle", "URL handle"], "Handle (or URL handle)", EVERY_COLUMN),
            title: finder.find(&["Title"]),
            names: [
                finder.find(&["Option1 Name"]),
                finder.find(&["Option2 Name"]),
                finder.find(&["Option3 Name"]),
            ],
            options: [
                finder.find(&["Option1 Value"]),
                finder.find(&["Option2 Value"]),
                finder.find(&["Option3 Value"]),
            ],
            sku: finder.find(&["Variant SKU", "SKU"]),
            tracker: finder.find(&["Variant Inventory Tracker", "Inventory tracker"]),
            stock: finder.find(&["Variant Inventory Qty", "Inventory quantity"]),
            policy: finder
                .find(&["Variant Inventory Policy", "Continue selling when out of stock"]),
            price: finder.need(
                &["Variant Price", "Price"],
                "Variant Price (or Price)",
                EVERY_COLUMN,
            ),
            compare: finder.find(&[
                "Variant Compare At Price",
                "Compare-at price",
                "Compare at price",
            ]),
            published: finder.find(&["Published", "Published on online store"]),
            status: finder.find(&["Status"]),
            gift_card: finder.find(&["Gift Card"]),
            tags: finder.find(&["Tags"]),
            categories: [
                finder.find(&["Product Category", "Standard Product Type"]),
                finder.find(&["Type"]),
                finder.find(&["Custom Product Type"]),
            ],
            ..Self::default()
        };
        if let Some(market) = options.market {
            cells.market_price = finder.find(&[&format!("Price / {market}")]);
            cells.market_compare = finder.find(&[
                &format!("Compare At Price / {market}"),
                &format!("Compare-at price / {market}"),
            ]);
            cells.included = finder.find(&[&format!("Included / {market}")]);
            if cells.market_price.is_none() {
                let known = sheet.header().iter().filter_map(|name| {
                    name.split_at_checked(8)
                        .filter(|(start, _)| start.eq_ignore_ascii_case("price / "))
                        .map(|(_, market)| market)
                });
                let known: Vec<&str> = known.collect();
                let what = format!("is {}, but the file has no price for it", shown(market));
                let remedy = if known.is_empty() {
                    "leave it out: the file has the shop's own prices only".to_owned()
                } else {
                    format!("pass one of {}", shown(&known.join(", ")))
                };
                finder.problems.add(Problem::option("--market", what, remedy));
            }
        }
        finder.done()?;
        Ok(cells)
    }

    /// By which the shop knows a variant of a product.
    fn of_variant(&self) -> Vec<Option<usize>> {
        [self.handle].into_iter().chain(self.options).chain([self.sku]).collect()
    }

    /// What its importer asks for besides, of which one row of the product says it.
    fn of_product(&self) -> Vec<Option<usize>> {
        [self.title].into_iter().chain(self.names).collect()
    }

    fn all(&self) -> Vec<Option<usize>> {
        let mut all = vec![
            self.handle,
            self.title,
            self.sku,
            self.tracker,
            self.stock,
            self.policy,
            self.price,
            self.compare,
            self.market_price,
            self.market_compare,
            self.included,
            self.published,
            self.status,
            self.gift_card,
            self.tags,
        ];
        all.extend(self.names.iter().chain(&self.options).chain(&self.categories));
        all
    }
}

#[derive(Debug)]
struct Reading<'a> {
    cells: Cells,
    options: &'a ReadOptions<'a>,
    status_name: String,
    handle_name: String,
    /// The columns of the key that a variant's own row has, and those that its product has.
    key: KeyColumns,
    key_of_product: KeyColumns,
    states: Vec<State>,
    by_handle: HashMap<String, usize>,
    variants: Vec<Variant>,
    passed_over: usize,
}

impl Reading<'_> {
    fn row(&mut self, record: &Record, ragged: Option<(String, String)>) {
        let cell = |column: Option<usize>| record.cell(column);
        let handle = cell(self.cells.handle);
        if let Some((what, remedy)) = ragged {
            let at = self.state(handle);
            if let Some(state) = self.states.get_mut(at) {
                state.broken_row.get_or_insert(record.line);
            }
            let mut variant = Variant::new(record.line, Some(at));
            variant.fail("", what, remedy);
            self.variants.push(variant);
            return;
        }
        if handle.is_empty() {
            let at = self.state("");
            let mut variant = Variant::new(record.line, Some(at));
            let remedy = "each row names the product it belongs to";
            variant.fail(&self.handle_name, "is empty", remedy);
            self.variants.push(variant);
            return;
        }
        let at = self.state(handle);
        if let Some(state) = self.states.get_mut(at) {
            state.learn(record, &self.cells);
            self.key_of_product.learn(record, &mut state.key);
        }
        let price = cell(self.cells.price);
        let is_variant = !price.is_empty()
            || !cell(self.cells.sku).is_empty()
            || self.cells.options.iter().any(|column| !cell(*column).is_empty());
        if is_variant {
            let variant = self.variant(record, at);
            self.variants.push(variant);
        } else {
            self.passed_over += 1;
        }
    }

    /// The place of the product with this handle.
    fn state(&mut self, handle: &str) -> usize {
        if let Some(at) = self.by_handle.get(handle) {
            return *at;
        }
        let at = self.states.len();
        self.by_handle.insert(handle.to_owned(), at);
        self.states.push(State {
            product: Product { handle: handle.to_owned(), ..Product::default() },
            option_names: Default::default(),
            listed: Listed::Published,
            gift_card: false,
            broken_row: None,
            unknown: None,
            key: Vec::new(),
        });
        at
    }

    fn variant(&self, record: &Record, product: usize) -> Variant {
        let cells = &self.cells;
        let cell = |column: Option<usize>| record.cell(column);
        let mut variant = Variant::new(record.line, Some(product));
        variant.source_key.sku = record.raw(cells.sku).to_owned();
        variant.source_key.cells = self.key.cells(record);
        for (index, column) in cells.options.iter().enumerate() {
            let value = cell(*column);
            if !value.is_empty() && value != NO_CHOICE {
                // Its name may stand in another row.
                variant.source_key.options.push((index.to_string(), value.to_owned()));
            }
        }
        variant.sku = record.key(cells.sku).to_owned();
        variant.notes.extend(escape_note(record, cells.sku, &variant.sku));

        let own = (cell(cells.price), cell(cells.compare));
        let market = (cell(cells.market_price), cell(cells.market_compare));
        let (price, compare) = if market.0.is_empty() { own } else { market };
        variant.regular_price = price.to_owned();
        match money::compare(compare, price, self.options.decimal_mark) {
            Some(Ordering::Greater) => {
                variant.regular_price = compare.to_owned();
                variant.sale_price = price.to_owned();
            }
            Some(Ordering::Less | Ordering::Equal) => {}
            None if compare.is_empty() || price.is_empty() => {}
            None => {
                let what = format!("the price to compare with, {}, is not used", shown(compare));
                variant.notes.push(what);
            }
        }
        let untracked = cells.tracker.is_some() && cell(cells.tracker).is_empty();
        variant.stock = if untracked { Stock::NotTracked } else { Stock::parse(cell(cells.stock)) };
        let policy = cell(cells.policy);
        variant.backorder = policy.eq_ignore_ascii_case("continue") || yes(policy) == Some(true);
        variant
    }
}

impl State {
    fn into_product(mut self) -> Product {
        self.product.key = KeyCells::of(self.key.iter().map(String::as_str));
        self.product
    }

    /// Takes what a row says of its product.
    fn learn(&mut self, record: &Record, cells: &Cells) {
        let cell = |column: Option<usize>| record.cell(column);
        if self.product.title.is_empty() {
            self.product.title = cell(cells.title).to_owned();
        }
        for (name, column) in self.option_names.iter_mut().zip(cells.names) {
            if name.is_empty() {
                *name = cell(column).to_owned();
            }
        }
        self.product.tags.add_list(cell(cells.tags), ',');
        for column in cells.categories {
            self.product.categories.add(cell(column));
        }
        let status = cell(cells.status);
        let listed = match status.to_ascii_lowercase().as_str() {
            "" | "active" => Listed::Published,
            "draft" => Listed::Draft,
            "archived" => Listed::Archived,
            "unlisted" => Listed::Unlisted,
            _ => {
                self.unknown.get_or_insert((record.line, status.to_owned()));
                Listed::Published
            }
        };
        self.listed = worse(self.listed, listed);
        if yes(cell(cells.published)) == Some(false) {
            self.listed = worse(self.listed, Listed::Unpublished);
        }
        if yes(cell(cells.included)) == Some(false) {
            self.listed = worse(self.listed, Listed::OutsideMarket);
        }
        self.gift_card |= yes(cell(cells.gift_card)) == Some(true);
    }
}

/// Gives a variant what only all rows of its product say.
fn finish(variant: &mut Variant, state: &State, status_name: &str) {
    for (name, _) in &mut variant.source_key.options {
        let found = name.parse::<usize>().ok().and_then(|at| state.option_names.get(at));
        *name = found.cloned().unwrap_or_default();
    }
    let handle = &state.product.handle;
    let chosen = variant.chosen();
    let title = Some(&state.product.title).filter(|title| !title.is_empty()).unwrap_or(handle);
    let title = titled(title, &chosen);
    if variant.sku.is_empty() && !handle.is_empty() {
        variant.sku = named(handle, &chosen);
    }
    variant.title = title;
    variant.listed = worse(variant.listed, state.listed);
    if state.gift_card {
        variant.kind = Kind::GiftCard;
    }
    if let Some((row, status)) = &state.unknown {
        let what = format!("is {} in row {row}", shown(status));
        variant.fail(status_name, what, "it is one of active, draft, archived and unlisted");
    }
    if let Some(row) = state.broken_row.filter(|row| *row != variant.line) {
        let what = format!("belongs to a product of which row {row} cannot be read");
        variant.fail("", what, "correct that row: it might say that the product is a draft");
    }
}

/// Rows of one product by their options, which is how Shopify's files refer to each other.
pub(crate) fn reference(handle: &str, options: &[&str]) -> String {
    let mut key = handle.to_owned();
    for option in options.iter().filter(|option| !option.is_empty() && **option != NO_CHOICE) {
        key.push('\u{1f}');
        key.push_str(option);
    }
    key
}
