//! What is written to buyers.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{About, OrderState};

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The payment waits for its buyer.
    ActionRequired,
    /// The order is paid.
    Confirmed,
    /// The payment was refused.
    Declined,
    /// The order ended without a payment.
    Cancelled,
    /// The money goes back.
    Refunded,
}

impl Topic {
    /// Every topic there is.
    pub const ALL: [Self; 5] =
        [Self::ActionRequired, Self::Confirmed, Self::Declined, Self::Cancelled, Self::Refunded];

    /// Its name in the outbox and in the mail's headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActionRequired => "ACTION_REQUIRED",
            Self::Confirmed => "CONFIRMED",
            Self::Declined => "DECLINED",
            Self::Cancelled => "CANCELLED",
            Self::Refunded => "REFUNDED",
        }
    }

    /// The topic of a mail about this; `None` where no mail is written.
    pub const fn of(about: About) -> Option<Self> {
        match about {
            About::State(OrderState::ActionRequired) => Some(Self::ActionRequired),
            About::State(OrderState::Confirmed) => Some(Self::Confirmed),
            About::State(OrderState::Declined) => Some(Self::Declined),
            About::State(OrderState::Cancelled) => Some(Self::Cancelled),
            About::State(OrderState::Refunded) => Some(Self::Refunded),
            About::State(OrderState::DeadLetter | OrderState::Claimed | OrderState::Paying)
            | About::HoldSold
            | About::HoldReleased
            | About::CancelRequested
            | About::PaidAfterEnd => None,
        }
    }
}

/// The content of a mail.
#[derive(Debug, Clone)]
pub struct Mail {
    pub order_id: Uuid,
    pub sale_id: Uuid,
    /// What it is about.
    pub topic: Topic,
    /// The buyer's address.
    pub email: String,
    /// How to address the buyer; may be empty.
    pub name: String,
    pub sale_name: String,
    /// ISO 4217.
    pub currency: String,
    /// In minor units.
    pub total_minor: i64,
    /// What was ordered.
    pub lines: Vec<MailLine>,
    /// Where the order stands.
    pub state: OrderState,
    /// Why the order ended unpaid.
    pub end_reason: Option<String>,
    /// When it was placed.
    pub placed_at: OffsetDateTime,
    /// The buyer's language, as a language tag; empty for the shop's default.
    pub locale: String,
}

impl Mail {
    /// Whether it asks for what its buyer has done, or can do no more.
    pub fn is_over(&self) -> bool {
        self.topic == Topic::ActionRequired && self.state != OrderState::ActionRequired
    }
}

/// Units of one item.
#[derive(Debug, Clone)]
pub struct MailLine {
    /// What the shop calls it.
    pub title: String,
    pub sku: String,
    pub quantity: i64,
    /// In minor units.
    pub unit_price_minor: i64,
}

/// `value` with each run of blanks, line breaks and other control characters replaced by one blank:
/// nothing that a buyer or a shop typed can add a header.
pub(crate) fn one_line(value: &str) -> String {
    value
        .split(|character: char| character.is_control() || character.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
