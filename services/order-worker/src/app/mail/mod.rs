//! How a mail is written. Values that a buyer or a shop typed are reduced to one line first, so
//! that none of them can add a header.

mod templates;

use lettre::{
    Message,
    address::AddressError,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
};

pub use templates::{Rendered, Templates, TemplatesError};

use crate::domain::mail::{Mail, one_line};

/// Why a mail cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The buyer's address is not a mail address.
    #[error("the address is not a valid mail address")]
    Address(#[from] AddressError),
    /// A template fails.
    #[error("a template cannot be rendered: {0}")]
    Template(#[from] minijinja::Error),
    /// The headers and texts do not make a valid message.
    #[error("the mail cannot be built: {0}")]
    Build(#[from] lettre::error::Error),
}

/// Writes mails: texts from templates, headers from the configuration.
#[derive(Debug)]
pub struct Writer {
    /// The texts, by language.
    pub templates: Templates,
    /// The sender.
    pub from: Mailbox,
    /// The right-hand side of message ids.
    pub message_id_domain: String,
}

impl Writer {
    /// The message for `mail`. The same mail always gets the same message id, so that a mail client
    /// shows one that was sent twice once.
    ///
    /// # Errors
    /// See [`MailError`].
    pub fn write(&self, mail: &Mail) -> Result<Message, MailError> {
        let rendered = self.templates.render(mail)?;
        let name = one_line(&mail.name);
        let to = Mailbox::new((!name.is_empty()).then_some(name), mail.email.parse()?);
        let (order, about) = (mail.order_id.to_string(), mail.topic.name().into_owned());
        let message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(one_line(&rendered.subject))
            .message_id(Some(format!("<{order}.{about}@{}>", self.message_id_domain)))
            .header(OrderHeader(order))
            .header(AboutHeader(about))
            .multipart(MultiPart::alternative_plain_html(rendered.text, rendered.html))?;
        Ok(message)
    }
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
    /// The order, for programs that sort mails.
    OrderHeader = "X-Flashsale-Order"
}
header! {
    /// What the mail is about.
    AboutHeader = "X-Flashsale-About"
}
