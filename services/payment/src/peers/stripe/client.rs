//! The operations of Stripe that the tasks use.

use std::{ops::RangeInclusive, time::Duration};

use stripe_client_core::{IdempotencyKey, RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::{
    payment_intent::{
        CancelPaymentIntent, ConfirmPaymentIntent, CreatePaymentIntent, ListPaymentIntent,
        RetrievePaymentIntent, SearchPaymentIntent,
    },
    refund::{CreateRefund, ListRefund},
};
use stripe_shared::PaymentIntentAllowedPaymentMethodTypes;
use stripe_types::{Currency, RangeBoundsTs, RangeQueryTs};
use time::OffsetDateTime;
use tower::ServiceExt as _;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    answer::Answer,
    call::{Call, Endpoint},
    error::{NotSent, ProviderError, Silence},
    event::Event,
    object::{IntentObject, List, RefundObject},
    stack::Stack,
};
use crate::{
    domain::{Intent, MadeRefund, Payment, provider_amount},
    metrics::Metrics,
    store::DueRefund,
};

/// Intents on one page of a list: the most there are.
const PAGE: i64 = 100;
/// Pages that are read in search of one intent.
const MAX_PAGES: usize = 10;
/// How far before the first request that may have created an intent, and after the last, one is
/// looked for: our clock and Stripe's may be apart, and a request may be under way.
const LOOK_AROUND: Duration = Duration::from_secs(5 * 60);
/// How long after the last request an intent that cannot be found in the list is searched for:
/// during outages the search is up to an hour behind (docs.stripe.com/search#data-freshness).
const SEARCH_LAG: Duration = Duration::from_secs(60 * 60);

/// How the tokens begin that a browser makes of a card and of what was asked of its buyer
/// (docs.stripe.com/api/confirmation_tokens).
const CONFIRMATION_TOKEN: &str = "ctoken_";

/// What all payments have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where buyers come back to from their bank, if the shop has said so.
    pub return_url: Option<String>,
    /// What stands behind the shop's name on the buyer's card statement, if the shop has said so.
    pub statement_suffix: Option<String>,
    /// Whether the version of the API is one that has `payment_method_types`. The first card is
    /// then named where the intent is created, as was usual with them.
    pub has_method_types: bool,
}

impl Common {
    /// See [`Stripe::create_form`].
    fn create_form(&self, payment: &Payment, deployment: Uuid) -> Result<String, ProviderError> {
        let Payment { order_id, sale_id, currency, payment_method, .. } = payment;
        let amount = provider_amount(payment.amount_minor, currency)
            .map_err(|_| misused("its amount cannot be charged exactly"))?;
        let currency: Currency = currency
            .to_lowercase()
            .parse()
            .map_err(|_| misused("its currency is not one of the provider's"))?;
        let mut request = CreatePaymentIntent::new(amount, currency).metadata([
            ("order_id".to_owned(), order_id.to_string()),
            ("sale_id".to_owned(), sale_id.to_string()),
            ("deployment".to_owned(), deployment.to_string()),
        ]);
        if let Some(suffix) = &self.statement_suffix {
            request = request.statement_descriptor_suffix(suffix.as_str());
        }
        // Cards only: no method that sends the buyer to another page.
        if !self.has_method_types {
            let cards = vec![PaymentIntentAllowedPaymentMethodTypes::Card];
            request = request.allowed_payment_method_types(cards);
        } else if !is_confirmation_token(payment_method) {
            request = request.payment_method(payment_method.as_str());
        }
        let form = request.build().body.ok_or_else(|| misused("its request has no form"))?;
        // The library speaks a version that no longer has this.
        let types = if self.has_method_types { "&payment_method_types[0]=card" } else { "" };
        Ok(form + types)
    }

    /// See [`Stripe::confirm`].
    fn confirmation(&self, payment: &Payment, intent: &str, is_named: bool) -> RequestBuilder {
        let mut request = ConfirmPaymentIntent::new(intent);
        let method = payment.payment_method.as_str();
        if is_confirmation_token(method) {
            request = request.confirmation_token(method);
        } else if !is_named {
            request = request.payment_method(method);
        }
        if let Some(url) = &self.return_url {
            request = request.return_url(url.as_str());
        }
        request.build()
    }
}

fn is_confirmation_token(method: &str) -> bool {
    method.starts_with(CONFIRMATION_TOKEN)
}

/// Stripe, behind the stack.
#[derive(Debug, Clone)]
pub struct Stripe {
    stack: Stack,
    common: Common,
    metrics: Metrics,
}

impl Stripe {
    /// Sends its calls through `stack`.
    pub fn new(stack: Stack, common: Common, metrics: Metrics) -> Self {
        // A series that begins at 0 shows its first increase; one that begins at 1 hides it.
        for endpoint in Endpoint::ALL {
            metrics.announce_endpoint(endpoint.as_str());
        }
        Self { stack, common, metrics }
    }

    /// The form of the request that creates a payment's intent. It is written into the record
    /// before it is sent, and a request that is repeated sends what stands there: under one key
    /// Stripe takes the same parameters only, and another version of this program may write them in
    /// another order.
    ///
    /// It names no means of payment: each card, the first one included, is named where the intent
    /// is confirmed. So nothing that a buyer chose can have it refused. Only where the version has
    /// `payment_method_types` it names the first card; and it never confirms, wherever it names one:
    /// an answer that is lost leaves nothing charged.
    ///
    /// # Errors
    /// [`ProviderError::Misused`] when the record's amount or currency cannot be charged.
    pub fn create_form(
        &self,
        payment: &Payment,
        deployment: Uuid,
    ) -> Result<String, ProviderError> {
        self.common.create_form(payment, deployment)
    }

    /// Creates the payment's intent, unconfirmed, or gets the one that an earlier request under the
    /// same key created. `form` is the one of the record.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn create(&self, payment: &Payment, form: &str) -> Result<Intent, ProviderError> {
        let Payment { order_id, generation, .. } = payment;
        let mut request = RequestBuilder::new(StripeMethod::Post, "/payment_intents");
        request.body = Some(form.to_owned());
        let key = keyed(&format!("pi/{order_id}/create/{generation}"))?;
        self.intent(request, Some(key)).await
    }

    /// Looks for an intent created for the order by a request that went out between `first` and
    /// `last`. `Ok(None)` means that there is none, so that another key may be used. If it misses
    /// one after all, that one has never been confirmed and never will be: only the recorded intent
    /// is.
    ///
    /// # Errors
    /// See [`ProviderError`]. [`ProviderError::Unknown`] also while there are too many intents of
    /// that time to read them all and the search may not know the newest yet.
    pub async fn find(
        &self,
        order: Uuid,
        first: OffsetDateTime,
        last: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Option<Intent>, ProviderError> {
        let created = RangeBoundsTs {
            gte: Some((first - LOOK_AROUND).unix_timestamp()),
            lte: Some((last + LOOK_AROUND).unix_timestamp()),
            ..RangeBoundsTs::default()
        };
        let of_order = |page: &List<IntentObject>| {
            page.data.iter().map(IntentObject::intent).find(|it| it.order_id == Some(order))
        };
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut request =
                ListPaymentIntent::new().created(RangeQueryTs::Bounds(created)).limit(PAGE);
            if let Some(after) = after {
                request = request.starting_after(after);
            }
            let page = self.intents(request.build()).await?;
            if let Some(found) = of_order(&page) {
                return Ok(Some(found));
            }
            after = page.data.last().map(|last| last.intent().id);
            if !page.has_more || after.is_none() {
                return Ok(None);
            }
        }
        let searchable_in = last + SEARCH_LAG - now;
        if let Ok(wait) = Duration::try_from(searchable_in)
            && !wait.is_zero()
        {
            return Err(ProviderError::Unknown {
                what: format!(
                    "too many intents to read; it is searched for in {} s",
                    wait.as_secs()
                ),
                silence: Silence::Broken,
                retry_after: Some(wait),
                replayed: false,
                request_id: String::new(),
            });
        }
        let query = format!("metadata['order_id']:'{order}'");
        Ok(of_order(&self.intents(SearchPaymentIntent::new(query).limit(PAGE).build()).await?))
    }

    /// Where an intent stands.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn retrieve(&self, intent: &str) -> Result<Intent, ProviderError> {
        self.intent(RetrievePaymentIntent::new(intent).build(), None).await
    }

    /// Confirms an intent with the payment's present card: takes the money, if the card allows it.
    /// It is sent only after the intent has been seen unconfirmed, and an intent is captured once
    /// at most, whatever the keys. The key is the card's: what is stored under it is about that
    /// card.
    ///
    /// `is_named` says that the intent was seen to name that card itself
    /// ([`Intent::names_card_of`]): then this names none.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn confirm(
        &self,
        payment: &Payment,
        intent: &str,
        is_named: bool,
    ) -> Result<Intent, ProviderError> {
        let Payment { order_id, card_attempt, generation, .. } = payment;
        let key = keyed(&format!("pi/{order_id}/confirm/{card_attempt}/{generation}"))?;
        self.intent(self.common.confirmation(payment, intent, is_named), Some(key)).await
    }

    /// Cancels an intent, so that it can never be captured.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn cancel(&self, payment: &Payment, intent: &str) -> Result<Intent, ProviderError> {
        let Payment { order_id, generation, .. } = payment;
        let key = keyed(&format!("pi/{order_id}/cancel/{intent}/{generation}"))?;
        self.intent(CancelPaymentIntent::new(intent).build(), Some(key)).await
    }

    /// The refunds of an intent so far.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn refunds(&self, intent: &str) -> Result<Vec<MadeRefund>, ProviderError> {
        let request = ListRefund::new().payment_intent(intent).limit(PAGE).build();
        let Answer::Refunds(page) = self.call(request, None).await? else { return Err(another()) };
        Ok(page.data.iter().map(RefundObject::refund).collect())
    }

    /// Makes the present try of a refund. Under its key Stripe makes one refund, and says the same
    /// of it whenever it is asked; and it never refunds more than was captured, whatever the keys.
    ///
    /// # Errors
    /// See [`ProviderError`]. [`ProviderError::Moved`] when less is left than it is over.
    pub async fn refund(&self, refund: &DueRefund) -> Result<MadeRefund, ProviderError> {
        let DueRefund { refund_id, order_id, sale_id, intent_id, .. } = refund;
        let amount = provider_amount(refund.amount_minor, &refund.currency)
            .map_err(|_| misused("its amount cannot be given back exactly"))?;
        let request =
            CreateRefund::new().payment_intent(intent_id.as_str()).amount(amount).metadata([
                ("order_id".to_owned(), order_id.to_string()),
                ("sale_id".to_owned(), sale_id.to_string()),
                ("refund_id".to_owned(), refund_id.to_string()),
                ("try".to_owned(), refund.r#try.to_string()),
            ]);
        let key = keyed(&format!("re/{refund_id}/{}", refund.r#try))?;
        let made = self.call(request.build(), Some(key)).await?;
        let Answer::Refund(made) = made else { return Err(another()) };
        Ok(made.refund())
    }

    /// A page of the events of these types that were made in a time, newest first, and whether
    /// there are more. `after` is the id of the last event of the page before.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn events(
        &self,
        types: &[&str],
        made: RangeInclusive<OffsetDateTime>,
        after: Option<&str>,
    ) -> Result<(Vec<Event>, bool), ProviderError> {
        let mut query = format!(
            "limit={PAGE}&created[gte]={}&created[lte]={}",
            made.start().unix_timestamp(),
            made.end().unix_timestamp()
        );
        for (place, kind) in types.iter().enumerate() {
            query += &format!("&types[{place}]={kind}");
        }
        if let Some(after) = after {
            query += &format!("&starting_after={after}");
        }
        let mut request = RequestBuilder::new(StripeMethod::Get, "/events");
        request.query = Some(query);
        let Answer::Events(page) = self.call(request, None).await? else { return Err(another()) };
        Ok((page.data, page.has_more))
    }

    /// The id of the account whose the key is.
    ///
    /// # Errors
    /// See [`ProviderError`]. [`ProviderError::Misused`] with status 403 for a restricted key that
    /// may not read it.
    pub async fn account(&self) -> Result<String, ProviderError> {
        let request = RequestBuilder::new(StripeMethod::Get, "/account");
        let Answer::Account(account) = self.call(request, None).await? else {
            return Err(another());
        };
        Ok(account.id)
    }

    async fn intent(
        &self,
        request: RequestBuilder,
        key: Option<IdempotencyKey>,
    ) -> Result<Intent, ProviderError> {
        let Answer::Intent(intent) = self.call(request, key).await? else { return Err(another()) };
        Ok(intent.intent())
    }

    async fn intents(&self, request: RequestBuilder) -> Result<List<IntentObject>, ProviderError> {
        let Answer::Intents(page) = self.call(request, None).await? else { return Err(another()) };
        Ok(page)
    }

    /// Sends a request through the stack, and counts and logs what came of it.
    async fn call(
        &self,
        request: RequestBuilder,
        key: Option<IdempotencyKey>,
    ) -> Result<Answer, ProviderError> {
        let call = Call::new(request, key).ok_or_else(|| misused("it is no call of ours"))?;
        let endpoint = call.endpoint.as_str();
        // With the wait for a turn; the time on the wire has a span of its own.
        let span = tracing::info_span!(
            "provider_call",
            otel.name = format!("stripe {endpoint}"),
            outcome = tracing::field::Empty,
        );
        let result = self.stack.clone().oneshot(call).instrument(span.clone()).await;
        let outcome = result.as_ref().err().map_or("success", ProviderError::kind);
        span.record("outcome", outcome);
        self.metrics.provider_call(endpoint, outcome);
        if let Err(ProviderError::NotSent(why)) = &result {
            match why {
                NotSent::ForcedOpen | NotSent::BreakerOpen | NotSent::NoTurn | NotSent::Store => {
                    self.metrics.rejected(outcome);
                }
                // It was on its way.
                NotSent::Connect => {}
            }
        }
        if let Err(error) = &result {
            match error {
                // What is wrong with our request, or with our reading of the answer, needs a
                // person.
                ProviderError::Misused { .. }
                | ProviderError::NotChargeable(_)
                | ProviderError::Unknown { silence: Silence::Unreadable, .. } => {
                    tracing::error!(endpoint, %error, "provider call failed");
                }
                ProviderError::Declined(_)
                | ProviderError::Moved(_)
                | ProviderError::Busy { .. }
                | ProviderError::Limited { .. }
                | ProviderError::NotSent(_)
                | ProviderError::Unknown { .. } => {
                    tracing::info!(endpoint, %error, "provider call failed");
                }
            }
        }
        result
    }
}

fn keyed(key: &str) -> Result<IdempotencyKey, ProviderError> {
    IdempotencyKey::new(key).map_err(|_| misused("its key is too long"))
}

fn misused(what: &str) -> ProviderError {
    ProviderError::Misused {
        what: what.to_owned(),
        status: 0,
        ours: true,
        key_is_used: false,
        request_id: String::new(),
    }
}

/// The stack answered with another kind of object than was asked for.
fn another() -> ProviderError {
    misused("it was answered with another kind of object")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn common(has_method_types: bool, return_url: Option<&str>) -> Common {
        let return_url = return_url.map(str::to_owned);
        Common { return_url, statement_suffix: None, has_method_types }
    }

    fn pays_with(method: &str) -> Payment {
        Payment { payment_method: method.to_owned(), ..Payment::due() }
    }

    #[test]
    fn only_an_older_versions_creation_names_the_card() {
        for (is_older, method, card, types) in [
            (false, "pm_1", None, "allowed_payment_method_types[0]=card"),
            (true, "pm_1", Some("payment_method=pm_1"), "payment_method_types[0]=card"),
            // It is for a confirmation alone.
            (true, "ctoken_1", None, "payment_method_types[0]=card"),
        ] {
            let form = common(is_older, None).create_form(&pays_with(method), Uuid::nil()).unwrap();
            let pairs: Vec<&str> = form.split('&').collect();
            let named: Vec<&str> =
                pairs.iter().copied().filter(|pair| pair.contains(method)).collect();
            assert_eq!(named, Vec::from_iter(card), "{form}");
            assert!(pairs.contains(&types), "{form}");
            // An answer that is lost must leave nothing charged.
            assert!(!form.contains("confirm"), "{form}");
        }
    }

    #[test]
    fn a_confirmation_names_the_card_unless_the_intent_does() {
        for (return_url, method, is_named, form) in [
            (None, "pm_1", false, "payment_method=pm_1"),
            (None, "pm_1", true, ""),
            (None, "ctoken_1", false, "confirmation_token=ctoken_1"),
            (Some("back"), "pm_1", false, "payment_method=pm_1&return_url=back"),
            (Some("back"), "pm_1", true, "return_url=back"),
        ] {
            let common = common(true, return_url);
            let request = common.confirmation(&pays_with(method), "pi_1", is_named);
            assert_eq!(request.path, "/payment_intents/pi_1/confirm");
            assert_eq!(request.body.as_deref(), Some(form));
        }
    }
}
