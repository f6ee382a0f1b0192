//! By what a shop knows a variant: the cells that its own importer looks for, byte for byte. What
//! was sold is written back under them.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::{
    row::{Catalogue, Variant},
    table::{Record, Sheet},
};

/// The longest key, in bytes. Those of shops have some hundred; one cell of a file may have a
/// million, and a hundred thousand variants may have it.
const MAX_KEY_BYTES: usize = 4_096;

/// The columns that a key is made of, by their place and by their name.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyColumns(Vec<(usize, String)>);

impl KeyColumns {
    /// Those of `columns` that the file has.
    pub(crate) fn find(sheet: &Sheet<'_>, columns: &[Option<usize>]) -> Self {
        let named = |at: &usize| Some((*at, sheet.header().get(*at)?.clone()));
        Self(columns.iter().flatten().filter_map(named).collect())
    }

    /// What a row has in them.
    pub(crate) fn cells(&self, record: &Record) -> Cells {
        Cells::of(self.0.iter().map(|(at, _)| record.raw(Some(*at))))
    }

    /// Fills what is still blank of `kept`, which several rows tell together.
    pub(crate) fn learn(&self, record: &Record, kept: &mut Vec<String>) {
        kept.resize(self.0.len(), String::new());
        for ((at, _), cell) in self.0.iter().zip(kept) {
            let raw = record.raw(Some(*at));
            if cell.is_empty() && !raw.trim().is_empty() && raw.len() <= MAX_KEY_BYTES {
                raw.clone_into(cell);
            }
        }
    }

    pub(crate) fn into_names(self) -> Vec<String> {
        self.0.into_iter().map(|(_, name)| name).collect()
    }
}

/// Cells in the room of one text, each behind its length and a colon. None if they are longer than
/// a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cells(String);

impl Cells {
    pub(crate) fn of<'c>(cells: impl Iterator<Item = &'c str> + Clone) -> Self {
        let bytes: usize = cells.clone().map(str::len).sum();
        if bytes > MAX_KEY_BYTES {
            return Self::default();
        }
        let mut text = String::with_capacity(bytes + 4 * cells.clone().count());
        for cell in cells {
            let _ = write!(text, "{}:{cell}", cell.len());
        }
        Self(text)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut rest = self.0.as_str();
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_once(':')?;
            let (cell, behind) = behind.split_at_checked(length.parse().ok()?)?;
            rest = behind;
            Some(cell)
        })
    }
}

/// Which columns of a file the keys are made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    /// Those of the variant's own row, whose cells are in its `source_key`.
    pub(crate) own: Vec<String>,
    /// Those that another row of its product may have, whose cells the product has.
    pub(crate) of_product: Vec<String>,
    /// The location of Shopify that the stock is of, if it is of one, behind its column's name.
    pub(crate) location: Option<(String, String)>,
}

impl Catalogue {
    /// By what the shop knows a variant: a JSON object of columns, named as in the file, and their
    /// cells, byte for byte. `None` of a row without all of them, and of a key that no shop has:
    /// of more than 4 KiB, or with a zero byte.
    pub fn key(&self, variant: &Variant) -> Option<String> {
        let product = variant.product.and_then(|at| self.products.get(at));
        let of_product: Vec<&str> =
            product.map(|product| product.key.iter().collect()).unwrap_or_default();
        let own: Vec<&str> = variant.source_key.cells.iter().collect();
        if own.len() != self.keys.own.len() || of_product.len() != self.keys.of_product.len() {
            return None;
        }
        let names = self.keys.own.iter().chain(&self.keys.of_product);
        let cells = names.zip(own.into_iter().chain(of_product));
        let location = self.keys.location.iter().map(|(name, cell)| (name, cell.as_str()));
        let (mut key, mut bytes) = (Map::new(), 0);
        for (name, cell) in cells.chain(location) {
            bytes += cell.len();
            if bytes > MAX_KEY_BYTES || cell.contains('\0') {
                return None;
            }
            key.insert(name.clone(), Value::from(cell));
        }
        Some(Value::Object(key).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_kept_byte_for_byte() {
        let kept = |cells: &[&str]| Cells::of(cells.iter().copied());
        for cells in [&["", "a:b", " 5:x\n", "größe"][..], &[""], &[]] {
            assert_eq!(kept(cells).iter().collect::<Vec<_>>(), cells);
        }
        let long = "x".repeat(MAX_KEY_BYTES + 1);
        assert_eq!(kept(&["a", &long]).iter().count(), 0);
    }
}
