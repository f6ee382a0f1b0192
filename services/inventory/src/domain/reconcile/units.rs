//! Comparing the sums: the books in themselves, with the holds and the buyers, and with the record.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::{
    difference::{Difference, Kind, of_sku},
    seen::{SeenHold, SkuRecord, UnitTotals},
};
use crate::domain::HoldState;

/// Bounds of a sum over holds that moved while it was computed.
#[derive(Debug, Clone, Copy, Default)]
struct Bounds {
    least: i64,
    most: i64,
}

impl Bounds {
    /// How far `units` is outside; 0 within the bounds.
    fn miss(self, units: i64) -> i64 {
        if units < self.least { units - self.least } else { (units - self.most).max(0) }
    }
}

/// Compares the books in themselves and with the holds, and the buyers' units with the holds.
/// `holds` has every hold of the sale.
pub fn of_units(units: &UnitTotals, holds: &HashMap<Uuid, SeenHold>) -> Vec<Difference> {
    const COLUMNS: [&str; 3] = ["held", "placed", "sold"];
    let mut columns: HashMap<&str, [Bounds; 3]> = HashMap::new();
    let mut buyers: HashMap<(&str, &str), Bounds> = HashMap::new();
    for hold in holds.values() {
        let column = match hold.state {
            HoldState::Held => Some(0),
            HoldState::Placed => Some(1),
            HoldState::Sold => Some(2),
            HoldState::Released | HoldState::Expired => None,
        };
        let moved = hold.before != Some(hold.state);
        for (sku, quantity) in &hold.lines {
            let columns = columns.entry(sku).or_default();
            let buyer = buyers.entry((sku, &hold.buyer_id)).or_default();
            // The hold changed while the books were read: they may have it in any column or none.
            if moved {
                buyer.most += quantity;
                for column in columns {
                    column.most += quantity;
                }
            } else if let Some(column) = column {
                for bounds in [&mut columns[column], buyer] {
                    bounds.least += quantity;
                    bounds.most += quantity;
                }
            }
        }
    }
    let mut found = Vec::new();
    for sku in &units.books {
        let missing = sku.allotted - sku.available - sku.held - sku.placed - sku.sold;
        if missing != 0 {
            let what = "allotted is not available + held + placed + sold".to_owned();
            let stranded = missing.max(0);
            found.push(Difference {
                stranded,
                ..of_sku(Kind::BooksDoNotAddUp, &sku.sku, missing, what)
            });
        }
        let bounds = columns.remove(sku.sku.as_str()).unwrap_or_default();
        for ((name, bounds), count) in
            COLUMNS.iter().zip(bounds).zip([sku.held, sku.placed, sku.sold])
        {
            let miss = bounds.miss(count);
            if miss != 0 {
                let way = if miss > 0 { "more" } else { "less" };
                let what = format!("the books have {way} {name} than the holds");
                // Units that the books count and no hold has are stranded.
                let stranded = miss.max(0);
                found.push(Difference {
                    stranded,
                    ..of_sku(Kind::BooksDoNotAddUp, &sku.sku, miss, what)
                });
            }
        }
    }
    for (sku, columns) in columns {
        let least = columns.iter().map(|column| column.least).sum::<i64>();
        if least != 0 {
            let what = "holds have units of a sku that the books do not know".to_owned();
            found.push(of_sku(Kind::BooksDoNotAddUp, sku, least, what));
        }
    }
    found.extend(of_buyers(units, holds, buyers));
    found
}

fn of_buyers<'a>(
    units: &'a UnitTotals,
    holds: &'a HashMap<Uuid, SeenHold>,
    mut bounds: HashMap<(&'a str, &'a str), Bounds>,
) -> Vec<Difference> {
    let mut wrong: HashMap<(&str, &str), i64> = HashMap::new();
    for ((sku, buyer), count) in &units.buyers {
        let key = (sku.as_str(), buyer.as_str());
        let miss = bounds.remove(&key).unwrap_or_default().miss(*count);
        if miss != 0 {
            wrong.insert(key, miss);
        }
    }
    let missing = bounds.into_iter().filter(|(_, bounds)| bounds.least > 0);
    wrong.extend(missing.map(|(key, bounds)| (key, -bounds.least)));
    let what = |miss: i64| {
        let way = if miss > 0 { "more" } else { "less" };
        format!("a buyer is counted {way} units than the buyer's holds have")
    };
    let mut named: BTreeMap<(&str, &str), bool> = wrong.keys().map(|key| (*key, false)).collect();
    let mut found = Vec::new();
    if !wrong.is_empty() {
        for (id, hold) in holds {
            for (sku, _) in &hold.lines {
                let key = (sku.as_str(), hold.buyer_id.as_str());
                let Some(miss) = wrong.get(&key) else { continue };
                // The units are counted once; the buyer's other holds are listed with 0.
                let first = named.insert(key, true) == Some(false);
                let units = if first { *miss } else { 0 };
                let hold_id = Some(*id);
                found.push(Difference {
                    hold_id,
                    ..of_sku(Kind::BooksDoNotAddUp, sku, units, what(*miss))
                });
            }
        }
    }
    for (key, named) in named {
        if let Some(miss) = wrong.get(&key).filter(|_| !named) {
            found.push(of_sku(Kind::BooksDoNotAddUp, key.0, *miss, what(*miss)));
        }
    }
    found
}

/// Compares the books with the record, and each with what it allots.
pub fn of_record(units: &UnitTotals) -> Vec<Difference> {
    let mut record: BTreeMap<&str, &SkuRecord> =
        units.record.iter().map(|sku| (sku.sku.as_str(), sku)).collect();
    let mut found = Vec::new();
    for sku in &units.books {
        let on_record = record.remove(sku.sku.as_str());
        let allotted = on_record.map_or(0, |record| record.allotted);
        if allotted != sku.allotted {
            let what = format!("{} are allotted in Redis, {allotted} in Postgres", sku.allotted);
            found.push(of_sku(Kind::AllotmentDiffers, &sku.sku, sku.allotted - allotted, what));
        }
        let beyond = sku.held + sku.placed + sku.sold - sku.allotted;
        if beyond > 0 {
            let what = "Redis has more held, placed and sold than allotted".to_owned();
            found.push(of_sku(Kind::Oversold, &sku.sku, beyond, what));
        }
    }
    for (sku, record) in record {
        if record.allotted != 0 {
            let what = format!("{} are allotted in Postgres, none in Redis", record.allotted);
            found.push(of_sku(Kind::AllotmentDiffers, sku, record.allotted, what));
        }
    }
    for sku in &units.record {
        if sku.claimed > sku.allotted {
            let what = "Postgres has more claimed than allotted".to_owned();
            found.push(of_sku(Kind::Oversold, &sku.sku, sku.claimed - sku.allotted, what));
        }
        if sku.ordered > sku.allotted {
            let what = "orders in Postgres have more than allotted".to_owned();
            found.push(of_sku(Kind::Oversold, &sku.sku, sku.ordered - sku.allotted, what));
        }
        if sku.ordered != sku.claimed {
            let what = "what is counted as claimed is not what the orders have".to_owned();
            found.push(of_sku(Kind::BooksDoNotAddUp, &sku.sku, sku.claimed - sku.ordered, what));
        }
    }
    found
}
