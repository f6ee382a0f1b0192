//! Shopify's inventory CSV, in which shops with several locations keep their stock: a row for each
//! variant and location, or, in older files, a column for each location.

use std::collections::HashMap;

use super::{Finder, shopify};
use crate::{
    ReadOptions,
    problems::{Problem, Problems, counted, shown},
    row::{Stock, Variant},
    table::{Record, Sheet},
    text::Source,
};

/// What Shopify writes where a location does not keep a variant.
pub(crate) const NOT_STOCKED: &str = "not stocked";
/// Columns of files with a column for each location that are none.
const NOT_LOCATIONS: [&str; 4] = ["hs code", "coo", "sku", "bin name"];
const EXPORT_IT: &str = "export the inventory from Shopify's admin as a CSV file";

/// Stock by variant.
#[derive(Debug)]
pub(super) struct Inventory {
    found: HashMap<String, Stocked>,
    /// The location that all of it is of, behind the name of its column.
    pub(super) location: Option<(String, String)>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Stocked {
    units: Stock,
    used: bool,
}

/// Where a row says how many units there are.
#[derive(Debug)]
enum Units {
    /// In one column, for the location that another one names.
    Row { location: usize, available: usize },
    /// What is on hand less what is promised, for the location that another column names.
    OnHand { location: usize, on_hand: usize, less: [Option<usize>; 2] },
    /// In a column for each location.
    Columns(Vec<usize>),
}

pub(super) fn read(content: &[u8], options: &ReadOptions<'_>) -> Result<Inventory, Problems> {
    let said = |problem: Problem| Problems::one(of_stock(problem));
    let source = Source::open(content).map_err(said)?;
    let mut sheet = Sheet::open(source, options.encoding, options.separator).map_err(said)?;
    let mut finder = Finder::new(&sheet);
    let handle = finder.need(&["Handle", "URL handle"], "Handle", EXPORT_IT);
    let values =
        ["Option1 Value", "Option2 Value", "Option3 Value"].map(|name| finder.find(&[name]));
    let location = finder.find(&["Location"]);
    let available = finder.find(&["Available", "Available (not editable)"]);
    let on_hand = finder.find(&["On hand", "On hand (current)"]);
    let less = [
        finder.find(&["Committed", "Committed (not editable)"]),
        finder.find(&["Unavailable", "Unavailable (not editable)"]),
    ];
    let on_hand_new = finder.find(&["On hand (new)"]);
    finder.done()?;
    let units = match (location, available, on_hand) {
        (Some(location), Some(available), _) => Units::Row { location, available },
        (Some(location), None, Some(on_hand)) => Units::OnHand { location, on_hand, less },
        (Some(_), None, None) => {
            let problem = Problem::file("is missing", EXPORT_IT);
            return Err(said(problem.in_column("Available")));
        }
        (None, _, _) => Units::Columns(location_columns(&sheet, options.location)),
    };
    let mut kept = vec![handle];
    kept.extend(values);
    kept.push(on_hand_new);
    match &units {
        Units::Row { location, available } => kept.extend([Some(*location), Some(*available)]),
        Units::OnHand { location, on_hand, less } => {
            kept.extend([Some(*location), Some(*on_hand)]);
            kept.extend(*less);
        }
        Units::Columns(columns) => kept.extend(columns.iter().map(|column| Some(*column))),
    }
    sheet.keep(&kept);

    let mut inventory = Inventory { found: HashMap::new(), location: None, warnings: Vec::new() };
    let location_name = sheet.name(location, "Location");
    let mut several = false;
    if let Units::Columns(columns) = &units {
        several = columns.len() > 1;
        let name = sheet.name(columns.first().copied(), "");
        inventory.location = Some((location_name.clone(), name));
    }
    let mut locations: Vec<String> = Vec::new();
    let mut matched = matches!(&units, Units::Columns(columns) if !columns.is_empty());
    while sheet.next().map_err(said)?.is_some() {
        let record = sheet.record();
        if let Some((what, remedy)) = sheet.ragged(record) {
            return Err(said(Problem::file(what, remedy).at_row(record.line)));
        }
        // The other columns say what was there before: sold from them, it would be sold twice.
        if !record.cell(on_hand_new).is_empty() {
            let what = "has a quantity that Shopify is yet to take";
            let problem = Problem::file(what, "import the file into Shopify, and export it again");
            return Err(said(problem.at_row(record.line).in_column("On hand (new)")));
        }
        let options_of = values.map(|column| record.cell(column));
        let key = shopify::reference(record.cell(handle), &options_of);
        if let Units::Row { location, .. } | Units::OnHand { location, .. } = &units {
            let name = record.cell(Some(*location));
            if locations.len() < 50 && !locations.iter().any(|known| known == name) {
                locations.push(name.to_owned());
            }
            if options.location.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(name)) {
                continue;
            }
            matched = true;
            let raw = record.raw(Some(*location));
            let (_, first) =
                inventory.location.get_or_insert_with(|| (location_name.clone(), raw.to_owned()));
            several |= !first.trim().eq_ignore_ascii_case(raw.trim());
        }
        let stocked =
            inventory.found.entry(key).or_insert(Stocked { units: Stock::Missing, used: false });
        for cell in units_of(record, &units) {
            stocked.units = sum(&stocked.units, cell);
        }
    }
    if let Some(wanted) = options.location.filter(|_| !matched) {
        let what = format!("is {}, which the inventory does not have", shown(wanted));
        let remedy = match &units {
            Units::Columns(_) => "pass the name of one of its columns".to_owned(),
            Units::Row { .. } | Units::OnHand { .. } => {
                format!("pass one of {}", shown(&locations.join(", ")))
            }
        };
        return Err(Problems::one(Problem::option("--location", what, remedy)));
    }
    if !matched {
        let problem = Problem::file("has no location and no stock", EXPORT_IT);
        return Err(said(problem));
    }
    if several {
        inventory.location = None;
    }
    inventory.warnings = sheet.warnings();
    Ok(inventory)
}

/// The stock that one row adds, by location.
fn units_of(record: &Record, units: &Units) -> Vec<Stock> {
    let stock = |column: usize| {
        let cell = record.cell(Some(column));
        if cell.eq_ignore_ascii_case(NOT_STOCKED) { Stock::Missing } else { Stock::parse(cell) }
    };
    match units {
        Units::Row { available, .. } => vec![stock(*available)],
        Units::OnHand { on_hand, less, .. } => {
            let promised = less.iter().flatten().map(|column| match stock(*column) {
                Stock::Known(units) => units,
                Stock::NotTracked | Stock::Missing | Stock::Shared(_) | Stock::Unreadable(_) => 0,
            });
            let promised = promised.fold(0, i64::saturating_add);
            let mut left = stock(*on_hand);
            if let Stock::Known(units) = &mut left {
                *units = units.saturating_sub(promised);
            }
            vec![left]
        }
        Units::Columns(columns) => columns.iter().map(|column| stock(*column)).collect(),
    }
}

/// Two locations together. One without the variant adds nothing, and one below zero takes nothing
/// from another.
fn sum(one: &Stock, other: Stock) -> Stock {
    match (one, other) {
        (Stock::Unreadable(text), _) => Stock::Unreadable(text.clone()),
        (Stock::Known(units), Stock::Known(more)) => {
            Stock::Known((*units).max(0).saturating_add(more.max(0)))
        }
        (_, Stock::Missing) => one.clone(),
        (_, other) => other,
    }
}

/// The columns behind those of the variant, each named after a location.
pub(crate) fn location_columns(sheet: &Sheet<'_>, wanted: Option<&str>) -> Vec<usize> {
    let is_none = |name: &str| NOT_LOCATIONS.iter().any(|other| name.eq_ignore_ascii_case(other));
    let last = sheet.header().iter().rposition(|name| is_none(name)).map_or(0, |at| at + 1);
    let columns = sheet.header().iter().enumerate().skip(last);
    columns
        .filter(|(_, name)| !name.is_empty() && !name.to_ascii_lowercase().starts_with("option"))
        .filter(|(_, name)| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name)))
        .map(|(index, _)| index)
        .collect()
}

/// A problem of this file rather than of the products'.
fn of_stock(mut problem: Problem) -> Problem {
    problem.what = format!("of the file of --stock {}", problem.what);
    problem
}

impl Inventory {
    /// Gives a variant its stock.
    pub(super) fn apply(&mut self, variant: &mut Variant, handle: &str) {
        let key = shopify::reference(handle, &variant.chosen());
        variant.stock = match self.found.get_mut(&key) {
            Some(stocked) => {
                stocked.used = true;
                stocked.units.clone()
            }
            None => Stock::Missing,
        };
    }

    /// What was changed or not used.
    pub(super) fn warnings(self) -> Vec<String> {
        let unused = self.found.values().filter(|stocked| !stocked.used).count();
        let mut warnings = self.warnings;
        if unused > 0 {
            warnings.push(format!(
                "{} of the inventory not among the products",
                counted(unused, "variant")
            ));
        }
        warnings
    }
}
