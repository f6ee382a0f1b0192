//! What every shop's export comes down to: products, and the variants of them that can be bought.

use std::borrow::Cow;

use time::PrimitiveDateTime;

use crate::{
    format::Format,
    key::{Cells, Keys},
    money::DecimalMark,
};

/// What a file says. Whether and how it is sold is decided by [`crate::select`].
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// The format that it was read as.
    pub format: Format,
    /// The products that the variants belong to.
    pub products: Vec<Product>,
    /// One for each row that is, or in vain tries to be, something that can be bought; in the order
    /// of the file.
    pub variants: Vec<Variant>,
    /// Rows without a variant of their own: images, rules, and products above their variants.
    pub passed_over: usize,
    /// What was changed while reading, and what may be missing.
    pub warnings: Vec<String>,
    /// What separates the decimals of its prices.
    pub decimal_mark: DecimalMark,
    /// The columns as the file names them.
    pub columns: Columns,
    /// The columns by which the shop knows its variants.
    pub(crate) keys: Keys,
}

/// The names of the columns that problems point to.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// The seller's key.
    pub sku: String,
    /// The title.
    pub title: String,
    /// The price, or the regular one.
    pub price: String,
    /// The price of the shop's own sale.
    pub sale_price: String,
    /// The stock.
    pub stock: String,
}

/// A product: what its variants have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Product {
    /// What the shop calls it in its addresses, or the key of it that comes nearest.
    pub handle: String,
    /// Its title, without options.
    pub title: String,
    /// Its tags.
    pub tags: Words,
    /// Its categories and types; the levels of one are separated by ` > `.
    pub categories: Words,
    /// What its rows have together in the columns by which the shop knows its variants.
    pub(crate) key: Cells,
}

/// Several texts in the room of one: a file may hold millions of tags of one letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(String);

impl Words {
    /// The texts; one may be there twice.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split('\n').map(str::trim).filter(|word| !word.is_empty())
    }

    /// Adds a text. Directly after itself it is not added again.
    pub(crate) fn add(&mut self, word: &str) {
        let word = word.trim();
        if !word.is_empty() && self.0.rsplit('\n').next() != Some(word) {
            if !self.0.is_empty() {
                self.0.push('\n');
            }
            self.0.push_str(word);
        }
    }

    /// Adds the texts of a cell. A separator behind a backslash is part of the text.
    pub(crate) fn add_list(&mut self, cell: &str, separator: char) {
        if cell.contains('\\') {
            let mut rest = String::new();
            for part in cell.split(separator) {
                match part.strip_suffix('\\') {
                    Some(part) => {
                        rest.push_str(part);
                        rest.push(separator);
                    }
                    None => {
                        rest.push_str(part);
                        self.add(&std::mem::take(&mut rest));
                    }
                }
            }
            self.add(&rest);
        } else {
            cell.split(separator).for_each(|part| self.add(part));
        }
    }
}

/// What a variant is called where it came from, as the file writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceKey {
    /// The shop's own number of it.
    pub id: String,
    /// The sku, byte for byte; empty where the shop has none.
    pub sku: String,
    /// The names and values of its options.
    pub options: Vec<(String, String)>,
    /// What its row has in the columns by which the shop knows it.
    pub(crate) cells: Cells,
}

/// Something that can be bought.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The line of the file that its row begins on; in JSON the number of the item, from 1.
    pub line: usize,
    /// The line of the row that keeps its stock: that of its product where all of its variants
    /// share it, else its own.
    pub stock_line: usize,
    /// What it is called in the shop.
    pub source_key: SourceKey,
    /// The product it belongs to, by its place in [`Catalogue::products`]; `None` where it is
    /// unknown.
    pub product: Option<usize>,
    /// What it is sold as. Where the shop has no sku, a name of its product and options.
    pub sku: String,
    /// The product's title with the options behind it.
    pub title: String,
    /// The price outside of any sale, as a decimal; empty where there is none.
    pub regular_price: String,
    /// The price of the shop's own sale; empty where there is none.
    pub sale_price: String,
    /// When the shop's own sale begins, by the shop's clock.
    pub sale_from: Option<PrimitiveDateTime>,
    /// The last second of the shop's own sale, by the shop's clock.
    pub sale_until: Option<PrimitiveDateTime>,
    /// How many there are.
    pub stock: Stock,
    /// Whether the shop sells more than there are. Ours does not.
    pub backorder: bool,
    /// Units that one buyer may have, where the file says so.
    pub limit: Option<i64>,
    /// Whether the shop shows it.
    pub listed: Listed,
    /// What it is.
    pub kind: Kind,
    /// What is worth knowing of the row.
    pub notes: Vec<String>,
    /// Why the row cannot be used at all.
    pub fault: Option<Box<Fault>>,
}

impl Variant {
    /// A variant of which nothing is known yet.
    pub(crate) fn new(line: usize, product: Option<usize>) -> Self {
        Self {
            line,
            stock_line: line,
            source_key: SourceKey::default(),
            product,
            sku: String::new(),
            title: String::new(),
            regular_price: String::new(),
            sale_price: String::new(),
            sale_from: None,
            sale_until: None,
            stock: Stock::Missing,
            backorder: false,
            limit: None,
            listed: Listed::Published,
            kind: Kind::Physical,
            notes: Vec::new(),
            fault: None,
        }
    }

    /// The values of its options.
    pub(crate) fn chosen(&self) -> Vec<&str> {
        self.source_key.options.iter().map(|(_, value)| value.as_str()).collect()
    }

    /// Records what is wrong with the row, unless something is already.
    pub(crate) fn fail(
        &mut self,
        column: &str,
        what: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) {
        let (column, what) = (Some(column.to_owned()).filter(|name| !name.is_empty()), what.into());
        let fault = || Box::new(Fault { column, what, remedy: remedy.into() });
        self.fault.get_or_insert_with(fault);
    }
}

/// How many units there are of a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stock {
    /// So many; below 0 where the shop sold more than it had.
    Known(i64),
    /// The shop does not count them.
    NotTracked,
    /// The file does not say.
    Missing,
    /// So many for all variants of the product together.
    Shared(i64),
    /// What stands there is no whole number.
    Unreadable(String),
}

impl Stock {
    /// What a cell says: a whole number, or one with zeros behind the point.
    pub(crate) fn parse(text: &str) -> Self {
        if text.is_empty() {
            return Self::Missing;
        }
        let whole = text.split_once('.').map_or(text, |(whole, decimals)| {
            if decimals.bytes().all(|byte| byte == b'0') { whole } else { text }
        });
        match whole.parse() {
            Ok(units) => Self::Known(units),
            Err(_) => Self::Unreadable(text.to_owned()),
        }
    }
}

/// Whether a shop shows a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listed {
    /// It is for sale.
    Published,
    /// It can be bought, but is not offered in this market.
    OutsideMarket,
    /// It is for sale to those who have its address.
    Unlisted,
    /// It is shown, but cannot be bought.
    NotForSale,
    /// It is not shown.
    Unpublished,
    /// It is not finished.
    Draft,
    /// It is not sold any more.
    Archived,
}

/// What a row describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A thing.
    Physical,
    /// Something without weight: a download, a service.
    Digital,
    /// Money to be spent later, which is not sold below its value.
    GiftCard,
    /// Several products shown together, each sold by itself.
    Grouped,
    /// A product that another shop sells.
    External,
    /// A product with variants of which the file has none.
    VariableParent,
    /// A kind that an extension of the shop has brought.
    Other,
}

/// Why a row cannot be sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The column, as the file writes it.
    pub column: Option<String>,
    /// What is wrong there.
    pub what: String,
    /// What would be right.
    pub remedy: Cow<'static, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_in_one_text() {
        let mut words = Words::default();
        words.add_list(" drop, wool ,,wool", ',');
        words.add("Home, garden");
        words.add_list("Cups\\, mugs,Gear", ',');
        words.add("Gear");
        let found: Vec<&str> = words.iter().collect();
        assert_eq!(found, ["drop", "wool", "Home, garden", "Cups, mugs", "Gear"]);
    }

    #[test]
    fn stock_is_a_whole_number() {
        for (text, stock) in [
            ("5", Stock::Known(5)),
            ("0.0", Stock::Known(0)),
            ("12.", Stock::Known(12)),
            ("-3", Stock::Known(-3)),
            ("-3.00", Stock::Known(-3)),
            ("", Stock::Missing),
            ("1.5", Stock::Unreadable("1.5".to_owned())),
            ("many", Stock::Unreadable("many".to_owned())),
            (".0", Stock::Unreadable(".0".to_owned())),
        ] {
            assert_eq!(Stock::parse(text), stock, "{text:?}");
        }
    }
}
