//! Everything that is wrong with one request, in a bounded list, so that a caller learns of all
//! problems at once.

/// The most problems that are listed; the others are counted.
const MAX_LISTED: usize = 50;
/// The most text in the list, in bytes. It travels in HTTP/2 trailers, of which many clients accept
/// 16 KiB.
const MAX_TEXT_BYTES: usize = 8_000;

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A field of the request.
    Argument,
    /// A number of units in the request.
    Quantity,
    /// A place in an export.
    Export,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the field in the request, as in `items[3].unit_price`, or the place in the
    /// export, as in `row 12, column Variant Price`.
    pub field: String,
    /// What is wrong there and what would be right.
    pub what: String,
}

/// The problems of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    text_bytes: usize,
    more: usize,
    arguments: usize,
    quantities: usize,
    exports: usize,
    remaining: Option<usize>,
}

impl Problems {
    /// No problems.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem; only counts it if the list is full.
    pub fn add(&mut self, kind: Kind, field: impl Into<String>, what: impl Into<String>) {
        self.count_kind(kind, 1);
        let problem = Problem { field: field.into(), what: what.into() };
        let bytes = problem.field.len() + problem.what.len();
        if self.more > 0
            || self.listed.len() == MAX_LISTED
            || self.text_bytes + bytes > MAX_TEXT_BYTES
        {
            self.more += 1;
        } else {
            self.text_bytes += bytes;
            self.listed.push(problem);
        }
    }

    /// Counts further problems that were found but not described. None is listed after them.
    pub fn add_unlisted(&mut self, kind: Kind, count: usize) {
        self.count_kind(kind, count);
        self.more += count;
    }

    fn count_kind(&mut self, kind: Kind, count: usize) {
        match kind {
            Kind::Argument => self.arguments += count,
            Kind::Quantity => self.quantities += count,
            Kind::Export => self.exports += count,
        }
    }

    /// Sets how many rows of the export would be sold if the faulty ones were left out.
    pub fn set_remaining(&mut self, rows: Option<usize>) {
        self.remaining = rows;
    }

    /// How many rows of the export would be sold if the faulty ones were left out; `None` where
    /// leaving them out would not help.
    pub fn remaining(&self) -> Option<usize> {
        self.remaining
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there are, listed or not.
    pub fn count(&self) -> usize {
        self.listed.len() + self.more
    }

    /// The problems that are listed.
    pub fn listed(&self) -> &[Problem] {
        &self.listed
    }

    /// How many are not listed.
    pub fn more(&self) -> usize {
        self.more
    }

    /// What the request as a whole is refused for: the export if it has problems, quantities if
    /// nothing else has.
    pub fn kind(&self) -> Kind {
        if self.exports > 0 {
            Kind::Export
        } else if self.arguments > 0 {
            Kind::Argument
        } else {
            Kind::Quantity
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_problems_are_listed() {
        let mut problems = Problems::new();
        assert!(problems.is_empty());
        for row in 0..62 {
            problems.add(Kind::Export, format!("row {row}"), "is wrong");
        }
        assert_eq!((problems.listed().len(), problems.more(), problems.count()), (50, 12, 62));
        assert_eq!(problems.listed()[49].field, "row 49");
    }

    #[test]
    fn the_list_is_bounded_in_bytes_too() {
        let mut problems = Problems::new();
        for _ in 0..10 {
            problems.add(Kind::Argument, "settings.name", "x".repeat(1_000));
        }
        assert!(problems.listed().len() < 10);
        assert_eq!(problems.count(), 10);
    }

    #[test]
    fn unlisted_problems_are_counted() {
        let mut problems = Problems::new();
        problems.add(Kind::Argument, "settings.name", "is empty");
        problems.add_unlisted(Kind::Export, 7);
        assert_eq!((problems.listed().len(), problems.count()), (1, 8));
        assert_eq!(problems.kind(), Kind::Export);
    }

    #[test]
    fn quantities_alone_are_a_quantity_problem() {
        let mut problems = Problems::new();
        problems.add(Kind::Quantity, "items[0].quantity", "is 0");
        assert_eq!(problems.kind(), Kind::Quantity);
        problems.add(Kind::Argument, "settings.name", "is empty");
        assert_eq!(problems.kind(), Kind::Argument);
        problems.add(Kind::Export, "row 2", "is ragged");
        assert_eq!(problems.kind(), Kind::Export);
    }
}
