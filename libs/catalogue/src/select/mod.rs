//! Decides what is sold of a catalogue: which rows, at which price, how many units. The one place
//! for all shops.

mod chosen;
mod options;
mod preview;
mod price;
mod skus;
mod units;

pub use options::{
    DuplicateSkus, Percent, PriceRule, Rounding, SelectOptions, Selection, SharedStock, UnitsRule,
    shop_time,
};
pub use preview::{Decision, LeftOut, Need, Preview, PreviewRow, Totals};

use std::borrow::Cow;

use self::{chosen::Chosen, units::Unknown};
use crate::{
    money::{self, UnchargedOrder},
    problems::{Problem, Problems, counted, shown},
    row::{Catalogue, Fault, Kind, Listed, Variant},
};

/// Items of one sale.
pub const MAX_ITEMS: usize = 10_000;
/// Units of one item.
pub const MAX_QUANTITY: i64 = 10_000_000;
/// Characters of a sku.
pub const MAX_SKU_CHARS: usize = 128;
/// Characters of an item's title.
pub const MAX_TITLE_CHARS: usize = 256;

/// A row while it is decided.
#[derive(Debug)]
struct Row<'a> {
    variant: &'a Variant,
    out: PreviewRow,
    faults: Vec<Fault>,
}

impl Row<'_> {
    /// Whether nothing speaks against it yet.
    fn sells(&self) -> bool {
        self.faults.is_empty() && self.out.decision == Decision::Sell
    }

    fn leave_out(&mut self, why: LeftOut) {
        self.out.decision = Decision::LeftOut(why);
    }

    fn fault(
        &mut self,
        column: &str,
        what: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) {
        let (column, what) = (Some(column.to_owned()), what.into());
        self.faults.push(Fault { column, what, remedy: remedy.into() });
    }
}

/// Decides what is sold of `catalogue`.
///
/// # Errors
/// When an option makes no sense, when nothing can be sold, or more than [`MAX_ITEMS`] items, and,
/// unless faulty rows are left out, when there is one.
pub fn select(catalogue: &Catalogue, options: &SelectOptions) -> Result<Preview, Problems> {
    let mut problems = Problems::default();
    let amounts = options::check(options, &mut problems);
    let chosen = Chosen::new(catalogue, &options.selection, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }

    let mut rows: Vec<Row<'_>> = catalogue
        .variants
        .iter()
        .enumerate()
        .map(|(index, variant)| begin(index, variant, catalogue, options, &chosen))
        .collect();
    // A sku is settled first: it decides which rows share the stock of a product.
    skus::settle(&mut rows, catalogue, options.duplicate_skus);
    for row in &mut rows {
        // Whatever else is wrong with a row is said as well, but not of one that is not sold.
        if row.out.decision == Decision::Sell && row.variant.fault.is_none() {
            price::set(row, catalogue, options, amounts);
        }
    }
    let unknown = units::set(&mut rows, catalogue, options);
    for row in &mut rows {
        check_order(row, catalogue, options);
    }
    finish(rows, catalogue, options, unknown)
}

/// A row with what speaks against it by itself.
fn begin<'a>(
    index: usize,
    variant: &'a Variant,
    catalogue: &Catalogue,
    options: &SelectOptions,
    chosen: &Chosen<'_>,
) -> Row<'a> {
    let limits = [variant.limit.unwrap_or(0), options.per_buyer_limit];
    let mut row = Row {
        variant,
        out: PreviewRow {
            variant: index,
            line: variant.line,
            sku: variant.sku.clone(),
            title: variant.title.clone(),
            regular_minor: None,
            file_minor: None,
            price_minor: None,
            price_text: None,
            units: None,
            limit: limits.into_iter().filter(|limit| *limit > 0).min(),
            decision: Decision::Sell,
            warnings: variant.notes.clone(),
        },
        faults: Vec::new(),
    };
    if !chosen.has(variant) {
        row.leave_out(LeftOut::NotSelected);
    } else if let Some(why) = not_offered(variant) {
        row.leave_out(why);
    } else if let Some(fault) = &variant.fault {
        row.faults.push(Fault::clone(fault));
    } else {
        check_texts(&mut row, catalogue);
        if variant.backorder {
            let text = "the shop sells it beyond its stock; this sale does not";
            row.out.warnings.push(text.to_owned());
        }
    }
    row
}

/// Why the shop itself does not offer a variant.
fn not_offered(variant: &Variant) -> Option<LeftOut> {
    match variant.listed {
        Listed::Published => {}
        Listed::OutsideMarket => return Some(LeftOut::OutsideMarket),
        Listed::Unlisted => return Some(LeftOut::Unlisted),
        Listed::NotForSale => return Some(LeftOut::NotForSale),
        Listed::Unpublished => return Some(LeftOut::Unpublished),
        Listed::Draft => return Some(LeftOut::Draft),
        Listed::Archived => return Some(LeftOut::Archived),
    }
    match variant.kind {
        Kind::Physical | Kind::Digital => None,
        Kind::GiftCard => Some(LeftOut::GiftCard),
        Kind::Grouped => Some(LeftOut::Grouped),
        Kind::External => Some(LeftOut::External),
        Kind::VariableParent => Some(LeftOut::NoVariants),
        Kind::Other => Some(LeftOut::OtherKind),
    }
}

fn check_texts(row: &mut Row<'_>, catalogue: &Catalogue) {
    let columns = &catalogue.columns;
    if let Some(what) = printable(&row.out.sku, 1, MAX_SKU_CHARS) {
        let what = format!("names the item {}, which {what}", shown(&row.out.sku));
        row.fault(&columns.sku, what, "give the variant a short SKU of its own");
    }
    if let Some(what) = printable(&row.out.title, 1, MAX_TITLE_CHARS) {
        let what = format!("with the options behind it {what}");
        row.fault(&columns.title, what, "shorten it, or pass --leave-out-faulty");
    }
    if let Some(limit) = row.variant.limit.filter(|limit| !(0..=MAX_QUANTITY).contains(limit)) {
        let remedy = "it must be 1 to 10,000,000, or 0 for no limit";
        row.fault("per_buyer_limit", format!("is {limit}"), remedy);
    }
}

/// Why `text` is not `min` to `max` characters without control characters; `None` if it is.
fn printable(text: &str, min: usize, max: usize) -> Option<String> {
    let chars = text.chars().count();
    if chars < min {
        Some("is empty".to_owned())
    } else if chars > max {
        Some(format!("has {chars} characters; {max} are allowed"))
    } else if text.chars().any(char::is_control) {
        Some("has control characters such as a line break".to_owned())
    } else {
        None
    }
}

/// Whether the largest order of an item could be charged.
fn check_order(row: &mut Row<'_>, catalogue: &Catalogue, options: &SelectOptions) {
    if !row.sells() {
        return;
    }
    let (Some(currency), Some(price), Some(units)) =
        (options.currency, row.out.price_minor, row.out.units)
    else {
        return;
    };
    let order = money::uncharged_order(price, units, row.out.limit.unwrap_or(0), currency);
    if let Some(UnchargedOrder { what, most_units }) = order {
        let what = format!("is {}: {what}", money::amount(price, currency));
        let remedy = format!("pass --per-buyer-limit of 1 to {most_units}");
        row.fault(&catalogue.columns.price, what, remedy);
    }
}

/// Counts, and refuses what cannot be sold as a whole.
fn finish(
    rows: Vec<Row<'_>>,
    catalogue: &Catalogue,
    options: &SelectOptions,
    unknown: Unknown,
) -> Result<Preview, Problems> {
    let mut problems = Problems::default();
    if let Unknown::All(missing) = unknown {
        let what = format!("does not say how many there are, of {}", counted(missing, "row"));
        let problem = Problem::file(what, "pass --quantity");
        problems.add(problem.in_column(&catalogue.columns.stock));
    }
    let mut totals = Totals {
        units: Some(0),
        value_minor: Some(0),
        passed_over: catalogue.passed_over,
        ..Totals::default()
    };
    let out: Vec<PreviewRow> =
        rows.into_iter().map(|row| count(row, &mut totals, &mut problems)).collect();
    if totals.items > MAX_ITEMS {
        let what = format!("has {} rows to sell; a sale has 10,000 items", totals.items);
        let remedy = "select fewer with --tag, --category, --handle or --sku";
        return Err(Problems::one(Problem::file(what, remedy)));
    }
    if totals.items == 0 {
        if problems.is_empty() {
            problems.add(nothing(&out));
        }
        return Err(problems);
    }
    if matches!(unknown, Unknown::All(_)) {
        return Err(problems);
    }
    if !problems.is_empty() && !options.leave_out_faulty {
        problems.set_remaining(totals.items);
        return Err(problems);
    }
    let currency = options.currency.is_none().then_some(Need::Currency);
    let quantity = match unknown {
        Unknown::Needed(rows) => Some(Need::Quantity { rows }),
        Unknown::None | Unknown::All(_) => None,
    };
    Ok(Preview {
        rows: out,
        totals,
        needs: currency.into_iter().chain(quantity).collect(),
        warnings: catalogue.warnings.clone(),
    })
}

/// Adds a row to the totals and its faults to the problems.
fn count(row: Row<'_>, totals: &mut Totals, problems: &mut Problems) -> PreviewRow {
    let Row { out: mut row, faults, .. } = row;
    for Fault { column, what, remedy } in &faults {
        let mut problem = Problem::file(what.clone(), remedy.clone().into_owned()).at_row(row.line);
        problem.column.clone_from(column);
        problems.add(problem);
    }
    let offered = row.decision == Decision::Sell;
    if let Some(fault) = faults.into_iter().next().filter(|_| offered) {
        totals.faulty += 1;
        row.decision = Decision::LeftOut(LeftOut::Faulty(Box::new(fault)));
    }
    if row.decision == Decision::Sell {
        totals.items += 1;
        let units = row.units;
        totals.units = totals.units.zip(units).and_then(|(sum, units)| sum.checked_add(units));
        let value = row.price_minor.zip(units).and_then(|(p, units)| p.checked_mul(units));
        totals.value_minor =
            totals.value_minor.zip(value).and_then(|(sum, value)| sum.checked_add(value));
    } else {
        totals.left_out += 1;
    }
    row
}

/// A file of which nothing is sold although no row is faulty.
fn nothing(rows: &[PreviewRow]) -> Problem {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for row in rows {
        if let Decision::LeftOut(why) = &row.decision {
            let why = why.to_string();
            match reasons.iter().position(|(known, _)| *known == why) {
                Some(at) => reasons[at].1 += 1,
                None if reasons.len() < 10 => reasons.push((why, 1)),
                None => {}
            }
        }
    }
    if reasons.is_empty() {
        return Problem::file(
            "has no variant to sell: it has no rows",
            "export the products again",
        );
    }
    let reasons: Vec<String> = reasons
        .into_iter()
        .map(|(why, rows)| format!("of {} {why}", counted(rows, "row")))
        .collect();
    Problem::file(
        format!("has no variant to sell: {}", reasons.join(", ")),
        "publish the products, or select others",
    )
}
