//! A caller that is known.

use std::collections::BTreeSet;

use uuid::Uuid;

/// A caller that is known by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name, for the audit log and for rules that name services.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The sales it reaches.
    pub sales: Sales,
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
}

impl Kind {
    /// Its name in a file of keys, in the log and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shop => "shop",
            Self::Operator => "operator",
            Self::Service => "service",
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
}
