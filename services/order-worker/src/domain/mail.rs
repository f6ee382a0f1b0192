//! What is written to buyers.

use std::borrow::Cow;

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
    /// All of the money goes back: what the version before wrote, which knew one refund of an
    /// order.
    Refunded,
    /// The money of this refund goes back.
    Refund(Uuid),
}

impl Topic {
    /// Its name in the outbox and in the mail's headers.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::ActionRequired => About::State(OrderState::ActionRequired),
            Self::Confirmed => About::State(OrderState::Confirmed),
            Self::Declined => About::State(OrderState::Declined),
            Self::Cancelled => About::State(OrderState::Cancelled),
            Self::Refunded => About::State(OrderState::Refunded),
            Self::Refund(refund_id) => About::Refund(refund_id),
        }
        .name()
    }

    /// Its name in the templates, where refunds have one in common.
    pub(crate) fn in_templates(self) -> Cow<'static, str> {
        match self {
            Self::Refund(_) => Self::Refunded.name(),
            Self::ActionRequired
            | Self::Confirmed
            | Self::Declined
            | Self::Cancelled
            | Self::Refunded => self.name(),
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
            About::Refund(refund_id) => Some(Self::Refund(refund_id)),
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
    /// What goes back, where that is what the mail is about.
    pub refund: Option<Refund>,
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

/// A refund, as a mail about it finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refund {
    /// It is done: this amount goes back, in minor units.
    Done(i64),
    /// It was done, and then the provider could not carry it out. It is tried again.
    UnderWay,
    /// It was done, and then the provider could not carry it out. It is given up.
    Failed,
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
