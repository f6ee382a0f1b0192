//! One call on its way through the stack.

use stripe_client_core::{IdempotencyKey, RequestBuilder, StripeMethod};

/// An operation of Stripe's that has a rate limit of its own (docs.stripe.com/rate-limits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /v1/payment_intents`.
    CreateIntent,
    /// `GET /v1/payment_intents`.
    ListIntents,
    /// `GET /v1/payment_intents/search`.
    SearchIntents,
    /// `GET /v1/payment_intents/:id`.
    RetrieveIntent,
    /// `POST /v1/payment_intents/:id/confirm`.
    ConfirmIntent,
    /// `POST /v1/payment_intents/:id/cancel`.
    CancelIntent,
    /// `POST /v1/refunds`.
    CreateRefund,
    /// `GET /v1/refunds`.
    ListRefunds,
    /// `GET /v1/events`.
    ListEvents,
    /// `GET /v1/account`.
    RetrieveAccount,
}

/// What a success of an endpoint holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    Intent,
    Intents,
    Refund,
    Refunds,
    Events,
    Account,
}

impl Endpoint {
    /// Every endpoint we call.
    pub const ALL: [Self; 10] = [
        Self::CreateIntent,
        Self::ListIntents,
        Self::SearchIntents,
        Self::RetrieveIntent,
        Self::ConfirmIntent,
        Self::CancelIntent,
        Self::CreateRefund,
        Self::ListRefunds,
        Self::ListEvents,
        Self::RetrieveAccount,
    ];

    /// The name in `provider_budgets` and in the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateIntent => "payment_intents.create",
            Self::ListIntents => "payment_intents.list",
            Self::SearchIntents => "payment_intents.search",
            Self::RetrieveIntent => "payment_intents.retrieve",
            Self::ConfirmIntent => "payment_intents.confirm",
            Self::CancelIntent => "payment_intents.cancel",
            Self::CreateRefund => "refunds.create",
            Self::ListRefunds => "refunds.list",
            Self::ListEvents => "events.list",
            Self::RetrieveAccount => "account.retrieve",
        }
    }

    /// The path, with a name where an id stands.
    pub(super) const fn template(self) -> &'static str {
        match self {
            Self::CreateIntent | Self::ListIntents => "/v1/payment_intents",
            Self::SearchIntents => "/v1/payment_intents/search",
            Self::RetrieveIntent => "/v1/payment_intents/{intent}",
            Self::ConfirmIntent => "/v1/payment_intents/{intent}/confirm",
            Self::CancelIntent => "/v1/payment_intents/{intent}/cancel",
            Self::CreateRefund | Self::ListRefunds => "/v1/refunds",
            Self::ListEvents => "/v1/events",
            Self::RetrieveAccount => "/v1/account",
        }
    }

    /// What its success holds.
    pub(super) const fn object(self) -> Object {
        match self {
            Self::CreateIntent
            | Self::RetrieveIntent
            | Self::ConfirmIntent
            | Self::CancelIntent => Object::Intent,
            Self::ListIntents | Self::SearchIntents => Object::Intents,
            Self::CreateRefund => Object::Refund,
            Self::ListRefunds => Object::Refunds,
            Self::ListEvents => Object::Events,
            Self::RetrieveAccount => Object::Account,
        }
    }

    /// Whether every request names what a buyer chose, so that a buyer can have it refused. One
    /// that creates an intent may: see [`Call::names_card`].
    pub(super) const fn carries_buyers_choice(self) -> bool {
        match self {
            Self::ConfirmIntent => true,
            Self::CreateIntent
            | Self::ListIntents
            | Self::SearchIntents
            | Self::RetrieveIntent
            | Self::CancelIntent
            | Self::CreateRefund
            | Self::ListRefunds
            | Self::ListEvents
            | Self::RetrieveAccount => false,
        }
    }

    /// Whether a request is about taking money: one about its amount says that of a payment.
    pub(super) const fn charges(self) -> bool {
        match self {
            Self::CreateIntent | Self::ConfirmIntent => true,
            Self::ListIntents
            | Self::SearchIntents
            | Self::RetrieveIntent
            | Self::CancelIntent
            | Self::CreateRefund
            | Self::ListRefunds
            | Self::ListEvents
            | Self::RetrieveAccount => false,
        }
    }

    fn of(method: StripeMethod, path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let parts = (parts.next(), parts.next(), parts.next(), parts.next());
        match (method, parts) {
            (StripeMethod::Post, (Some("payment_intents"), None, _, _)) => Some(Self::CreateIntent),
            (StripeMethod::Get, (Some("payment_intents"), None, _, _)) => Some(Self::ListIntents),
            (StripeMethod::Get, (Some("payment_intents"), Some("search"), None, _)) => {
                Some(Self::SearchIntents)
            }
            (StripeMethod::Get, (Some("payment_intents"), Some(_), None, _)) => {
                Some(Self::RetrieveIntent)
            }
            (StripeMethod::Post, (Some("payment_intents"), Some(_), Some("confirm"), None)) => {
                Some(Self::ConfirmIntent)
            }
            (StripeMethod::Post, (Some("payment_intents"), Some(_), Some("cancel"), None)) => {
                Some(Self::CancelIntent)
            }
            (StripeMethod::Post, (Some("refunds"), None, _, _)) => Some(Self::CreateRefund),
            (StripeMethod::Get, (Some("refunds"), None, _, _)) => Some(Self::ListRefunds),
            (StripeMethod::Get, (Some("events"), None, _, _)) => Some(Self::ListEvents),
            (StripeMethod::Get, (Some("account"), None, _, _)) => Some(Self::RetrieveAccount),
            (StripeMethod::Get | StripeMethod::Post | StripeMethod::Delete, _) => None,
        }
    }
}

/// A request of async-stripe, taken apart.
#[derive(Debug)]
pub struct Call {
    /// What it asks for.
    pub endpoint: Endpoint,
    /// GET, POST or DELETE.
    pub method: StripeMethod,
    /// Below `/v1`.
    pub path: String,
    /// The query of a GET.
    pub query: Option<String>,
    /// The form of a POST.
    pub body: Option<String>,
    /// The key under which Stripe does it once.
    pub key: Option<IdempotencyKey>,
    /// Whether its form names a card: a buyer's choice, wherever it stands.
    pub names_card: bool,
    /// Operators want it sent whatever the breaker thinks.
    pub past_breaker: bool,
}

impl Call {
    /// Takes a request apart. None for one we have no budget for, which our own code never makes.
    pub fn new(request: RequestBuilder, key: Option<IdempotencyKey>) -> Option<Self> {
        Some(Self {
            endpoint: Endpoint::of(request.method, &request.path)?,
            names_card: request.body.as_deref().is_some_and(names_card),
            method: request.method,
            path: request.path,
            query: request.query,
            body: request.body,
            key,
            past_breaker: false,
        })
    }
}

/// [`Call::names_card`], on the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamesCard(pub(super) bool);

/// Whether a pair of a form names a card.
fn is_card(pair: &str) -> bool {
    pair.starts_with("payment_method=")
}

/// Whether a form names a card.
pub fn names_card(form: &str) -> bool {
    form.split('&').any(is_card)
}

/// A form without the card that it names.
pub fn without_card(form: &str) -> String {
    let others: Vec<&str> = form.split('&').filter(|pair| !is_card(pair)).collect();
    others.join("&")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_form_is_known_by_the_card_that_it_names() {
        let other = "amount=1999&payment_method_types[0]=card&metadata[payment_method]=pm_1";
        let named = format!("payment_method=pm_1&{other}");
        for (form, names_card) in [(other, false), (named.as_str(), true)] {
            let mut request = RequestBuilder::new(StripeMethod::Post, "/payment_intents");
            request.body = Some(form.to_owned());
            assert_eq!(Call::new(request, None).unwrap().names_card, names_card, "{form}");
            assert_eq!(without_card(form), other);
        }
    }
}
