//! A reader for each shop. Each only makes neutral rows; what is sold is decided behind them.

mod bigcommerce;
pub(crate) mod inventory;
pub(crate) mod own;
pub(crate) mod shopify;
mod woocommerce;

use crate::{
    ReadOptions,
    format::{Format, Recognised, recognise},
    problems::{Problem, Problems, shown},
    row::{Catalogue, Listed},
    table::{Record, Sheet},
    text::Source,
};

pub(crate) fn read(content: Source<'_>, options: &ReadOptions<'_>) -> Result<Catalogue, Problems> {
    let json = own::is_json(content.start());
    match options.format {
        Some(Format::Json) if !json => {
            let what = "is not JSON: it begins with neither [ nor {";
            let remedy = "leave out --format, or send an array of items";
            return Err(Problems::one(Problem::file(what, remedy)));
        }
        Some(named) if json && named != Format::Json => {
            return Err(Problems::one(other_format(named, Format::Json)));
        }
        _ if json => return own::read_json(content, options),
        _ => {}
    }
    let sheet = Sheet::open(content, options.encoding, options.separator).map_err(Problems::one)?;
    let format = format(&sheet, options.format).map_err(Problems::one)?;
    for_shopify_only(format, options)?;
    match format {
        Format::Shopify => shopify::read(sheet, options),
        Format::WooCommerce => woocommerce::read(sheet, options),
        Format::BigCommerce => bigcommerce::read(sheet, options),
        Format::Csv | Format::Json => own::read_csv(sheet, options),
    }
}

/// The format of a table: the named one, if nothing speaks against it.
fn format(sheet: &Sheet<'_>, named: Option<Format>) -> Result<Format, Problem> {
    let found = match recognise(sheet.header()) {
        Recognised::As(found) => found,
        Recognised::ShopifyInventory => {
            let what = "is Shopify's inventory, without products and prices";
            let remedy = "import the product export, and pass this file with --stock";
            return Err(Problem::file(what, remedy).at_row(sheet.header_line()));
        }
        Recognised::Unknown => {
            let names: Vec<&str> = sheet.header().iter().take(8).map(String::as_str).collect();
            return match named {
                // Its reader says which column it misses.
                Some(named) => Ok(named),
                None => {
                    let what =
                        format!("has a header of no known format: {}", shown(&names.join(", ")));
                    let remedy = "send a product export of Shopify, WooCommerce or BigCommerce with every column, or a \
                                  CSV with sku,title,price,quantity,per_buyer_limit; if its cells are separated by \
                                  something else, pass --separator";
                    Err(Problem::file(what, remedy).at_row(sheet.header_line()))
                }
            };
        }
    };
    match named {
        Some(named) if named != found => {
            Err(other_format(named, found).at_row(sheet.header_line()))
        }
        Some(_) | None => Ok(found),
    }
}

fn other_format(named: Format, found: Format) -> Problem {
    let what = format!("is {}, not {}", found.title(), named.title());
    Problem::file(what, format!("pass --format {}", found.name()))
}

/// Refuses what only an export of Shopify has.
fn for_shopify_only(format: Format, options: &ReadOptions<'_>) -> Result<(), Problems> {
    let mut problems = Problems::default();
    if format != Format::Shopify {
        let given =
            [("--market", options.market.is_some()), ("--stock", options.inventory.is_some())];
        for (option, _) in given.into_iter().filter(|(_, given)| *given) {
            let what = format!("is for exports of Shopify, but the file is {}", format.title());
            problems.add(Problem::option(option, what, "leave it out"));
        }
    }
    if options.location.is_some() && options.inventory.is_none() {
        let what = "needs Shopify's inventory, where the locations stand";
        problems.add(Problem::option("--location", what, "pass that file with --stock"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Looks for columns, and gathers what is wrong with them.
#[derive(Debug)]
struct Finder<'s, 'a> {
    sheet: &'s Sheet<'a>,
    problems: Problems,
}

impl<'s, 'a> Finder<'s, 'a> {
    fn new(sheet: &'s Sheet<'a>) -> Self {
        Self { sheet, problems: Problems::default() }
    }

    /// The column with one of these names, in any case.
    fn find(&mut self, names: &[&str]) -> Option<usize> {
        match self.sheet.column(names) {
            Ok(column) => column,
            Err(problem) => {
                self.problems.add(problem);
                None
            }
        }
    }

    /// A column without which nothing can be read.
    fn need(&mut self, names: &[&str], called: &str, remedy: &str) -> Option<usize> {
        let before = self.problems.count();
        let column = self.find(names);
        if column.is_none() && self.problems.count() == before {
            let problem = Problem::file("is missing", remedy);
            self.problems.add(problem.at_row(self.sheet.header_line()).in_column(called));
        }
        column
    }

    fn done(self) -> Result<(), Problems> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }
}

/// What a cell for yes or no says; `None` if it is blank or neither.
fn yes(cell: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| cell.eq_ignore_ascii_case(word));
    if is(&["true", "1", "yes", "y"]) {
        Some(true)
    } else if is(&["false", "0", "no", "n"]) {
        Some(false)
    } else {
        None
    }
}

/// The parts of a cell with several values.
fn list(cell: &str, separator: char) -> Vec<String> {
    let parts = cell.split(separator).map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// The most of a product's title and key that its variants repeat, in bytes. A longer one is too
/// long to be sold in any case, and a hundred thousand variants may have it.
const MAX_REPEATED_BYTES: usize = 2_048;

/// What the variants of a product repeat of a text of it.
fn repeated(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_REPEATED_BYTES)).unwrap_or(text)
}

/// A title with the chosen options behind it.
fn titled(product: &str, chosen: &[&str]) -> String {
    let product = repeated(product);
    if chosen.is_empty() {
        product.to_owned()
    } else {
        format!("{product} - {}", chosen.join(" / "))
    }
}

/// What stands for a sku where the shop has none.
pub(crate) fn named(product: &str, chosen: &[&str]) -> String {
    let product = repeated(product);
    let parts: Vec<&str> = std::iter::once(product).chain(chosen.iter().copied()).collect();
    parts.join("/")
}

/// What there is to say of a sku that the file writes in another way.
fn escape_note(record: &Record, column: Option<usize>, sku: &str) -> Option<String> {
    let raw = record.raw(column).trim();
    let escaped = raw.starts_with('\'') || raw.starts_with("=\"");
    (escaped && raw != sku).then(|| format!("{} in the file is the sku {}", shown(raw), shown(sku)))
}

/// The worse of two states.
fn worse(one: Listed, other: Listed) -> Listed {
    one.max(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_is_written_in_many_ways() {
        for cell in ["TRUE", "true", "1", "Y", "yes"] {
            assert_eq!(yes(cell), Some(true), "{cell}");
        }
        for cell in ["FALSE", "0", "n", "No"] {
            assert_eq!(yes(cell), Some(false), "{cell}");
        }
        assert_eq!((yes(""), yes("maybe")), (None, None));
    }
}
