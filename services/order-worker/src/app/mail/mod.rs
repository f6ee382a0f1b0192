//! What is written to buyers, and how it becomes a mail. Nothing a buyer or a shop typed can add a header: every such value is made one
//! line first.

mod templates;

use lettre::{
    Message,
    address::AddressError,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
};
use time::OffsetDateTime;
use uuid::Uuid;

pub use templates::{Rendered, Templates, TemplatesError};

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
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
    pub const ALL: [Self; 4] = [Self::Confirmed, Self::Declined, Self::Cancelled, Self::Refunded];

    /// Its name in the outbox and in the mail's headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "CONFIRMED",
            Self::Declined => "DECLINED",
            Self::Cancelled => "CANCELLED",
            Self::Refunded => "REFUNDED",
        }
    }

    /// The topic with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == name)
    }
}

/// Everything a mail says.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The order.
    pub order_id: Uuid,
    /// What it is about.
    pub topic: Topic,
    /// Whom it goes to.
    pub email: String,
    /// How to address them; may be empty.
    pub name: String,
    /// The sale.
    pub sale_name: String,
    /// ISO 4217.
    pub currency: String,
    /// In minor units.
    pub total_minor: i64,
    /// What was ordered.
    pub lines: Vec<LetterLine>,
    /// Why the order ended unpaid.
    pub end_reason: Option<String>,
    /// When it was placed.
    pub placed_at: OffsetDateTime,
    /// The language it is to be in, as a tag; empty for the shop's own.
    pub locale: String,
}

/// Units of one item.
#[derive(Debug, Clone)]
pub struct LetterLine {
    /// What the shop calls it.
    pub title: String,
    /// The sku.
    pub sku: String,
    /// Units.
    pub quantity: i64,
    /// In minor units.
    pub unit_price_minor: i64,
}

/// Why a letter cannot become a mail.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The buyer's address is none.
    #[error("the address is none")]
    Address(#[from] AddressError),
    /// A template is at fault.
    #[error("a template cannot be rendered: {0}")]
    Template(#[from] minijinja::Error),
    /// The parts do not make a mail.
    #[error("the mail cannot be built: {0}")]
    Build(#[from] lettre::error::Error),
}

/// Makes mails of letters.
#[derive(Debug)]
pub struct Writer {
    /// The texts.
    pub templates: Templates,
    /// Whom they come from.
    pub from: Mailbox,
    /// The right-hand side of message ids.
    pub message_id_domain: String,
}

impl Writer {
    /// The mail for `letter`. The same letter always has the same message id, so that a mail that was sent twice is seen to be one.
    ///
    /// # Errors
    /// See [`MailError`].
    pub fn write(&self, letter: &Letter) -> Result<Message, MailError> {
        let rendered = self.templates.render(letter)?;
        let name = one_line(&letter.name);
        let to = Mailbox::new((!name.is_empty()).then_some(name), letter.email.parse()?);
        let (order, about) = (letter.order_id.to_string(), letter.topic.as_str());
        let mail = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(one_line(&rendered.subject))
            .message_id(Some(format!("<{order}.{about}@{}>", self.message_id_domain)))
            .header(OrderHeader(order))
            .header(AboutHeader(about.to_owned()))
            .multipart(MultiPart::alternative_plain_html(rendered.text, rendered.html))?;
        Ok(mail)
    }
}

/// `value` without line breaks and other control characters, each run of them and of blanks becoming one blank.
fn one_line(value: &str) -> String {
    value
        .split(|character: char| character.is_control() || character.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

macro_rules! header {
    ($(#[$doc:meta])* $type:ident = $name:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        struct $type(String);

        impl Header for $type {
            fn name() -> HeaderName {
                HeaderName::new_from_ascii_str($name)
            }

            fn parse(value: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
                Ok(Self(value.to_owned()))
            }

            fn display(&self) -> HeaderValue {
                HeaderValue::new(Self::name(), self.0.clone())
            }
        }
    };
}

header! {
    /// The order, for whoever sorts mails by program.
    OrderHeader = "X-Flashsale-Order"
}
header! {
    /// What the mail is about.
    AboutHeader = "X-Flashsale-About"
}
