//! What the caller decides about a sale, and whether that makes sense.

use flashsale_record::chargeable;
use flashsale_zones::{UnknownZone, Zone};
use iso_currency::Currency;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::{MAX_ITEMS, MAX_QUANTITY};
use crate::{
    money::{self, DecimalMark, PriceProblem},
    problems::{Problem, Problems, shown},
};

/// What the caller decides.
#[derive(Debug, Clone, Default)]
pub struct SelectOptions {
    /// The currency of the prices.
    pub currency: Option<Currency>,
    /// Which rows.
    pub selection: Selection,
    /// At which price.
    pub price: PriceRule,
    /// Which way a price that falls between two steps goes.
    pub rounding: Rounding,
    /// The step of prices that are calculated, as a decimal; `None` for the smallest that the
    /// currency is charged in.
    pub round_to: Option<String>,
    /// How many units.
    pub units: UnitsRule,
    /// What becomes of stock that several variants have together.
    pub shared_stock: SharedStock,
    /// Units one buyer may hold and buy of each item; 0 means no limit. Where the file has a lower
    /// limit, that one holds.
    pub per_buyer_limit: i64,
    /// What becomes of a sku that several rows have.
    pub duplicate_skus: DuplicateSkus,
    /// Whether what cannot be sold is left out, instead of the file being refused.
    pub leave_out_faulty: bool,
    /// When the sale begins, by the shop's clock ([`shop_time`]): the shop's own sale prices have
    /// dates.
    pub shop_time: Option<PrimitiveDateTime>,
    /// Whether a missing currency or quantity is a need of the preview instead of a problem.
    pub dry_run: bool,
}

/// When a sale begins by the clock of a shop in this time zone; UTC without a name. `None` where it
/// is not known when it begins.
///
/// # Errors
/// [`UnknownZone`], also where the beginning is not known.
pub fn shop_time(
    starts_at: Option<OffsetDateTime>,
    time_zone: &str,
) -> Result<Option<PrimitiveDateTime>, UnknownZone> {
    let zone = if time_zone.is_empty() { Zone::utc() } else { Zone::find(time_zone)? };
    Ok(starts_at.and_then(|at| zone.local(at)))
}

/// Which rows are sold. One of each list that is not empty has to fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Skus.
    pub skus: Vec<String>,
    /// Handles of products, in any case.
    pub handles: Vec<String>,
    /// Tags of products, in any case.
    pub tags: Vec<String>,
    /// Categories of products, in any case: the whole with ` > ` between its levels, its beginning,
    /// or one level.
    pub categories: Vec<String>,
}

/// What is asked for a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PriceRule {
    /// The price of the shop's own sale where it has one, else the regular one.
    #[default]
    FromFile,
    /// The regular price.
    Regular,
    /// So much less than the regular price.
    PercentOff(Percent),
    /// This amount less than the regular price, as a decimal.
    AmountOff(String),
    /// This price for every item, as a decimal.
    Fixed(String),
}

/// A part of a hundred, in hundredths of a percent: from 0 to 100 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(u16);

impl Percent {
    /// A percentage such as `12.5`, with two decimals at most.
    pub fn from_text(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 2 {
            return None;
        }
        let hundredths: u16 = format!("{whole}{decimals:0<2}").parse().ok()?;
        (hundredths <= 10_000).then_some(Self(hundredths))
    }

    /// In hundredths of a percent.
    pub(super) fn hundredths(self) -> i128 {
        i128::from(self.0)
    }
}

/// Which way a calculated price is rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest step; up from half of one.
    #[default]
    Nearest,
    /// To the step below.
    Down,
    /// To the step above.
    Up,
}

/// How many units are sold of an item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnitsRule {
    /// What the shop has.
    #[default]
    FromFile,
    /// So many of each, whatever the shop has.
    Fixed(i64),
    /// A part of what the shop has, rounded down.
    Share {
        /// The part.
        percent: Percent,
        /// The most of each item.
        cap: Option<i64>,
    },
}

/// What becomes of stock that the variants of a product have together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SharedStock {
    /// It is a problem: sold once for each variant, there would not be enough.
    #[default]
    Refuse,
    /// It is divided evenly between the variants that are sold; what does not divide goes to the
    /// first.
    Split,
}

/// What becomes of a sku that several rows have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DuplicateSkus {
    /// It is a problem.
    #[default]
    Refuse,
    /// The first row is sold, the others are left out.
    First,
    /// Each of the rows is named after its product and options instead.
    NameByOptions,
}

/// The options in minor units.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Amounts {
    /// The amount off, or the fixed price.
    pub(super) price: Option<i64>,
    /// The step of calculated prices; at least 1.
    pub(super) step: i64,
}

/// Checks the options. What it returns is good only if it adds no problem.
pub(super) fn check(options: &SelectOptions, problems: &mut Problems) -> Amounts {
    let mut wrong = |option: &str, what: String, remedy: &str| {
        problems.add(Problem::option(option, what, remedy));
    };
    let step = options.currency.and_then(|currency| chargeable(currency.code()));
    match options.currency {
        Some(currency) if step.is_none() => {
            let what = format!("is {}, which cards are not charged in", currency.code());
            wrong("--currency", what, "docs.stripe.com/currencies lists the others");
        }
        None if !options.dry_run => {
            let remedy = "pass the shop's currency, such as EUR";
            wrong("--currency", "is missing: the file does not name one".to_owned(), remedy);
        }
        Some(_) | None => {}
    }
    let units = format!("it must be 1 to {MAX_QUANTITY}");
    match options.units {
        UnitsRule::Fixed(units_each) if !(1..=MAX_QUANTITY).contains(&units_each) => {
            wrong("--quantity", format!("is {units_each}"), &units);
        }
        UnitsRule::Share { cap: Some(cap), .. } if !(1..=MAX_QUANTITY).contains(&cap) => {
            wrong("--stock-cap", format!("is {cap}"), &units);
        }
        UnitsRule::Share { percent, .. } if percent.hundredths() == 0 => {
            wrong("--stock-share", "is 0".to_owned(), "it must be above 0");
        }
        UnitsRule::FromFile | UnitsRule::Fixed(_) | UnitsRule::Share { .. } => {}
    }
    if !(0..=MAX_QUANTITY).contains(&options.per_buyer_limit) {
        let remedy = format!("{units}, or 0 for no limit");
        wrong("--per-buyer-limit", format!("is {}", options.per_buyer_limit), &remedy);
    }
    let selection = &options.selection;
    for (option, names) in [
        ("--sku", &selection.skus),
        ("--handle", &selection.handles),
        ("--tag", &selection.tags),
        ("--category", &selection.categories),
    ] {
        if names.len() > MAX_ITEMS {
            wrong(option, format!("is there {} times", names.len()), "10,000 times are allowed");
        }
        if names.iter().any(|name| name.trim().is_empty()) {
            wrong(option, "is empty".to_owned(), "name what to select");
        }
    }
    let mut amount =
        |option: &str, text: &str| match money::price(text, options.currency, DecimalMark::Point) {
            Ok(0) => {
                wrong(option, format!("is {}", shown(text)), "it must be above 0");
                None
            }
            Ok(minor) => Some(minor).filter(|_| options.currency.is_some()),
            Err(problem) => {
                let (what, remedy) = if problem == PriceProblem::NotANumber {
                    (format!("is {}", shown(text)), "write a decimal such as 19.90".to_owned())
                } else {
                    problem.explain(text, options.currency, DecimalMark::Point)
                };
                wrong(option, what, &remedy);
                None
            }
        };
    let price = match &options.price {
        PriceRule::AmountOff(text) => amount("--amount-off", text),
        PriceRule::Fixed(text) => amount("--price", text),
        PriceRule::FromFile | PriceRule::Regular | PriceRule::PercentOff(_) => None,
    };
    let least = step.map_or(1, |charged| charged.step_minor.max(1));
    let asked = options.round_to.as_ref().and_then(|text| amount("--round-to", text));
    if let (Some(asked), Some(currency)) = (asked, options.currency)
        && asked % least != 0
    {
        let what = format!("is {}", money::amount(asked, currency));
        wrong("--round-to", what, &format!("it must be a multiple of {least} minor units"));
    }
    Amounts { price, step: asked.unwrap_or(least) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals() {
        for (text, hundredths) in [
            ("20", Some(2_000)),
            ("12.5", Some(1_250)),
            ("0.05", Some(5)),
            ("100", Some(10_000)),
            ("100.01", None),
            ("12.345", None),
            ("-1", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("99999", None),
        ] {
            assert_eq!(Percent::from_text(text).map(Percent::hundredths), hundredths, "{text}");
        }
    }
}
