//! Shopify's product CSV (<https://help.shopify.com/en/manual/products/import-export/using-csv>) as
//! items.
//!
//! - A product spreads over rows with the same `Handle`; its title and status stand in the first
//!   one, each variant has a row, and rows with neither price nor option nor SKU only add images
//!   and are passed over.
//! - A variant without a SKU is named after its handle and option values,
//!   `handle/option1/option2/option3`, leaving out `Default Title`, which Shopify writes where
//!   there is no choice. The title is the product's, with the option values behind it.
//! - Products whose `Status` is `draft` or `archived` are passed over. A file without that column
//!   sells everything.
//! - Stock comes from `Variant Inventory Qty`; where it is blank, or `Variant Inventory Tracker` is
//!   there and blank, the shop does not know it, and the caller has to. A figure that is there has
//!   to make sense even where the caller's own is used.

use std::collections::HashMap;

use iso_currency::Currency;

use super::csv_text::{self, Row};
use crate::domain::{
    Item, Kind, MAX_ITEMS, MAX_QUANTITY, MAX_SKU_CHARS, MAX_TITLE_CHARS, Problems,
    money::{self, PriceProblem, UnchargedOrder},
    printable,
};

const HANDLE: &str = "Handle";
const TITLE: &str = "Title";
const OPTIONS: [&str; 3] = ["Option1 Value", "Option2 Value", "Option3 Value"];
const SKU: &str = "Variant SKU";
const TRACKER: &str = "Variant Inventory Tracker";
const STOCK: &str = "Variant Inventory Qty";
const PRICE: &str = "Variant Price";
const STATUS: &str = "Status";

/// What Shopify writes as the option of a product without a choice.
const NO_CHOICE: &str = "Default Title";
/// How much of a cell is repeated in a problem.
const MAX_SHOWN_CHARS: usize = 40;
const PASS_QUANTITY: &str = "pass a quantity: QUANTITY=";
const PASS_LIMIT: &str = "pass a limit per buyer (per_buyer_limit)";

/// What the caller decides about the items.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The currency of the prices; `None` when that is a problem already.
    pub currency: Option<Currency>,
    /// Units of each item, in place of the shop's own figures.
    pub quantity: Option<i64>,
    /// Units one buyer may hold and buy of each item; 0 means no limit.
    pub per_buyer_limit: i64,
}

/// Reads the items in `content`. They are good only if it adds no problem.
pub fn read(content: &[u8], rules: &Rules, problems: &mut Problems) -> Vec<Item> {
    let Some(rows) = csv_text::rows(content, problems) else { return Vec::new() };
    let Some((header, rows)) = rows.split_first() else { return Vec::new() };
    let Some(columns) = Columns::find(header, rules, problems) else { return Vec::new() };
    let mut reading = Reading {
        columns,
        rules,
        problems,
        products: HashMap::new(),
        rows_by_sku: HashMap::new(),
        items: Vec::new(),
    };
    for row in rows {
        if reading.items.len() > MAX_ITEMS {
            let what = "has more than 10,000 items; split it into several sales";
            reading.problems.add(Kind::Export, "content", what);
            break;
        }
        reading.row(row);
    }
    let items = reading.items;
    if items.is_empty() && problems.is_empty() {
        let what =
            "has no variant to sell: no rows, or only products whose Status is draft or archived";
        problems.add(Kind::Export, "content", what);
    }
    items
}

/// Where the columns stand.
#[derive(Debug)]
struct Columns {
    count: usize,
    handle: usize,
    price: usize,
    title: Option<usize>,
    options: [Option<usize>; 3],
    sku: Option<usize>,
    tracker: Option<usize>,
    stock: Option<usize>,
    status: Option<usize>,
}

impl Columns {
    fn find(header: &Row, rules: &Rules, problems: &mut Problems) -> Option<Self> {
        if header.len() == 1
            && let Some(separator) = header.cell(0).chars().find(|c| matches!(c, ';' | '\t'))
        {
            let what = format!("separates its cells by {separator:?}; save the file with commas");
            problems.add(Kind::Export, place(header.line, None), what);
            return None;
        }
        let find = |name: &str, problems: &mut Problems| {
            let mut found = (0..header.len()).filter(|index| header.cell(*index) == name);
            let first = found.next();
            if found.next().is_some() {
                let what = "is there twice; keep one of the columns";
                problems.add(Kind::Export, place(header.line, Some(name)), what);
            }
            first
        };
        let missing = |name: &str, what: &str, problems: &mut Problems| {
            problems.add(Kind::Export, place(header.line, Some(name)), what);
        };
        let before = problems.count();
        let handle = find(HANDLE, problems);
        let price = find(PRICE, problems);
        for (name, column) in [(HANDLE, handle), (PRICE, price)] {
            if column.is_none() {
                let what = "is missing; export the products from Shopify's admin as a CSV file, with every column";
                missing(name, what, problems);
            }
        }
        let stock = find(STOCK, problems);
        if stock.is_none() && rules.quantity.is_none() {
            let what = format!("is missing, so that the stock is unknown; {PASS_QUANTITY}");
            missing(STOCK, &what, problems);
        }
        let columns = Self {
            count: header.len(),
            handle: handle.unwrap_or_default(),
            price: price.unwrap_or_default(),
            title: find(TITLE, problems),
            options: OPTIONS.map(|name| find(name, problems)),
            sku: find(SKU, problems),
            tracker: find(TRACKER, problems),
            stock,
            status: find(STATUS, problems),
        };
        (problems.count() == before).then_some(columns)
    }
}

/// What the first row of a product says about all of them.
#[derive(Debug)]
struct Product {
    title: String,
    for_sale: bool,
}

#[derive(Debug)]
struct Reading<'a> {
    columns: Columns,
    rules: &'a Rules,
    problems: &'a mut Problems,
    products: HashMap<String, Product>,
    rows_by_sku: HashMap<String, usize>,
    items: Vec<Item>,
}

impl Reading<'_> {
    fn row(&mut self, row: &Row) {
        if row.is_blank() {
            return;
        }
        let line = row.line;
        if row.len() != self.columns.count {
            let (has, header) = (row.len(), self.columns.count);
            let what = format!(
                "has {has} cells, but the header has {header}; check its commas and quotes"
            );
            self.problems.add(Kind::Export, place(line, None), what);
            return;
        }
        let cell = |column: Option<usize>| column.map_or("", |index| row.cell(index));
        let handle = row.cell(self.columns.handle);
        if handle.is_empty() {
            self.wrong(
                line,
                HANDLE,
                "is empty; each row names the product it belongs to".to_owned(),
            );
            return;
        }
        let options = self.columns.options.map(cell);
        let own_sku = cell(self.columns.sku);
        let price = row.cell(self.columns.price);
        // A further row with neither price, SKU nor option only adds an image.
        let is_variant =
            !price.is_empty() || !own_sku.is_empty() || options.iter().any(|o| !o.is_empty());

        if let Some(product) = self.products.get(handle) {
            if !product.for_sale || !is_variant {
                return;
            }
        } else {
            let title = Some(cell(self.columns.title)).filter(|title| !title.is_empty());
            let status = cell(self.columns.status).to_ascii_lowercase();
            let for_sale = !matches!(status.as_str(), "draft" | "archived");
            let title = title.unwrap_or(handle).to_owned();
            self.products.insert(handle.to_owned(), Product { title, for_sale });
            if !for_sale {
                return;
            }
        }

        let chosen: Vec<&str> =
            options.into_iter().filter(|o| !o.is_empty() && *o != NO_CHOICE).collect();
        let item = Item {
            sku: self.sku(line, handle, own_sku, &chosen),
            title: self.title(line, handle, &chosen),
            price_minor: self.price(line, price),
            quantity: self.quantity(line, cell(self.columns.stock), cell(self.columns.tracker)),
            per_buyer_limit: self.rules.per_buyer_limit,
        };
        self.check_order(line, &item);
        self.items.push(item);
    }

    /// Whether the largest order of an item could be charged, if its price and stock are good.
    fn check_order(&mut self, line: usize, item: &Item) {
        let Item { price_minor, quantity, per_buyer_limit, .. } = *item;
        let Some(currency) = self.rules.currency.filter(|_| price_minor > 0) else { return };
        let order = money::uncharged_order(price_minor, quantity, per_buyer_limit, currency);
        if let Some(UnchargedOrder { what, most_units }) = order {
            let price = money::amount(price_minor, currency);
            let what = format!("is {price}: {what}; {PASS_LIMIT} of 1 to {most_units}");
            self.wrong(line, PRICE, what);
        }
    }

    fn wrong(&mut self, line: usize, column: &str, what: String) {
        self.problems.add(Kind::Export, place(line, Some(column)), what);
    }

    fn sku(&mut self, line: usize, handle: &str, own: &str, chosen: &[&str]) -> String {
        let (sku, column) = if own.is_empty() {
            let parts: Vec<&str> = std::iter::once(handle).chain(chosen.iter().copied()).collect();
            (parts.join("/"), HANDLE)
        } else {
            (own.to_owned(), SKU)
        };
        if let Some(what) = printable(&sku, 1, MAX_SKU_CHARS) {
            let remedy =
                if own.is_empty() { "; give the variant a short SKU of its own" } else { "" };
            self.wrong(
                line,
                column,
                format!("names the item {}, which {what}{remedy}", shown(&sku)),
            );
        } else if let Some(first) = self.rows_by_sku.get(&sku) {
            let what = format!(
                "names the item {} like row {first}; give each variant a SKU of its own",
                shown(&sku)
            );
            self.wrong(line, column, what);
        } else {
            self.rows_by_sku.insert(sku.clone(), line);
        }
        sku
    }

    fn title(&mut self, line: usize, handle: &str, chosen: &[&str]) -> String {
        let mut title = self.products.get(handle).map_or(handle, |p| &p.title).to_owned();
        if !chosen.is_empty() {
            title = format!("{title} - {}", chosen.join(" / "));
        }
        if let Some(what) = printable(&title, 1, MAX_TITLE_CHARS) {
            self.wrong(line, TITLE, format!("with the options behind it {what}"));
        }
        title
    }

    fn price(&mut self, line: usize, text: &str) -> i64 {
        if text.is_empty() {
            self.wrong(line, PRICE, "is empty; give the variant its price".to_owned());
            return 0;
        }
        let code = self.rules.currency.map_or("", |currency| currency.code());
        let what = match money::price(text, self.rules.currency) {
            Ok(0) => "is 0; only what has a price can be sold".to_owned(),
            Ok(minor) => {
                let currency = self.rules.currency;
                match currency.and_then(|currency| money::uncharged_price(minor, currency)) {
                    None => return minor,
                    Some(why) => format!("is {}; {why}", shown(text)),
                }
            }
            Err(PriceProblem::TooLarge) => {
                format!("is {}, more than any price may be: lower it", shown(text))
            }
            Err(PriceProblem::NotANumber) => format!(
                "is {}; write a plain decimal such as 19.90, without currency or separators",
                shown(text)
            ),
            Err(PriceProblem::Negative) => format!("is {}; a price is above 0", shown(text)),
            Err(PriceProblem::TooManyDecimals { has, allowed }) => format!(
                "is {} with {has} decimals, but {code} has {allowed}; correct the price or the currency",
                shown(text)
            ),
        };
        self.wrong(line, PRICE, what);
        0
    }

    fn quantity(&mut self, line: usize, text: &str, tracker: &str) -> i64 {
        let own = if text.is_empty() { None } else { Some(text.parse::<i128>()) };
        match own {
            Some(Err(_)) => {
                self.wrong(line, STOCK, format!("is {}; write a whole number", shown(text)));
                return 0;
            }
            Some(Ok(units)) if units < 0 => {
                self.wrong(line, STOCK, format!("is {units}; stock cannot be below 0"));
                return 0;
            }
            Some(Ok(units)) if units > i128::from(MAX_QUANTITY) => {
                self.wrong(
                    line,
                    STOCK,
                    format!("is {}; 10,000,000 units are allowed", shown(text)),
                );
                return 0;
            }
            Some(Ok(_)) | None => {}
        }
        if let Some(quantity) = self.rules.quantity {
            return quantity;
        }
        if self.columns.tracker.is_some() && tracker.is_empty() {
            let what = format!("is blank, so that the stock is not tracked; {PASS_QUANTITY}");
            self.wrong(line, TRACKER, what);
            return 0;
        }
        match own.and_then(Result::ok).and_then(|units| i64::try_from(units).ok()) {
            Some(units) if units > 0 => units,
            Some(_) => {
                let what = format!("is 0; remove the row, correct it, or {PASS_QUANTITY}");
                self.wrong(line, STOCK, what);
                0
            }
            None => {
                self.wrong(line, STOCK, format!("is blank; {PASS_QUANTITY}"));
                0
            }
        }
    }
}

fn place(line: usize, column: Option<&str>) -> String {
    match column {
        Some(column) => format!("row {line}, column {column}"),
        None => format!("row {line}"),
    }
}

/// A cell in a problem: quoted, and not the whole of a long one.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
