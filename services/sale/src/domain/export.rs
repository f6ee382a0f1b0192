//! The results of a sale as the rows of a file, and what is wrong with a baseline, by the fields of
//! the request.

use std::collections::HashMap;

use flashsale_catalogue::{
    About, Baseline, Encoding, Head, ItemRow, LineRow, ResultsKind, Separator, Shop, StockFile,
    Taken, decimal, less_taken,
};
use iso_currency::Currency;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{Kind, Problems, Sale, UnitsOut};

/// What is written of a sale.
#[derive(Debug)]
pub enum Export {
    /// A shop's stock less what was sold.
    Stock(StockExport),
    /// A list of ours.
    List(ResultsKind),
}

/// A shop's stock less what was sold.
#[derive(Debug)]
pub struct StockExport {
    pub shop: Shop,
    /// A fresh export of the shop.
    pub baseline: Vec<u8>,
    /// What its characters are written in.
    pub encoding: Encoding,
    /// What stands between its cells; `None` to find it.
    pub separator: Option<Separator>,
    /// The location of Shopify whose stock changes.
    pub location: Option<String>,
    /// Whether it is written before the sale is final.
    pub not_final: bool,
}

/// What became of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemResult {
    pub sku: String,
    /// What the buyer read.
    pub title: String,
    /// The price of one unit in the sale when the record is read.
    pub price_minor: i64,
    /// Units one buyer may have then; 0 means no limit.
    pub per_buyer_limit: i64,
    /// Units the sale may sell.
    pub allotted: i64,
    /// Units in confirmed orders.
    pub sold: i64,
    /// Units in refunded orders.
    pub refunded: i64,
    /// Units in recorded orders that have no end yet.
    pub open: i64,
    /// What the confirmed orders pay for these units.
    pub gross_minor: i64,
}

/// One line of an order. An order whose message could not be read has none: then there is no sku.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineResult {
    pub order_id: Uuid,
    /// The shop's id of the buyer.
    pub buyer_id: String,
    pub state: String,
    /// ISO 4217 code of its price.
    pub currency: String,
    pub end_reason: Option<String>,
    pub placed_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
    pub sku: Option<String>,
    pub quantity: Option<i64>,
    pub unit_price_minor: Option<i64>,
}

impl Export {
    /// What a file of it is called, without the sale's id, its extension and its type.
    pub fn file(&self) -> (&'static str, &'static str, &'static str) {
        const CSV: &str = "text/csv; charset=utf-8";
        match self {
            Self::Stock(stock) => match stock.shop {
                Shop::Shopify => ("shopify-inventory", "csv", CSV),
                Shop::WooCommerce => ("woocommerce-stock", "csv", CSV),
                Shop::BigCommerce => ("bigcommerce-stock", "csv", CSV),
            },
            Self::List(ResultsKind::Stock) => ("stock", "csv", CSV),
            Self::List(ResultsKind::Orders) => ("orders", "csv", CSV),
            Self::List(ResultsKind::Json) => ("sale", "json", "application/json"),
        }
    }
}

impl StockExport {
    /// The file for the shop's importer. Takes some 10 ms for each MiB of the baseline.
    ///
    /// # Errors
    /// What is wrong with the baseline.
    pub fn write(&self, taken: &[Taken]) -> Result<StockFile, Problems> {
        let baseline = Baseline {
            shop: self.shop,
            content: &self.baseline,
            encoding: self.encoding,
            separator: self.separator,
            location: self.location.as_deref(),
        };
        less_taken(&baseline, taken).map_err(|found| {
            let mut problems = Problems::new();
            let mut kind = Kind::Export;
            for problem in found.listed() {
                let field = match (problem.about, problem.column.as_deref()) {
                    (About::Options, Some("--location")) => "location".to_owned(),
                    (About::Options, Some("--encoding")) => "encoding".to_owned(),
                    (About::Options, _) => "baseline".to_owned(),
                    (About::File, _) if problem.place() == "content" => "baseline".to_owned(),
                    (About::File, _) => problem.place(),
                };
                kind = match problem.about {
                    About::Options => Kind::Argument,
                    About::File => Kind::Export,
                };
                problems.add(kind, field, problem.text());
            }
            problems.add_unlisted(kind, found.more());
            problems
        })
    }
}

/// What a sale takes off a shop's stock: units of orders that are paid, also of those that were
/// refunded since, which the shop puts back itself; and of `out`, which are held or on their way.
pub fn taken(
    items: &[ItemResult],
    out: &HashMap<String, UnitsOut>,
    mut sources: HashMap<String, Vec<(String, String)>>,
) -> Vec<Taken> {
    let of_item = |item: &ItemResult| {
        let out = out.get(&item.sku).copied().unwrap_or(UnitsOut::NONE);
        let units = [item.refunded, out.held, out.placed];
        Taken {
            sku: item.sku.clone(),
            source: sources.remove(&item.sku).unwrap_or_default(),
            units: units.into_iter().fold(item.sold, i64::saturating_add),
        }
    };
    items.iter().map(of_item).collect()
}

/// The sale at the head of a list.
pub fn head(sale: &Sale, read_at: OffsetDateTime) -> Head {
    Head {
        sale_id: sale.id.to_string(),
        name: sale.settings.name.clone(),
        currency: sale.settings.currency.code().to_owned(),
        state: sale.state.as_str().to_owned(),
        is_final: sale.final_at.is_some(),
        read_time: time(read_at),
    }
}

impl ItemResult {
    /// As a row of a list.
    pub fn row(self, currency: Currency) -> ItemRow {
        let gone = [self.sold, self.refunded, self.open];
        ItemRow {
            quantity: gone.into_iter().fold(self.allotted, i64::saturating_sub).max(0),
            sku: self.sku,
            title: self.title,
            price: decimal(self.price_minor, currency),
            per_buyer_limit: self.per_buyer_limit,
            allotted: self.allotted,
            sold: self.sold,
            refunded: self.refunded,
            open: self.open,
            gross: decimal(self.gross_minor, currency),
            currency: currency.code().to_owned(),
        }
    }
}

impl LineResult {
    /// As a row of a list. An amount of a currency that is none has no decimals.
    pub fn row(self) -> LineRow {
        let price = |minor: i64| match Currency::from_code(&self.currency) {
            Some(currency) => decimal(minor, currency),
            None => minor.to_string(),
        };
        LineRow {
            unit_price: self.unit_price_minor.map(price).unwrap_or_default(),
            order_id: self.order_id.to_string(),
            buyer_id: self.buyer_id,
            state: self.state,
            end_reason: self.end_reason.unwrap_or_default(),
            place_time: time(self.placed_at),
            update_time: time(self.updated_at),
            sku: self.sku.unwrap_or_default(),
            quantity: self.quantity.unwrap_or_default(),
            currency: self.currency,
        }
    }
}

/// Times of the record have years of four digits: each can be written.
fn time(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn item(sku: &str) -> ItemResult {
        ItemResult {
            sku: sku.to_owned(),
            title: "Tee".to_owned(),
            price_minor: 2_990,
            per_buyer_limit: 2,
            allotted: 10,
            sold: 4,
            refunded: 1,
            open: 2,
            gross_minor: 11_960,
        }
    }

    #[test]
    fn all_that_is_gone_is_taken() {
        let out = HashMap::from([("A".to_owned(), UnitsOut { held: 2, placed: 3 })]);
        let source = vec![("ID".to_owned(), "7".to_owned())];
        let sources = HashMap::from([("B".to_owned(), source.clone())]);
        let found = taken(&[item("A"), item("B")], &out, sources);
        let units: Vec<_> = found.iter().map(|taken| (taken.sku.as_str(), taken.units)).collect();
        assert_eq!(units, [("A", 10), ("B", 5)]);
        assert_eq!((found[0].source.len(), &found[1].source), (0, &source));
    }

    #[test]
    fn what_is_left_is_never_below_zero() {
        let row = item("A").row(Currency::EUR);
        assert_eq!((row.quantity, row.price.as_str(), row.gross.as_str()), (3, "29.90", "119.60"));
        let row = ItemResult { allotted: 5, ..item("A") }.row(Currency::JPY);
        assert_eq!((row.quantity, row.price.as_str()), (0, "2990"));
    }

    #[test]
    fn problems_are_told_by_their_fields() {
        let export = |content: &str, location: Option<&str>| StockExport {
            shop: Shop::WooCommerce,
            baseline: content.as_bytes().to_vec(),
            encoding: Encoding::Unicode,
            separator: None,
            location: location.map(str::to_owned),
            not_final: false,
        };
        let of = |export: StockExport| {
            let sold = Taken { sku: "A".to_owned(), units: 1, ..Taken::default() };
            let problems = export.write(&[sold]).unwrap_err();
            (problems.listed()[0].field.clone(), problems.kind())
        };
        let header = "ID,Type,SKU,Name,Stock,Regular price\n";
        assert_eq!(of(export("", None)), ("baseline".to_owned(), Kind::Export));
        assert_eq!(of(export(header, Some("Quay"))), ("location".to_owned(), Kind::Argument));
        let broken = format!("{header}1,simple,A,A,x,5\n");
        assert_eq!(of(export(&broken, None)), ("row 2, column Stock".to_owned(), Kind::Export));
    }
}
