//! The lines of a request.

use std::collections::BTreeMap;

use flashsale_record::MAX_LINE_UNITS;

/// The most lines of one request.
pub const MAX_LINES: usize = 50;
/// The highest total of one hold of any sale, and the highest price, in minor units: bounded by the
/// 14 digits that the scripts write exactly.
pub const MAX_TOTAL_MINOR: i64 = 90_000_000_000_000;
/// The longest sku, in characters.
const MAX_SKU_CHARS: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub sku: String,
    pub quantity: i64,
}

/// The lines of a request: 1 to [`MAX_LINES`], sorted by sku, each sku once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

/// Why lines are refused; `index` is the position of the line in the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinesError {
    None,
    /// There are more than [`MAX_LINES`]: this many.
    TooMany(usize),
    /// A sku is empty, too long or has control characters.
    Sku {
        index: usize,
    },
    /// A quantity, or the sum of the quantities of one sku, is not within 1 to [`MAX_LINE_UNITS`].
    Quantity {
        index: usize,
    },
}

impl Lines {
    /// Sums the lines of each sku and sorts them: a sku is checked and taken once, however its
    /// units were split.
    ///
    /// # Errors
    /// See [`LinesError`].
    pub fn new(lines: impl IntoIterator<Item = Line>) -> Result<Self, LinesError> {
        let lines: Vec<Line> = lines.into_iter().collect();
        if lines.is_empty() {
            return Err(LinesError::None);
        }
        if lines.len() > MAX_LINES {
            return Err(LinesError::TooMany(lines.len()));
        }
        let mut sums = BTreeMap::new();
        for (index, line) in lines.into_iter().enumerate() {
            let chars = line.sku.chars().count();
            if chars == 0 || chars > MAX_SKU_CHARS || line.sku.chars().any(char::is_control) {
                return Err(LinesError::Sku { index });
            }
            if !(1..=MAX_LINE_UNITS).contains(&line.quantity) {
                return Err(LinesError::Quantity { index });
            }
            let sum = sums.entry(line.sku).or_insert(0);
            *sum += line.quantity;
            if *sum > MAX_LINE_UNITS {
                return Err(LinesError::Quantity { index });
            }
        }
        Ok(Self(sums.into_iter().map(|(sku, quantity)| Line { sku, quantity }).collect()))
    }

    /// The lines, by sku.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.0.iter()
    }

    /// How many skus there are.
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    fn line(sku: &str, quantity: i64) -> Line {
        Line { sku: sku.to_owned(), quantity }
    }

    #[test]
    fn lines_of_one_sku_merge() {
        let lines = Lines::new([line("b", 1), line("a", 2), line("b", 3)]).unwrap();
        assert_eq!(lines.0, [line("a", 2), line("b", 4)]);
    }

    #[test]
    fn invalid_lines_name_their_index() {
        let many = std::iter::repeat_n(line("a", 1), MAX_LINES + 1);
        for (asked, error) in [
            (vec![], LinesError::None),
            (many.collect(), LinesError::TooMany(MAX_LINES + 1)),
            (vec![line("a", 1), line("", 1)], LinesError::Sku { index: 1 }),
            (vec![line("a\u{1f}b", 1)], LinesError::Sku { index: 0 }),
            (vec![line(&"x".repeat(MAX_SKU_CHARS + 1), 1)], LinesError::Sku { index: 0 }),
            (vec![line("a", 0)], LinesError::Quantity { index: 0 }),
            (vec![line("a", 1), line("b", -1)], LinesError::Quantity { index: 1 }),
            (vec![line("a", MAX_LINE_UNITS + 1)], LinesError::Quantity { index: 0 }),
            (vec![line("a", i64::MAX)], LinesError::Quantity { index: 0 }),
            (vec![line("a", MAX_LINE_UNITS), line("a", 1)], LinesError::Quantity { index: 1 }),
        ] {
            assert_eq!(Lines::new(asked), Err(error));
        }
    }

    proptest! {
        #[test]
        fn summing_keeps_units_in_any_order(
            asked in prop::collection::vec(("[a-d]{1,2}", 1i64..=100), 1..=MAX_LINES),
        ) {
            let asked: Vec<Line> = asked.iter().map(|(sku, quantity)| line(sku, *quantity)).collect();
            let lines = Lines::new(asked.clone()).unwrap();
            prop_assert!(lines.0.windows(2).all(|pair| pair[0].sku < pair[1].sku));
            for sum in lines.iter() {
                let units: i64 = asked.iter().filter(|line| line.sku == sum.sku).map(|line| line.quantity).sum();
                prop_assert_eq!(sum.quantity, units);
            }
            let units = |lines: &[Line]| lines.iter().map(|line| line.quantity).sum::<i64>();
            prop_assert_eq!(units(&lines.0), units(&asked));
            let backwards = Lines::new(asked.into_iter().rev()).unwrap();
            prop_assert_eq!(lines, backwards);
        }
    }
}
