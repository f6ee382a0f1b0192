//! Whom to write to, and what an order carries besides its lines.

use flashsale_record::OrderDetails;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const MAX_EMAIL_CHARS: usize = 254;
const MAX_NAME_CHARS: usize = 128;
const MAX_METHOD_CHARS: usize = 128;
/// The length that BCP 47 recommends to support.
const MAX_LOCALE_CHARS: usize = 35;

/// A field that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// The path of the field in the request.
    pub field: &'static str,
    /// What is wrong, and what would be accepted.
    pub problem: &'static str,
}

const fn wrong(field: &'static str, problem: &'static str) -> InputError {
    InputError { field, problem }
}

/// Whom to write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    email: String,
    name: String,
    locale: String,
}

impl Contact {
    /// An address that mail can be sent to, a name that fits on one line, and a language tag or
    /// none. They end up in mail headers and file names: nothing passes that could start a new
    /// header or lead into another folder.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn new(email: &str, name: &str, locale: &str) -> Result<Self, InputError> {
        let refuse = wrong(
            "contact.email",
            "must be one mail address such as ada@example.com, at most 254 ASCII characters",
        );
        let plain = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
        let Some((local, domain)) = email.rsplit_once('@') else { return Err(refuse) };
        let usable = email.len() <= MAX_EMAIL_CHARS
            && !local.is_empty()
            && local.len() <= 64
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..")
            && local.chars().all(|c| plain(c) && c != '@')
            && domain.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            });
        if !usable {
            return Err(refuse);
        }
        let length = name.chars().count();
        if length == 0 || length > MAX_NAME_CHARS || name.chars().any(char::is_control) {
            return Err(wrong("contact.name", "must be 1 to 128 characters without line breaks"));
        }
        let tag = |part: &str| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if !locale.is_empty() && (locale.len() > MAX_LOCALE_CHARS || !locale.split('-').all(tag)) {
            return Err(wrong(
                "contact.locale",
                "must be a language tag such as de or de-AT, or empty",
            ));
        }
        Ok(Self { email: email.to_owned(), name: name.to_owned(), locale: locale.to_owned() })
    }
}

/// What a hold keeps of its order besides its lines. The request id binds its JSON, so that the
/// order of the fields is fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    #[serde(flatten)]
    pub order: OrderDetails,
    /// The lost hold that the lines replace. Part of the request, and so of what its id binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead_of: Option<Uuid>,
}

impl Details {
    /// Of a contact and a token of the payment method.
    ///
    /// # Errors
    /// `payment_method` cannot be a provider's token.
    pub fn new(contact: Contact, payment_method: &str) -> Result<Self, InputError> {
        Ok(Self {
            order: OrderDetails {
                email: contact.email,
                contact_name: contact.name,
                payment_method: self::payment_method(payment_method)?.to_owned(),
                locale: contact.locale,
            },
            instead_of: None,
        })
    }
}

/// A token of the payment provider's.
///
/// # Errors
/// `payment_method` cannot be one.
pub fn payment_method(token: &str) -> Result<&str, InputError> {
    // Digits without a letter are a card number, however grouped: it must go no further.
    let word = token.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let number = !token.chars().any(|c| c.is_ascii_alphabetic());
    if token.is_empty() || token.len() > MAX_METHOD_CHARS || !word || number {
        return Err(wrong(
            "payment_method",
            "must be the payment provider's token such as pm_card_visa, never a card number",
        ));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_addresses_are_refused() {
        for email in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@@example.com",
            "ada @example.com",
            "ada@exa mple.com",
            "ada@-a.com",
            "ada@example.com\r\nBcc: eve@example.com",
            "a..b@example.com",
            "<ada@example.com>",
            "ada@example.com,eve@example.com",
        ] {
            assert_eq!(
                Contact::new(email, "Ada", "").unwrap_err().field,
                "contact.email",
                "{email:?}"
            );
        }
        assert!(Contact::new("ada.l+sale@mail.example.com", "Ada Lovelace", "de-AT").is_ok());
    }

    #[test]
    fn names_cannot_inject_headers() {
        assert_eq!(
            Contact::new("a@b.co", "Ada\r\nBcc: eve@b.co", "").unwrap_err().field,
            "contact.name"
        );
        assert_eq!(Contact::new("a@b.co", "", "").unwrap_err().field, "contact.name");
    }

    #[test]
    fn locale_must_be_a_tag() {
        for locale in [
            "../../etc",
            "de_AT",
            "de-",
            "-",
            "deutschland-ost",
            "d\u{e9}",
            "de\r\n",
            &"de-".repeat(20),
        ] {
            let refused = Contact::new("a@b.co", "Ada", locale).unwrap_err();
            assert_eq!(refused.field, "contact.locale", "{locale:?}");
        }
        for locale in ["", "de", "zh-Hant-TW", "es-419"] {
            assert!(Contact::new("a@b.co", "Ada", locale).is_ok(), "{locale}");
        }
    }

    #[test]
    fn card_numbers_are_refused() {
        let contact = Contact::new("a@b.co", "Ada", "").unwrap();
        for method in
            ["4242424242424242", "4242 4242 4242 4242", "4242-4242-4242-4242", "", "pm card"]
        {
            assert_eq!(Details::new(contact.clone(), method).unwrap_err().field, "payment_method");
        }
        assert!(Details::new(contact, "pm_1NhQ2e2eZvKYlo2C0bXx").is_ok());
    }

    proptest! {
        #[test]
        fn accepted_contacts_stay_on_one_line(
            email in ".{0,40}@.{0,40}",
            name in any::<String>(),
        ) {
            if let Ok(contact) = Contact::new(&email, &name, "") {
                prop_assert!(!contact.email.chars().any(char::is_control));
                prop_assert!(!contact.name.chars().any(char::is_control));
            }
        }
    }
}
