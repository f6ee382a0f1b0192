//! Shopify's inventory CSV: a row for each variant and location, with the quantity on hand that it
//! is to have, or, in files of available quantities only, a column for each location.

use std::collections::HashMap;

use super::{Change, Found, StockFile, Taken, Warnings, csv::CsvWriter, remember};
use crate::{
    problems::{Problem, Problems, shown},
    readers::{
        inventory::{NOT_STOCKED, location_columns},
        named,
        shopify::{NO_CHOICE, reference},
    },
    row::Stock,
    table::{Record, Sheet, plain},
};

const EXPORT_IT: &str = "export the inventory from Shopify's admin as a CSV file";
const HANDLE: &[&str] = &["Handle", "URL handle"];
const SKU: &[&str] = &["SKU", "Variant SKU"];
const VALUES: [&[&str]; 3] = [&["Option1 Value"], &["Option2 Value"], &["Option3 Value"]];

/// Where the columns stand.
#[derive(Debug)]
struct Cells {
    handle: usize,
    title: Option<usize>,
    names: [Option<usize>; 3],
    values: [Option<usize>; 3],
    sku: Option<usize>,
    location: Option<usize>,
    /// What is there now, where the file has the new quantity in another column. Shopify compares
    /// it with its own.
    current: Option<usize>,
    /// The quantity that Shopify reads.
    target: usize,
    figures: Figures,
}

/// What the quantity that Shopify reads begins with, and how much of it can be sold.
#[derive(Debug)]
enum Figures {
    /// What can be sold.
    Available(usize),
    /// What is on hand, of which a part is promised to others.
    OnHand { on_hand: usize, available: Option<usize>, promised: [Option<usize>; 2] },
}

/// A row that may be written.
#[derive(Debug)]
struct Row {
    line: usize,
    key: String,
    /// The cells before the target, as the file writes them.
    cells: Vec<String>,
    /// The quantity now, and how much of it can be sold.
    now: Stock,
    left: Stock,
}

pub(super) fn less_taken(
    mut sheet: Sheet<'_>,
    location: Option<&str>,
    taken: &[&Taken],
) -> Result<StockFile, Problems> {
    let cells = Cells::find(&sheet, location)?;
    let target_name = sheet.name(Some(cells.target), "");
    let columns = cells.written();
    let names: Vec<String> = columns.iter().map(|column| sheet.name(Some(*column), "")).collect();
    sheet.keep(&cells.read());

    let (rows, by_sku) = read(&mut sheet, &cells, &columns, location)?;
    let mut warnings = Warnings::default();
    let mut changes = changes(&rows, &by_sku, taken, &mut warnings);

    let header = names.iter().map(String::as_str).chain([target_name.as_str()]);
    let mut writer = CsvWriter::new(header);
    let place = |of: Option<usize>| columns.iter().position(|column| Some(*column) == of);
    let (title, current) = (place(cells.title), place(cells.current));
    let (mut units, mut problems) = (0_i64, Problems::default());
    for row in &rows {
        let Some(change) = changes.remove(row.key.as_str()) else { continue };
        let (now, left) = match (&row.now, &row.left) {
            (Stock::Known(now), Stock::Known(left)) => (*now, *left),
            (Stock::Unreadable(text), _) | (_, Stock::Unreadable(text)) => {
                let problem = Problem::file(format!("is {}", shown(text)), "write a whole number");
                problems.add(problem.at_row(row.line).in_column(&target_name));
                continue;
            }
            (_, Stock::Missing | Stock::NotTracked | Stock::Shared(_) | Stock::Known(_)) => {
                warnings.add(format!(
                    "{} is not stocked there: its units, {}, are not taken off",
                    change.sku, change.units
                ));
                continue;
            }
        };
        let Some(less) = change.within(left, &mut warnings) else { continue };
        for (index, cell) in row.cells.iter().enumerate() {
            if Some(index) == title {
                writer.text(cell);
            } else if Some(index) == current {
                writer.figure(cell);
            } else {
                writer.key(cell);
            }
        }
        writer.figure(now.saturating_sub(less));
        writer.end_row();
        units += less;
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // Known to the file, but not at the location.
    let mut elsewhere: Vec<&Change<'_>> = changes.values().collect();
    elsewhere.sort_by_key(|change| change.sku);
    for change in elsewhere {
        warnings.add(format!(
            "{} has no row at the location: its units, {}, are not taken off",
            change.sku, change.units
        ));
    }
    let mut more = sheet.warnings();
    more.extend(writer.warnings());
    Ok(StockFile {
        rows: writer.rows(),
        content: writer.take(),
        units,
        warnings: warnings.done(more),
    })
}

impl Cells {
    fn find(sheet: &Sheet<'_>, location: Option<&str>) -> Result<Self, Problems> {
        let find = |names: &[&str]| sheet.column(names).map_err(Problems::one);
        let missing = |called: &str| {
            let problem = Problem::file("is missing", EXPORT_IT);
            Problems::one(problem.at_row(sheet.header_line()).in_column(called))
        };
        let handle = find(HANDLE)?.ok_or_else(|| missing("Handle"))?;
        let by_row = find(&["Location"])?;
        let on_hand = find(&["On hand (current)", "On hand"])?;
        let on_hand_new = find(&["On hand (new)"])?;
        let available = find(&["Available", "Available (not editable)"])?;
        let promised = [
            find(&["Committed", "Committed (not editable)"])?,
            find(&["Unavailable", "Unavailable (not editable)"])?,
        ];
        let (current, target, figures) = match (by_row, on_hand, available) {
            (Some(_), Some(on_hand), available) => {
                let figures = Figures::OnHand { on_hand, available, promised };
                let current = on_hand_new.map(|_| on_hand);
                (current, on_hand_new.unwrap_or(on_hand), figures)
            }
            (Some(_), None, Some(available)) => (None, available, Figures::Available(available)),
            (Some(_), None, None) => return Err(missing("On hand (current)")),
            (None, _, _) => {
                let column = location_column(sheet, location)?;
                (None, column, Figures::Available(column))
            }
        };
        let name = |number: usize| find(&[format!("Option{number} Name").as_str()]);
        Ok(Self {
            handle,
            title: find(&["Title"])?,
            names: [name(1)?, name(2)?, name(3)?],
            values: [find(VALUES[0])?, find(VALUES[1])?, find(VALUES[2])?],
            sku: find(SKU)?,
            location: by_row,
            current,
            target,
            figures,
        })
    }

    /// The columns that are written before the quantity: those by which Shopify finds the variant
    /// and the location, and what is there now.
    fn written(&self) -> Vec<usize> {
        let mut columns = vec![self.handle];
        columns.extend(self.title);
        for (name, value) in self.names.iter().zip(&self.values) {
            columns.extend(name.iter().chain(value));
        }
        columns.extend(self.sku.iter().chain(&self.location).chain(&self.current));
        columns
    }

    fn read(&self) -> Vec<Option<usize>> {
        let mut columns: Vec<Option<usize>> = self.written().into_iter().map(Some).collect();
        match &self.figures {
            Figures::Available(available) => columns.push(Some(*available)),
            Figures::OnHand { on_hand, available, promised } => {
                columns.extend([Some(*on_hand), *available]);
                columns.extend(promised);
            }
        }
        columns
    }

    /// The quantity of a row, and how much of it can be sold.
    fn figures(&self, record: &Record) -> (Stock, Stock) {
        let stock = |column: usize| {
            let cell = record.cell(Some(column));
            if cell.eq_ignore_ascii_case(NOT_STOCKED) { Stock::Missing } else { Stock::parse(cell) }
        };
        match &self.figures {
            Figures::Available(available) => (stock(*available), stock(*available)),
            Figures::OnHand { on_hand, available, promised } => {
                let now = stock(*on_hand);
                let left = available.map_or(Stock::Missing, stock);
                if left != Stock::Missing {
                    return (now, left);
                }
                let Stock::Known(units) = now else { return (now.clone(), now) };
                let known = |column: &usize| match stock(*column) {
                    Stock::Known(units) => units,
                    Stock::NotTracked
                    | Stock::Missing
                    | Stock::Shared(_)
                    | Stock::Unreadable(_) => 0,
                };
                let promised = promised.iter().flatten().map(known).fold(0, i64::saturating_add);
                (now, Stock::Known(units.saturating_sub(promised)))
            }
        }
    }
}

/// The column of the location, in a file with one for each.
fn location_column(sheet: &Sheet<'_>, location: Option<&str>) -> Result<usize, Problems> {
    let columns = location_columns(sheet, location);
    match (columns.as_slice(), location) {
        ([one], _) => Ok(*one),
        ([], Some(wanted)) => {
            let what = format!("is {}, which the inventory does not have", shown(wanted));
            let remedy = "pass the name of one of its columns";
            Err(Problems::one(Problem::option("--location", what, remedy)))
        }
        ([], None) => Err(Problems::one(Problem::file("has no location and no stock", EXPORT_IT))),
        (several, _) => {
            let names: Vec<String> =
                several.iter().map(|column| sheet.name(Some(*column), "")).collect();
            Err(Problems::one(which(&names)))
        }
    }
}

/// That several locations could be meant.
fn which(names: &[String]) -> Problem {
    let what = "is missing, but the inventory has several locations";
    Problem::option("--location", what, format!("pass one of {}", shown(&names.join(", "))))
}

type BySku = HashMap<String, Found<String>>;

/// The rows of the location, and what each sku of the file leads to.
fn read(
    sheet: &mut Sheet<'_>,
    cells: &Cells,
    columns: &[usize],
    location: Option<&str>,
) -> Result<(Vec<Row>, BySku), Problems> {
    let (mut rows, mut by_sku) = (Vec::new(), BySku::new());
    let (mut problems, mut locations) = (Problems::default(), Vec::<String>::new());
    let mut matched = cells.location.is_none();
    while sheet.next().map_err(Problems::one)?.is_some() {
        let record = sheet.record();
        if let Some((what, remedy)) = sheet.ragged(record) {
            problems.add(Problem::file(what, remedy).at_row(record.line));
            continue;
        }
        let handle = record.cell(Some(cells.handle));
        let chosen = cells.values.map(|column| record.cell(column));
        let key = reference(handle, &chosen);
        let mut sku = record.key(cells.sku).to_owned();
        if sku.is_empty() {
            let chosen = chosen.into_iter();
            let chosen: Vec<&str> =
                chosen.filter(|value| !value.is_empty() && *value != NO_CHOICE).collect();
            sku = named(handle, &chosen);
        }
        remember(&mut by_sku, sku, key.clone());
        if let Some(column) = cells.location {
            let name = record.cell(Some(column));
            if locations.len() < 50 && !locations.iter().any(|known| known == name) {
                locations.push(name.to_owned());
            }
            if location.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(name)) {
                continue;
            }
            matched = true;
        }
        let (now, left) = cells.figures(record);
        let written = columns.iter().map(|column| record.raw(Some(*column)).to_owned());
        rows.push(Row { line: record.line, key, cells: written.collect(), now, left });
    }
    match location {
        Some(wanted) if !matched => {
            let what = format!("is {}, which the inventory does not have", shown(wanted));
            let remedy = format!("pass one of {}", shown(&locations.join(", ")));
            problems.add(Problem::option("--location", what, remedy));
        }
        None if locations.len() > 1 => problems.add(which(&locations)),
        Some(_) | None => {}
    }
    if problems.is_empty() { Ok((rows, by_sku)) } else { Err(problems) }
}

/// What is taken from which variant, by its reference.
fn changes<'a>(
    rows: &[Row],
    by_sku: &BySku,
    taken: &[&'a Taken],
    warnings: &mut Warnings,
) -> HashMap<String, Change<'a>> {
    let known: std::collections::HashSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    let mut changes: HashMap<String, Change<'a>> = HashMap::new();
    for &taken in taken {
        let of_source = taken.source(HANDLE).map(|handle| {
            let values = VALUES.map(|names| plain(taken.source(names).unwrap_or_default()));
            reference(&plain(handle), &values.each_ref().map(String::as_str))
        });
        let of_source = of_source.filter(|key| known.contains(key.as_str()));
        let key = of_source.map(Found::One).or_else(|| by_sku.get(&taken.sku).cloned());
        match key {
            Some(Found::One(key)) => changes.entry(key).or_default().add(taken),
            Some(Found::Several) => warnings.not_found(taken, true),
            None => warnings.not_found(taken, false),
        }
    }
    changes
}
