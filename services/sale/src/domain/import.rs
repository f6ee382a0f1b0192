//! A shop's export as the items of a sale: what the catalogue's library decides, and what is wrong,
//! by the fields of the request.

use std::io::{Cursor, Read};

use flashsale_catalogue::{
    About, Catalogue, DecimalMark, Decision, Encoding, Format, Preview, ReadOptions, SelectOptions,
    Separator, Stock, UnitsRule,
};
use flashsale_record::chargeable;
use iso_currency::Currency;

use super::{
    Item, Kind, Problems,
    rules::{per_buyer_limit, quantity},
};

/// An export, how it is read, and what of it is sold.
#[derive(Debug, Default)]
pub struct Import {
    /// The file; empty where it is read from elsewhere.
    pub content: Vec<u8>,
    /// Shopify's inventory CSV, in which the stock stands by location.
    pub stock: Option<Vec<u8>>,
    /// The format; `None` to recognise it.
    pub format: Option<Format>,
    /// What the characters of both files are written in.
    pub encoding: Encoding,
    /// What stands between their cells; `None` to find it.
    pub separator: Option<Separator>,
    /// What separates the decimals of prices.
    pub decimal_mark: DecimalMark,
    /// The market of Shopify whose prices count.
    pub market: Option<String>,
    /// The location of `stock` that counts; `None` for the sum of all.
    pub location: Option<String>,
    /// What is sold. A fixed quantity and the limit per buyer need not be in bounds.
    pub select: SelectOptions,
}

/// What an export comes to.
#[derive(Debug)]
pub struct Imported {
    /// The format that it was read as.
    pub format: Format,
    /// The currency of its prices; `None` if only a preview was asked for, without one.
    pub currency: Option<Currency>,
    /// Its rows, with what is sold of each.
    pub preview: Preview,
    /// Where the rows stood that are sold; none if only a preview was asked for.
    pub sources: Vec<ItemSource>,
}

/// Where an item stood in the export it comes from, so that what was sold of it can be written back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemSource {
    /// What it is sold as.
    pub sku: String,
    /// What the export was read as.
    pub format: Format,
    /// The line of the file; in JSON the number of the item, from 1.
    pub line: i64,
    /// By what the shop knows it: a JSON object of the file's own columns and their cells.
    pub key: String,
    /// The units that the file says there are of it alone; `None` where it says none.
    pub stock: Option<i64>,
    /// The price in the file that the sale's was made from; `None` where it has one of its own.
    pub price_minor: Option<i64>,
    /// What the file says that it costs outside of any sale; `None` where it does not.
    pub regular_minor: Option<i64>,
}

impl Import {
    /// Decides what is sold, in `currency` (`None` if that is a problem already, or not known in a
    /// preview). Takes some 10 ms for each MiB. What it returns is good only if it adds no problem.
    pub fn decide(
        mut self,
        currency: Option<Currency>,
        problems: &mut Problems,
    ) -> Option<Imported> {
        let content = Cursor::new(std::mem::take(&mut self.content));
        self.decide_from(content, currency, problems)
    }

    /// As [`Import::decide`], of a file that is read from elsewhere than `content`.
    pub fn decide_from(
        mut self,
        content: impl Read,
        currency: Option<Currency>,
        problems: &mut Problems,
    ) -> Option<Imported> {
        // What is out of bounds is told by the name of its field, and the file is judged as if it
        // were the least that is possible.
        if let UnitsRule::Fixed(units) = &mut self.select.units {
            let before = problems.count();
            quantity("quantity", *units, problems);
            if problems.count() > before {
                *units = 1;
            }
        }
        let before = problems.count();
        per_buyer_limit("per_buyer_limit", self.select.per_buyer_limit, problems);
        if problems.count() > before {
            self.select.per_buyer_limit = 1;
        }
        // In which currencies nothing is charged, the settings have said.
        let currency = currency.filter(|currency| chargeable(currency.code()).is_some());
        self.select.currency = currency;
        self.select.dry_run |= currency.is_none();

        let read = flashsale_catalogue::read_from(
            content,
            &ReadOptions {
                format: self.format,
                encoding: self.encoding,
                separator: self.separator,
                decimal_mark: self.decimal_mark,
                market: self.market.as_deref(),
                inventory: self.stock.as_deref(),
                location: self.location.as_deref(),
            },
        );
        // The catalogue has all that is needed of it: it is not kept in memory beside that.
        drop(self.stock);
        let decided = read.and_then(|catalogue| {
            let preview = flashsale_catalogue::select(&catalogue, &self.select)?;
            let sources =
                if self.select.dry_run { Vec::new() } else { sources(&catalogue, &preview) };
            Ok(Imported { format: catalogue.format, currency, preview, sources })
        });
        match decided {
            Ok(imported) => Some(imported),
            Err(found) => {
                add(&found, problems);
                None
            }
        }
    }
}

impl Imported {
    /// The items that are sold, if the currency and all units are known.
    pub fn items(&self) -> Vec<Item> {
        let sold = self.preview.rows.iter().filter(|row| row.decision == Decision::Sell);
        sold.filter_map(|row| {
            Some(Item {
                sku: row.sku.clone(),
                title: row.title.clone(),
                price_minor: row.price_minor?,
                regular_minor: row.regular_minor.filter(|minor| *minor > 0),
                quantity: row.units?,
                per_buyer_limit: row.limit.unwrap_or(0),
            })
        })
        .collect()
    }
}

/// Where the rows stood that are sold, but for those of which the file has no key.
fn sources(catalogue: &Catalogue, preview: &Preview) -> Vec<ItemSource> {
    let sold = preview.rows.iter().filter(|row| row.decision == Decision::Sell);
    sold.filter_map(|row| {
        let variant = catalogue.variants.get(row.variant)?;
        Some(ItemSource {
            sku: row.sku.clone(),
            format: catalogue.format,
            line: i64::try_from(row.line).unwrap_or(i64::MAX),
            key: catalogue.key(variant)?,
            stock: match variant.stock {
                Stock::Known(units) => Some(units),
                Stock::NotTracked | Stock::Missing | Stock::Shared(_) | Stock::Unreadable(_) => {
                    None
                }
            },
            price_minor: row.file_minor,
            regular_minor: row.regular_minor.filter(|minor| *minor > 0),
        })
    })
    .collect()
}

/// Adds what the library found.
fn add(found: &flashsale_catalogue::Problems, problems: &mut Problems) {
    let mut kind = Kind::Export;
    for problem in found.listed() {
        let field = match (problem.about, problem.column.as_deref()) {
            (About::Options, Some(option)) => {
                let (field, of) = field(option);
                kind = of;
                field.to_owned()
            }
            (About::Options, None) | (About::File, _) => {
                kind = Kind::Export;
                problem.place()
            }
        };
        problems.add(kind, field, problem.text());
    }
    problems.add_unlisted(kind, found.more());
    problems.set_remaining(found.remaining());
}

/// The field that an option of the command becomes.
fn field(option: &str) -> (&'static str, Kind) {
    match option {
        "--currency" => ("settings.currency", Kind::Argument),
        "--quantity" => ("quantity", Kind::Quantity),
        "--per-buyer-limit" => ("per_buyer_limit", Kind::Quantity),
        "--stock-cap" => ("options.stock_cap", Kind::Quantity),
        "--stock-share" => ("options.stock_share", Kind::Argument),
        "--sku" => ("options.skus", Kind::Argument),
        "--handle" => ("options.handles", Kind::Argument),
        "--tag" => ("options.tags", Kind::Argument),
        "--category" => ("options.categories", Kind::Argument),
        "--price" => ("options.fixed_price", Kind::Argument),
        "--amount-off" => ("options.amount_off", Kind::Argument),
        "--round-to" => ("options.round_to", Kind::Argument),
        "--encoding" => ("options.encoding", Kind::Argument),
        "--market" => ("options.market", Kind::Argument),
        "--stock" => ("options.stock", Kind::Argument),
        "--location" => ("options.location", Kind::Argument),
        _ => ("options", Kind::Argument),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flashsale_catalogue::Selection;

    use super::*;

    const SAMPLE: &[u8] = include_bytes!("../../../../cli/samples/spring-drop.csv");

    fn import(content: &[u8]) -> Import {
        Import { content: content.to_vec(), ..Import::default() }
    }

    fn fields(import: Import, currency: Option<Currency>) -> (Vec<String>, Problems) {
        let mut problems = Problems::new();
        import.decide(currency, &mut problems);
        (problems.listed().iter().map(|problem| problem.field.clone()).collect(), problems)
    }

    #[test]
    fn the_sample_sells_three_hundred_units() {
        let mut problems = Problems::new();
        let mut sample = import(SAMPLE);
        sample.select.per_buyer_limit = 2;
        let items = sample.decide(Some(Currency::EUR), &mut problems).unwrap().items();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(items.len(), 12);
        assert_eq!(items.iter().map(|item| item.quantity).sum::<i64>(), 300);
        assert!(items.iter().any(|item| item.sku.contains('/')), "some SKUs are blank");
        assert!(items.iter().all(|item| item.price_minor > 0 && item.per_buyer_limit == 2));
    }

    #[test]
    fn numbers_out_of_bounds_are_told_once() {
        let mut wrong = import(b"sku,price,quantity\nA,0,3\n");
        wrong.select.units = UnitsRule::Fixed(0);
        wrong.select.per_buyer_limit = -1;
        let (found, problems) = fields(wrong, Some(Currency::EUR));
        assert_eq!(found, ["quantity", "per_buyer_limit", "row 2, column price"]);
        assert_eq!(problems.kind(), Kind::Export);
    }

    #[test]
    fn options_are_told_by_their_fields() {
        let mut wrong = import(b"sku,price,quantity\nA,5,3\n");
        wrong.select.selection = Selection {
            skus: vec!["B".to_owned()],
            tags: vec!["none".to_owned()],
            ..Selection::default()
        };
        let (found, problems) = fields(wrong, Some(Currency::EUR));
        assert_eq!(found, ["options.skus", "options.tags"]);
        assert_eq!(problems.kind(), Kind::Argument);

        let mut cap = import(b"sku,price,quantity\nA,5,3\n");
        let percent = flashsale_catalogue::Percent::from_text("50").unwrap();
        cap.select.units = UnitsRule::Share { percent, cap: Some(0) };
        let (found, problems) = fields(cap, Some(Currency::EUR));
        assert_eq!(
            (found, problems.kind()),
            (vec!["options.stock_cap".to_owned()], Kind::Quantity)
        );

        let market = Import { market: Some("x".to_owned()), ..import(b"sku,price\nA,5\n") };
        assert_eq!(fields(market, None).0, ["options.market"]);
    }

    #[test]
    fn the_rest_of_a_faulty_file_is_counted() {
        let rows: Vec<String> = (0..100).map(|row| format!("S{row},0,1\n")).collect();
        let file = format!("sku,price,quantity\nGOOD,5,1\n{}", rows.concat());
        let (_, problems) = fields(import(file.as_bytes()), Some(Currency::EUR));
        assert_eq!((problems.listed().len(), problems.count()), (50, 100));
        assert_eq!(problems.remaining(), Some(1));
    }

    #[test]
    fn a_missing_currency_is_no_further_problem() {
        let (found, _) = fields(import(b"sku,price,quantity\nA,5,3\nB,x,3\n"), None);
        assert_eq!(found, ["row 3, column price"]);
        let (found, _) = fields(import(b"sku,price,quantity\nA,5,3\n"), Some(Currency::IRR));
        assert!(found.is_empty(), "{found:?}");
    }
}
