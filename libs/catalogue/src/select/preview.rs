//! What a sale of a file would be.

use std::fmt;

use crate::{problems::counted, row::Fault};

/// What would be sold of a file, and what would not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// A row for each variant of the catalogue, in its order.
    pub rows: Vec<PreviewRow>,
    /// All rows together.
    pub totals: Totals,
    /// What is still missing to sell it; only in a dry run.
    pub needs: Vec<Need>,
    /// What is worth knowing of the file.
    pub warnings: Vec<String>,
}

/// What becomes of one variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewRow {
    /// Its place in [`crate::Catalogue::variants`].
    pub variant: usize,
    /// The line of the file; in JSON the number of the item, from 1.
    pub line: usize,
    /// What it is sold as.
    pub sku: String,
    /// Its title.
    pub title: String,
    /// The regular price, in minor units; `None` where it is not known.
    pub regular_minor: Option<i64>,
    /// The price in the file that the sale's is made from, in minor units; `None` where the sale
    /// has a fixed one, or the currency is not known.
    pub file_minor: Option<i64>,
    /// What is asked for a unit, in minor units; `None` where it is not known.
    pub price_minor: Option<i64>,
    /// The price as the file writes it, where it is taken from there: known without a currency.
    pub price_text: Option<String>,
    /// Units on sale; `None` where they are not known.
    pub units: Option<i64>,
    /// Units that one buyer may have; `None` for no limit.
    pub limit: Option<i64>,
    /// Whether it is sold.
    pub decision: Decision,
    /// What is worth knowing of it.
    pub warnings: Vec<String>,
}

/// Whether a row is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Sell,
    /// It is not.
    LeftOut(LeftOut),
}

/// Why a row is not sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// The selection does not include it.
    NotSelected,
    /// The product is a draft.
    Draft,
    /// The product is archived.
    Archived,
    /// The shop does not show the product, or only to its staff.
    Unpublished,
    /// The shop shows the product to those only who have its address.
    Unlisted,
    /// The shop does not let it be bought.
    NotForSale,
    /// It is not sold in the market.
    OutsideMarket,
    /// It is a gift card.
    GiftCard,
    /// It is several products, each of which is sold by itself.
    Grouped,
    /// Another shop sells it.
    External,
    /// It is a product whose variants are not in the file.
    NoVariants,
    /// It is of a kind that an extension of the shop has brought.
    OtherKind,
    /// An earlier row has its sku: the one on this line.
    Duplicate(usize),
    /// It cannot be sold as it is.
    Faulty(Box<Fault>),
}

impl LeftOut {
    /// A name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotSelected => "NOT_SELECTED",
            Self::Draft => "DRAFT",
            Self::Archived => "ARCHIVED",
            Self::Unpublished => "UNPUBLISHED",
            Self::Unlisted => "UNLISTED",
            Self::NotForSale => "NOT_FOR_SALE",
            Self::OutsideMarket => "OUTSIDE_MARKET",
            Self::GiftCard => "GIFT_CARD",
            Self::Grouped => "GROUPED",
            Self::External => "EXTERNAL",
            Self::NoVariants => "NO_VARIANTS",
            Self::OtherKind => "OTHER_KIND",
            Self::Duplicate(_) => "DUPLICATE",
            Self::Faulty(_) => "FAULTY",
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSelected => "it is not selected",
            Self::Draft => "its product is a draft",
            Self::Archived => "its product is archived",
            Self::Unpublished => "its product is not published",
            Self::Unlisted => "its product is unlisted: only its address leads to it",
            Self::NotForSale => "the shop does not let it be bought",
            Self::OutsideMarket => "it is not sold in this market",
            Self::GiftCard => "it is a gift card",
            Self::Grouped => "it is a group of products, each sold by itself",
            Self::External => "another shop sells it",
            Self::NoVariants => "it is a variable product without variations in the file",
            Self::OtherKind => "it is of a type that an extension of the shop has brought",
            Self::Duplicate(row) => return write!(f, "row {row} has its sku"),
            Self::Faulty(fault) => {
                if let Some(column) = &fault.column {
                    write!(f, "column {column} ")?;
                }
                return write!(f, "{}; {}", fault.what, fault.remedy);
            }
        })
    }
}

/// All rows of a preview together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows that are sold.
    pub items: usize,
    /// Their units; `None` where some are not known.
    pub units: Option<i64>,
    /// What all units cost together, in minor units; `None` where some prices or units are not
    /// known, or where it is more than 64 bits hold.
    pub value_minor: Option<i64>,
    /// Rows that are not sold, the faulty ones among them.
    pub left_out: usize,
    /// Rows that cannot be sold as they are.
    pub faulty: usize,
    /// Rows of the file that are no variant: images, rules, and products above their variants.
    pub passed_over: usize,
}

/// What is missing to sell a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The currency of the prices.
    Currency,
    /// Units of the rows whose stock the file does not say: so many.
    Quantity {
        /// Rows without stock.
        rows: usize,
    },
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Currency => f.write_str("the currency of the prices: --currency"),
            Self::Quantity { rows } => {
                let rows = counted(*rows, "row");
                write!(f, "the stock of {rows}, which the file does not say: --quantity")
            }
        }
    }
}
