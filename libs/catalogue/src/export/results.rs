//! Our own lists of what a sale sold: stock and order lines as CSV, or both as JSON.

use serde::Serialize;

use super::csv::CsvWriter;

/// Which list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultsKind {
    /// CSV, a row for each item. It can be imported again: `quantity` is what is left.
    Stock,
    /// CSV, a row for each line of an order.
    Orders,
    /// JSON, an object with the sale, its items and the lines of its orders.
    Json,
}

impl ResultsKind {
    /// Whether items are in it.
    pub const fn has_items(self) -> bool {
        match self {
            Self::Stock | Self::Json => true,
            Self::Orders => false,
        }
    }

    /// Whether lines of orders are in it.
    pub const fn has_orders(self) -> bool {
        match self {
            Self::Orders | Self::Json => true,
            Self::Stock => false,
        }
    }
}

/// The sale of a list.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    /// Its id.
    pub sale_id: String,
    /// What the shop calls it.
    pub name: String,
    /// ISO 4217 code of every amount.
    pub currency: String,
    /// Its state, such as `ENDED`.
    pub state: String,
    /// Whether nothing of it can change any more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// When the record was read, RFC 3339.
    pub read_time: String,
}

/// How one item sold. Amounts are decimals such as `19.90`.
#[derive(Debug, Clone, Serialize)]
pub struct ItemRow {
    /// What it was sold as.
    pub sku: String,
    /// What the buyer read.
    pub title: String,
    /// The price of one unit in the sale when the record is read; what was paid is in `gross`.
    pub price: String,
    /// Units that are left.
    pub quantity: i64,
    /// Units that one buyer might have; 0 is no limit.
    pub per_buyer_limit: i64,
    /// Units that the sale could sell.
    pub allotted: i64,
    /// Units in confirmed orders.
    pub sold: i64,
    /// Units in orders that were refunded as a whole. They are not on sale again.
    pub refunded: i64,
    /// Units in orders that have no end yet.
    pub open: i64,
    /// What the confirmed orders pay for them.
    pub gross: String,
    /// ISO 4217 code of the amounts.
    pub currency: String,
}

/// One line of an order, with what is known of the order. Without name and address.
#[derive(Debug, Clone, Serialize)]
pub struct LineRow {
    /// The order.
    pub order_id: String,
    /// The shop's id of the buyer.
    pub buyer_id: String,
    /// The order's state, such as `CONFIRMED`.
    pub state: String,
    /// Why it ended; empty where it has not, or nothing was said.
    pub end_reason: String,
    /// When it was placed, RFC 3339.
    pub place_time: String,
    /// When it last changed, RFC 3339.
    pub update_time: String,
    /// The item; empty for an order whose lines are not known.
    pub sku: String,
    /// Units of it.
    pub quantity: i64,
    /// What the buyer pays for one.
    pub unit_price: String,
    /// ISO 4217 code of the amount.
    pub currency: String,
}

const ITEM_COLUMNS: [&str; 11] = [
    "sku",
    "title",
    "price",
    "quantity",
    "per_buyer_limit",
    "allotted",
    "sold",
    "refunded",
    "open",
    "gross",
    "currency",
];

const LINE_COLUMNS: [&str; 10] = [
    "order_id",
    "buyer_id",
    "state",
    "end_reason",
    "place_time",
    "update_time",
    "sku",
    "quantity",
    "unit_price",
    "currency",
];

/// Writes a list a row at a time: first all items, then all lines.
#[derive(Debug)]
pub struct Results {
    writing: Writing,
    units: i64,
}

#[derive(Debug)]
enum Writing {
    Items(CsvWriter),
    Lines(CsvWriter),
    Json(Json),
}

#[derive(Debug)]
struct Json {
    text: String,
    rows: usize,
    /// Whether an item and a line are there, behind which a comma has to stand.
    items: bool,
    lines: bool,
}

impl Results {
    /// Begins a list.
    ///
    /// # Errors
    /// None that this version can cause: of serializing texts and numbers.
    pub fn new(kind: ResultsKind, head: &Head) -> serde_json::Result<Self> {
        let writing = match kind {
            ResultsKind::Stock => Writing::Items(CsvWriter::new(ITEM_COLUMNS)),
            ResultsKind::Orders => Writing::Lines(CsvWriter::new(LINE_COLUMNS)),
            ResultsKind::Json => {
                let head = serde_json::to_string(head)?;
                let text = format!("{{\"sale\":{head},\n\"items\":[");
                Writing::Json(Json { text, rows: 0, items: false, lines: false })
            }
        };
        Ok(Self { writing, units: 0 })
    }

    /// Writes an item, if items are in the list.
    ///
    /// # Errors
    /// As [`Results::new`].
    pub fn item(&mut self, item: &ItemRow) -> serde_json::Result<()> {
        match &mut self.writing {
            Writing::Items(csv) => {
                csv.key(&item.sku);
                csv.text(&item.title);
                csv.figure(&item.price);
                for figure in [
                    item.quantity,
                    item.per_buyer_limit,
                    item.allotted,
                    item.sold,
                    item.refunded,
                    item.open,
                ] {
                    csv.figure(figure);
                }
                csv.figure(&item.gross);
                csv.figure(&item.currency);
                csv.end_row();
                self.units = self.units.saturating_add(item.sold).saturating_add(item.refunded);
            }
            Writing::Json(json) => {
                json.items = json.row(json.items, item)?;
                self.units = self.units.saturating_add(item.sold).saturating_add(item.refunded);
            }
            Writing::Lines(_) => {}
        }
        Ok(())
    }

    /// Writes a line of an order, if orders are in the list.
    ///
    /// # Errors
    /// As [`Results::new`].
    pub fn line(&mut self, line: &LineRow) -> serde_json::Result<()> {
        match &mut self.writing {
            Writing::Lines(csv) => {
                csv.key(&line.order_id);
                csv.key(&line.buyer_id);
                for cell in [&line.state, &line.end_reason, &line.place_time, &line.update_time] {
                    csv.text(cell);
                }
                csv.key(&line.sku);
                csv.figure(line.quantity);
                csv.figure(&line.unit_price);
                csv.figure(&line.currency);
                csv.end_row();
                if matches!(line.state.as_str(), "CONFIRMED" | "REFUNDED") {
                    self.units = self.units.saturating_add(line.quantity);
                }
            }
            Writing::Json(json) => {
                if !json.lines {
                    json.text.push_str("],\n\"order_lines\":[");
                }
                json.lines = json.row(json.lines, line)?;
            }
            Writing::Items(_) => {}
        }
        Ok(())
    }

    /// Ends the list.
    pub fn end(&mut self) {
        match &mut self.writing {
            Writing::Json(json) => {
                let end = if json.lines { "]}\n" } else { "],\n\"order_lines\":[]}\n" };
                json.text.push_str(end);
            }
            Writing::Items(_) | Writing::Lines(_) => {}
        }
    }

    /// The bytes since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        match &mut self.writing {
            Writing::Items(csv) | Writing::Lines(csv) => csv.take(),
            Writing::Json(json) => std::mem::take(&mut json.text).into_bytes(),
        }
    }

    /// Rows so far: items and lines.
    pub fn rows(&self) -> usize {
        match &self.writing {
            Writing::Items(csv) | Writing::Lines(csv) => csv.rows(),
            Writing::Json(json) => json.rows,
        }
    }

    /// Units of confirmed and refunded orders in the rows so far.
    pub fn units(&self) -> i64 {
        self.units
    }

    /// What is worth knowing of the rows so far.
    pub fn warnings(&self) -> Vec<String> {
        match &self.writing {
            Writing::Items(csv) | Writing::Lines(csv) => csv.warnings(),
            Writing::Json(_) => Vec::new(),
        }
    }
}

impl Json {
    /// Writes an element of an array that has some before it or not; true, since it has one now.
    fn row(&mut self, before: bool, row: &impl Serialize) -> serde_json::Result<bool> {
        self.text.push_str(if before { ",\n" } else { "\n" });
        self.text.push_str(&serde_json::to_string(row)?);
        self.rows += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{ReadOptions, Stock, read};

    fn head() -> Head {
        Head {
            sale_id: "s".to_owned(),
            name: "=Drop".to_owned(),
            currency: "EUR".to_owned(),
            state: "ENDED".to_owned(),
            is_final: true,
            read_time: "2026-12-01T10:00:00Z".to_owned(),
        }
    }

    fn item(sku: &str, title: &str) -> ItemRow {
        ItemRow {
            sku: sku.to_owned(),
            title: title.to_owned(),
            price: "9.90".to_owned(),
            quantity: 5,
            per_buyer_limit: 2,
            allotted: 9,
            sold: 2,
            refunded: 1,
            open: 1,
            gross: "19.80".to_owned(),
            currency: "EUR".to_owned(),
        }
    }

    fn line(sku: &str, state: &str) -> LineRow {
        LineRow {
            order_id: "o".to_owned(),
            buyer_id: "=ada".to_owned(),
            state: state.to_owned(),
            end_reason: String::new(),
            place_time: "2026-12-01T09:00:00Z".to_owned(),
            update_time: "2026-12-01T09:00:01Z".to_owned(),
            sku: sku.to_owned(),
            quantity: 2,
            unit_price: "9.90".to_owned(),
            currency: "EUR".to_owned(),
        }
    }

    fn written(kind: ResultsKind) -> (String, Results) {
        let mut results = Results::new(kind, &head()).unwrap();
        for (sku, title) in [("CUP", "Pier cup, large"), ("+1", "=SUM(A1)")] {
            results.item(&item(sku, title)).unwrap();
        }
        let mut text = results.take();
        for (sku, state) in [("CUP", "CONFIRMED"), ("+1", "DECLINED")] {
            results.line(&line(sku, state)).unwrap();
        }
        results.end();
        text.extend(results.take());
        (String::from_utf8(text).unwrap(), results)
    }

    #[test]
    fn stock_can_be_imported_again() {
        let (text, results) = written(ResultsKind::Stock);
        assert_eq!(
            text,
            "sku,title,price,quantity,per_buyer_limit,allotted,sold,refunded,open,gross,currency\n\
             CUP,\"Pier cup, large\",9.90,5,2,9,2,1,1,19.80,EUR\n\
             +1,'=SUM(A1),9.90,5,2,9,2,1,1,19.80,EUR\n"
        );
        assert_eq!((results.rows(), results.units(), results.warnings().len()), (2, 6, 1));
        let catalogue = read(text.as_bytes(), &ReadOptions::default()).unwrap();
        let read: Vec<_> = catalogue
            .variants
            .iter()
            .map(|variant| (variant.sku.as_str(), variant.title.as_str(), &variant.stock))
            .collect();
        let left = Stock::Known(5);
        assert_eq!(read, [("CUP", "Pier cup, large", &left), ("+1", "=SUM(A1)", &left)]);
    }

    #[test]
    fn an_order_has_a_row_for_each_line() {
        let (text, results) = written(ResultsKind::Orders);
        assert_eq!(
            text,
            "order_id,buyer_id,state,end_reason,place_time,update_time,sku,quantity,unit_price,currency\n\
             o,=ada,CONFIRMED,,2026-12-01T09:00:00Z,2026-12-01T09:00:01Z,CUP,2,9.90,EUR\n\
             o,=ada,DECLINED,,2026-12-01T09:00:00Z,2026-12-01T09:00:01Z,+1,2,9.90,EUR\n"
        );
        assert_eq!((results.rows(), results.units(), results.warnings().len()), (2, 2, 2));
    }

    #[test]
    fn json_has_both() {
        let (text, results) = written(ResultsKind::Json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["sale"]["final"], true);
        assert_eq!(value["items"][1]["title"], "=SUM(A1)");
        assert_eq!(value["order_lines"][1]["state"], "DECLINED");
        assert_eq!((results.rows(), results.units()), (4, 6));

        let mut empty = Results::new(ResultsKind::Json, &head()).unwrap();
        empty.end();
        let value: serde_json::Value = serde_json::from_slice(&empty.take()).unwrap();
        assert_eq!(value["items"], value["order_lines"]);
    }
}
