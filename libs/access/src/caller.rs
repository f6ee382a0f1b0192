//! A caller that is known.

use std::collections::BTreeSet;

use uuid::Uuid;

/// The longest name of a caller.
pub(crate) const MAX_NAME: usize = 64;

/// Whether a text may be a caller's name: 1 to 64 letters, digits and signs of ASCII, no spaces.
pub fn is_caller_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic())
}

/// A caller that is known by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name, for the audit log and for rules that name services.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The sales it reaches.
    pub sales: Sales,
    /// The buyer whom it is, or speaks for alone; `None` for all of them.
    pub buyer: Option<String>,
}

/// What a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A shop's backend, which calls for its buyers.
    Shop,
    /// A person on call, or a tool of theirs.
    Operator,
    /// One of our services; the caller's name says which.
    Service,
    /// One buyer of a shop, who calls with a token of that shop; the caller's name is the shop's.
    Buyer,
}

impl Kind {
    /// Its name in a file of keys, in the log and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Operator => "operator",
            Self::Service => "service",
            Self::Buyer => "buyer",
        }
    }
}

/// The sales that a caller reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sales {
    /// Every sale, also those to come.
    All,
    /// These alone.
    Only(BTreeSet<Uuid>),
}

impl Caller {
    /// Whether it may see and change what belongs to this sale.
    pub fn reaches(&self, sale_id: Uuid) -> bool {
        match &self.sales {
            Sales::All => true,
            Sales::Only(sales) => sales.contains(&sale_id),
        }
    }

    /// Whether it may see and change what belongs to this buyer of a sale that it reaches.
    pub fn speaks_for(&self, buyer_id: &str) -> bool {
        self.buyer.as_deref().is_none_or(|own| own == buyer_id)
    }
}
