//! What is asked for a unit.

use iso_currency::Currency;
use time::Duration;

use super::{
    Row,
    options::{Amounts, PriceRule, Rounding, SelectOptions},
};
use crate::{
    money,
    problems::shown,
    row::{Catalogue, Variant},
};

const GIVE_ONE: &str = "give the variant its price";

/// Sets both prices of a row, or adds a fault.
pub(super) fn set(
    row: &mut Row<'_>,
    catalogue: &Catalogue,
    options: &SelectOptions,
    amounts: Amounts,
) {
    let (variant, columns) = (row.variant, &catalogue.columns);
    let mark = catalogue.decimal_mark;
    let read = |text: &str| money::price(text, options.currency, mark);
    let regular = read(&variant.regular_price);
    row.out.regular_minor = regular.ok().filter(|_| options.currency.is_some());

    let sale = Some(&variant.sale_price).filter(|_| options.price == PriceRule::FromFile);
    let sale = sale.filter(|text| !text.is_empty() && in_its_dates(variant, options, row));
    let (text, column) = match sale {
        Some(sale) => (sale, &columns.sale_price),
        None => (&variant.regular_price, &columns.price),
    };
    let fixed = matches!(options.price, PriceRule::Fixed(_));
    let from_file = if fixed { Ok(1) } else { read(text) };
    let from_file = match from_file {
        Ok(minor) => minor,
        Err(_) if text.is_empty() => return row.fault(column, "is empty", GIVE_ONE),
        Err(problem) => {
            let (what, remedy) = problem.explain(text, options.currency, mark);
            return row.fault(column, what, remedy);
        }
    };
    if from_file == 0 {
        let remedy =
            "only what has a price above 0 can be sold; pass --leave-out-faulty to sell the others";
        return row.fault(column, format!("is {}", shown(text)), remedy);
    }
    if matches!(options.price, PriceRule::FromFile | PriceRule::Regular) {
        row.out.price_text = Some(text.clone());
    }
    let Some(currency) = options.currency else { return };
    row.out.file_minor = Some(from_file).filter(|_| !fixed);
    let price = match (&options.price, amounts.price) {
        (PriceRule::FromFile | PriceRule::Regular, _) => from_file,
        (PriceRule::PercentOff(percent), _) => {
            let part = i128::from(from_file) * (10_000 - percent.hundredths());
            round(part, 10_000, amounts.step, options.rounding)
        }
        (PriceRule::AmountOff(_), Some(amount)) => {
            if amount >= from_file {
                let (price, off) =
                    (money::amount(from_file, currency), money::amount(amount, currency));
                let what = format!("is {price}, of which {off} off leave nothing");
                return row.fault(column, what, "lower --amount-off, or select other rows");
            }
            round(i128::from(from_file - amount), 1, amounts.step, options.rounding)
        }
        (PriceRule::Fixed(_), Some(fixed)) => fixed,
        (PriceRule::AmountOff(_) | PriceRule::Fixed(_), None) => return,
    };
    if let Some((what, remedy)) = money::uncharged_price(price, currency) {
        let calculated = price != from_file && !fixed;
        let what = if calculated { format!("with what is off {what}") } else { what };
        return row.fault(column, what, remedy);
    }
    row.out.price_minor = Some(price);
    warn(row, price, currency, catalogue);
}

/// Says where the price is no good deal.
fn warn(row: &mut Row<'_>, price: i64, currency: Currency, catalogue: &Catalogue) {
    let above = |other: i64| money::amount(other, currency);
    if let Some(regular) = row.out.regular_minor.filter(|regular| price > *regular && *regular > 0)
    {
        let text = format!("{} is above the regular price of {}", above(price), above(regular));
        row.out.warnings.push(text);
        return;
    }
    let sale = money::price(&row.variant.sale_price, Some(currency), catalogue.decimal_mark);
    if let Ok(sale) = sale
        && sale > 0
        && price > sale
    {
        let text =
            format!("{} is above the shop's own sale price of {}", above(price), above(sale));
        row.out.warnings.push(text);
    }
}

/// Whether the shop's own sale is on when ours begins.
fn in_its_dates(variant: &Variant, options: &SelectOptions, row: &mut Row<'_>) -> bool {
    let (from, until) = (variant.sale_from, variant.sale_until);
    if from.is_none() && until.is_none() {
        return true;
    }
    let price = shown(&variant.sale_price);
    let Some(now) = options.shop_time else {
        let text = format!(
            "the shop's sale price {price} has dates and is not used: whether the sale is within them is not known"
        );
        row.out.warnings.push(text);
        return false;
    };
    // The last second counts to its end.
    let begun = from.is_none_or(|from| from <= now);
    let ended = until.is_some_and(|until| until.saturating_add(Duration::SECOND) <= now);
    if !begun || ended {
        let text = format!("the shop's sale price {price} is not in force when the sale starts");
        row.out.warnings.push(text);
    }
    begun && !ended
}

/// `part ÷ whole`, rounded to a multiple of `step`.
fn round(part: i128, whole: i128, step: i64, rounding: Rounding) -> i64 {
    let unit = whole * i128::from(step.max(1));
    let (steps, rest) = (part.div_euclid(unit), part.rem_euclid(unit));
    let up = match rounding {
        Rounding::Nearest => rest * 2 >= unit,
        Rounding::Down => false,
        Rounding::Up => rest > 0,
    };
    let rounded = (steps + i128::from(up)) * i128::from(step.max(1));
    i64::try_from(rounded).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_rounded_to_their_step() {
        for (minor, percent, step, expected) in [
            // Nearest, down, up.
            (1_990, 2_000, 1, [1_592, 1_592, 1_592]),
            (1_999, 1_500, 1, [1_699, 1_699, 1_700]),
            (1_999, 1_500, 5, [1_700, 1_695, 1_700]),
            (1_997, 1_500, 5, [1_695, 1_695, 1_700]),
            (1_250, 1_000, 10, [1_130, 1_120, 1_130]),
            (100, 10_000, 1, [0, 0, 0]),
        ] {
            let part = i128::from(minor) * (10_000 - percent);
            let found = [Rounding::Nearest, Rounding::Down, Rounding::Up]
                .map(|rounding| round(part, 10_000, step, rounding));
            assert_eq!(found, expected, "{minor} {percent} {step}");
        }
    }
}
