//! Under which keys items are sold: each one once.

use std::collections::HashMap;

use super::{MAX_SKU_CHARS, Row, options::DuplicateSkus, preview::LeftOut};
use crate::{problems::shown, readers::named, row::Catalogue};

const OWN_SKU: &str =
    "give each variant a SKU of its own, or pass --duplicate-skus first or name-by-options";

/// Makes the skus of the rows that are still to be sold different from each other, or adds faults.
pub(super) fn settle(rows: &mut [Row<'_>], catalogue: &Catalogue, duplicates: DuplicateSkus) {
    if duplicates == DuplicateSkus::NameByOptions {
        for members in shared(rows) {
            for index in members {
                if let Some(row) = rows.get_mut(index) {
                    rename(row, catalogue);
                }
            }
        }
    }
    for members in shared(rows) {
        let line = |index: Option<&usize>| {
            index.and_then(|index| rows.get(*index)).map_or(0, |row| row.out.line)
        };
        let (first, second) = (line(members.first()), line(members.get(1)));
        for (place, index) in members.into_iter().enumerate() {
            let Some(row) = rows.get_mut(index) else { continue };
            match duplicates {
                DuplicateSkus::First if place == 0 => {}
                DuplicateSkus::First => row.leave_out(LeftOut::Duplicate(first)),
                DuplicateSkus::Refuse | DuplicateSkus::NameByOptions => {
                    let other = if place == 0 { second } else { first };
                    let what = format!("names the item {} like row {other}", shown(&row.out.sku));
                    row.fault(&catalogue.columns.sku, what, OWN_SKU);
                }
            }
        }
    }
}

/// The rows of each sku that more than one has, in the order of the file.
fn shared(rows: &[Row<'_>]) -> Vec<Vec<usize>> {
    let mut by_sku: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.sells()) {
        by_sku.entry(row.out.sku.as_str()).or_default().push(index);
    }
    by_sku.into_values().filter(|members| members.len() > 1).collect()
}

/// Names an item after its product and options.
fn rename(row: &mut Row<'_>, catalogue: &Catalogue) {
    let product = row.variant.product.and_then(|at| catalogue.products.get(at));
    let Some(product) = product.filter(|product| !product.handle.is_empty()) else { return };
    let sku = named(&product.handle, &row.variant.chosen());
    let chars = sku.chars().count();
    if chars > MAX_SKU_CHARS {
        let what = format!("would be named {}, which has {chars} characters", shown(&sku));
        return row.fault(&catalogue.columns.sku, what, OWN_SKU);
    }
    if sku != row.out.sku {
        let text =
            format!("its sku {} is not its alone: it is named by its options", shown(&row.out.sku));
        row.out.warnings.push(text);
        row.out.sku = sku;
    }
}
