//! How many units are sold.

use std::collections::BTreeMap;

use super::{
    MAX_QUANTITY, Row,
    options::{SelectOptions, SharedStock, UnitsRule},
};
use crate::{
    problems::shown,
    row::{Catalogue, Stock},
};

const SPLIT: &str =
    "pass --split-shared to divide it between them, or --quantity for units of each";

/// The rows that would be sold if their stock were known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// There are none that do not have their fault.
    None,
    /// So many, which a dry run tells.
    Needed(usize),
    /// So many, and no others: one problem of the file instead of one for each row.
    All(usize),
}

/// Sets the units of every row that is still to be sold, or adds a fault.
pub(super) fn set(rows: &mut [Row<'_>], catalogue: &Catalogue, options: &SelectOptions) -> Unknown {
    let column = catalogue.columns.stock.as_str();
    let mut shared: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.sells()) {
        if let UnitsRule::Fixed(units) = options.units {
            if let Stock::Shared(stock) = row.variant.stock {
                let text = format!("its variants share a stock of {stock} in the shop");
                row.out.warnings.push(text);
            }
            row.out.units = Some(units);
            continue;
        }
        match &row.variant.stock {
            Stock::Known(stock) => own(row, *stock, column, options),
            Stock::Shared(_) => {
                let product = row.variant.product.unwrap_or(usize::MAX);
                shared.entry(product).or_default().push(index);
            }
            Stock::Unreadable(text) => {
                let what = format!("is {}", shown(text));
                row.fault(column, what, "write a whole number, or pass --quantity");
            }
            Stock::NotTracked | Stock::Missing => {}
        }
    }
    for members in shared.values() {
        divide(rows, members, column, options);
    }
    unknown(rows, column, options)
}

/// The units of a variant with a stock of its own.
fn own(row: &mut Row<'_>, stock: i64, column: &str, options: &SelectOptions) {
    match on_sale(stock, options.units) {
        Ok(units) => row.out.units = Some(units),
        Err((what, remedy)) => row.fault(column, what, remedy),
    }
}

/// How many of a stock are sold.
fn on_sale(stock: i64, rule: UnitsRule) -> Result<i64, (String, &'static str)> {
    if stock <= 0 {
        let remedy = "there is nothing to sell: correct it, pass --quantity, or --leave-out-faulty";
        return Err((format!("is {stock}"), remedy));
    }
    if stock > MAX_QUANTITY {
        return Err((format!("is {stock}; 10,000,000 units are allowed"), "pass --quantity"));
    }
    let UnitsRule::Share { percent, cap } = rule else { return Ok(stock) };
    let part = i128::from(stock) * percent.hundredths() / 10_000;
    let part = i64::try_from(part).unwrap_or(stock);
    if part == 0 {
        let what = format!("is {stock}, of which the share is less than one unit");
        return Err((what, "raise --stock-share, or select other rows"));
    }
    Ok(cap.map_or(part, |cap| part.min(cap)))
}

/// Divides the stock of a product between its variants that are sold. Never is it counted once for
/// each of them.
fn divide(rows: &mut [Row<'_>], members: &[usize], column: &str, options: &SelectOptions) {
    let Some(first) = members.first().and_then(|index| rows.get(*index)) else { return };
    let Stock::Shared(stock) = first.variant.stock else { return };
    let count = i64::try_from(members.len()).unwrap_or(i64::MAX);
    if count > 1 && options.shared_stock == SharedStock::Refuse && stock > 0 {
        for index in members {
            if let Some(row) = rows.get_mut(*index) {
                let what = format!("is {stock} for {count} variants together");
                row.fault(column, what, SPLIT);
            }
        }
        return;
    }
    // The share is one of the whole stock, the cap one of each item.
    let mut whole = options.units;
    let cap = match &mut whole {
        UnitsRule::Share { cap, .. } => cap.take(),
        UnitsRule::FromFile | UnitsRule::Fixed(_) => None,
    };
    let units = on_sale(stock, whole);
    for (place, index) in members.iter().enumerate() {
        let Some(row) = rows.get_mut(*index) else { continue };
        let units = match &units {
            Ok(units) => *units,
            Err((what, remedy)) => {
                row.fault(column, what.clone(), *remedy);
                continue;
            }
        };
        let rest = if place == 0 { units % count } else { 0 };
        let part = units / count + rest;
        if part == 0 {
            let what = format!("is {stock} for {count} variants together, of which none is left");
            row.fault(column, what, "select fewer of them, or pass --quantity");
        } else {
            row.out.units = Some(cap.map_or(part, |cap| part.min(cap)));
        }
    }
}

/// Judges the rows whose stock the file does not say.
fn unknown(rows: &mut [Row<'_>], column: &str, options: &SelectOptions) -> Unknown {
    let some_known = rows.iter().any(|row| row.sells() && row.out.units.is_some());
    let missing = rows.iter().filter(|row| row.sells() && row.out.units.is_none()).count();
    if missing == 0 {
        return Unknown::None;
    }
    if options.dry_run && !(options.leave_out_faulty && some_known) {
        return Unknown::Needed(missing);
    }
    if !some_known {
        return Unknown::All(missing);
    }
    for row in rows.iter_mut().filter(|row| row.sells() && row.out.units.is_none()) {
        let what = if row.variant.stock == Stock::NotTracked {
            "is not kept by the shop, so that the stock is unknown"
        } else {
            "is blank, so that the stock is unknown"
        };
        row.fault(column, what, "pass --quantity");
    }
    Unknown::None
}
