//! How long units stay held in other shop systems.

use clap::ValueEnum;

/// The length of a hold without a policy, in seconds.
pub(super) const HOLD_S: i64 = 600;

/// A shop system whose length of holds a sale keeps. Its backorders are not kept: a sale never
/// sells what it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Policy {
    /// Holds of 60 minutes: "Hold stock (minutes)" for unpaid orders, by default.
    Woocommerce,
    /// Holds of 10 minutes: what a checkout reserves while it is paid for.
    Shopify,
    /// Holds of 10 minutes, our own default: it holds no stock before an order is placed.
    Bigcommerce,
}

impl Policy {
    /// The length of a hold, in seconds.
    pub(super) const fn hold_seconds(self) -> i64 {
        match self {
            Self::Woocommerce => 3_600,
            Self::Shopify => 600,
            Self::Bigcommerce => HOLD_S,
        }
    }
}
