//! The operations of Stripe that the tasks use.

use bytes::Bytes;
use stripe_client_core::{
    CustomizedStripeRequest, IdempotencyKey, RequestStrategy, StripeClient, StripeClientErr,
    StripeRequest as _,
};
use stripe_core::{
    payment_intent::{
        CancelPaymentIntent, ConfirmPaymentIntent, CreatePaymentIntent, ListPaymentIntent,
        RetrievePaymentIntent,
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
    answer,
    call::{Call, Endpoint},
    error::ProviderError,
    stack::Stack,
};
use crate::{
    domain::{Intent, Payment, provider_amount},
    metrics::Metrics,
    store::DueRefund,
};

/// Intents on one page of a list: the most there are.
const PAGE: i64 = 100;
/// Pages that are read in search of one intent.
const MAX_PAGES: usize = 20;
/// How far our clock and Stripe's may be apart.
const CLOCK_SKEW_S: i64 = 60;

/// Where a refund stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundReport {
    /// The money is on its way back; nothing is left to do.
    Done(String),
    /// Stripe works on it.
    Pending,
    /// It failed: another one has to be made.
    Failed,
}

/// Stripe, behind the stack.
#[derive(Debug, Clone)]
pub struct Stripe {
    stack: Stack,
    metrics: Metrics,
}

impl Stripe {
    /// Sends its calls through `stack`.
    pub fn new(stack: Stack, metrics: Metrics) -> Self {
        // A series that begins at 0 shows its first increase; one that begins at 1 hides it.
        for endpoint in Endpoint::ALL {
            metrics.announce_endpoint(endpoint.as_str());
        }
        Self { stack, metrics }
    }

    /// Creates the payment's intent, unconfirmed. `fresh` uses a key of this attempt instead of the
    /// order's; see [`Stripe::find`].
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn create(&self, payment: &Payment, fresh: bool) -> Result<Intent, ProviderError> {
        let Payment { order_id, sale_id, currency, attempts, .. } = payment;
        let amount = provider_amount(payment.amount_minor, currency)
            .map_err(|_| misused("its amount cannot be charged exactly"))?;
        let currency: Currency = currency
            .to_lowercase()
            .parse()
            .map_err(|_| misused("its currency is not one of the provider's"))?;
        let key = if fresh {
            format!("pi/{order_id}/create/{attempts}")
        } else {
            format!("pi/{order_id}/create")
        };
        let request = CreatePaymentIntent::new(amount, currency)
            .payment_method(payment.payment_method.as_str())
            // The successor of `payment_method_types`, which the API version of this library
            // (2026-09-30) no longer has. Cards only: no method that sends the buyer to another
            // page.
            .allowed_payment_method_types(vec![PaymentIntentAllowedPaymentMethodTypes::Card])
            .metadata([
                ("order_id".to_owned(), order_id.to_string()),
                ("sale_id".to_owned(), sale_id.to_string()),
            ]);
        let made = request.customize().request_strategy(keyed(&key)?).send(self).await?;
        Ok(answer::intent(&made))
    }

    /// Looks for an intent created for the order since `since`, after a creation whose stored
    /// answer is an error, which Stripe repeats for a day. `Ok(None)` means that there is none, so
    /// that another key may be used. If the list misses one after all, that one has never been
    /// confirmed and never will be: only the recorded intent is.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn find(
        &self,
        order: Uuid,
        since: OffsetDateTime,
    ) -> Result<Option<Intent>, ProviderError> {
        let created = RangeBoundsTs {
            gte: Some(since.unix_timestamp() - CLOCK_SKEW_S),
            ..RangeBoundsTs::default()
        };
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut request =
                ListPaymentIntent::new().created(RangeQueryTs::Bounds(created)).limit(PAGE);
            if let Some(after) = after {
                request = request.starting_after(after);
            }
            let page = request.send(self).await?;
            let found = page.data.iter().map(answer::intent).find(|it| it.order_id == Some(order));
            if found.is_some() {
                return Ok(found);
            }
            after = page.data.last().map(|last| last.id.as_str().to_owned());
            if !page.has_more || after.is_none() {
                return Ok(None);
            }
        }
        Err(unknown("the intent was not among the newest; a person may find it by its metadata"))
    }

    /// Where an intent stands.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn retrieve(&self, intent: &str) -> Result<Intent, ProviderError> {
        let read = RetrievePaymentIntent::new(intent).send(self).await?;
        Ok(answer::intent(&read))
    }

    /// Confirms an intent: takes the money, if the card allows it.
    ///
    /// The first confirmation of an order goes out under the order's key. `again` is for one whose
    /// outcome was unknown and whose intent has been looked at since and found unconfirmed: it uses
    /// a key of this attempt, because under the old one Stripe would repeat a stored error for a
    /// day. That cannot charge twice: an intent is captured once at most, whatever the keys, and a
    /// confirmation that is still under way makes this one fail.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn confirm(
        &self,
        payment: &Payment,
        intent: &str,
        again: bool,
    ) -> Result<Intent, ProviderError> {
        let Payment { order_id, attempts, .. } = payment;
        let key = if again {
            format!("pi/{order_id}/confirm/{attempts}")
        } else {
            format!("pi/{order_id}/confirm")
        };
        let request = ConfirmPaymentIntent::new(intent);
        let confirmed = request.customize().request_strategy(keyed(&key)?).send(self).await?;
        Ok(answer::intent(&confirmed))
    }

    /// Cancels an intent, so that it can never be captured. A second cancellation is refused, which
    /// is harmless, so each attempt has its own key.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn cancel(&self, payment: &Payment, intent: &str) -> Result<Intent, ProviderError> {
        let key = format!("pi/{}/cancel/{intent}/{}", payment.order_id, payment.attempts);
        let request = CancelPaymentIntent::new(intent);
        let cancelled = request.customize().request_strategy(keyed(&key)?).send(self).await?;
        Ok(answer::intent(&cancelled))
    }

    /// The refunds of an order's intent that this service has made so far.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn refunds(
        &self,
        order: Uuid,
        intent: &str,
    ) -> Result<Vec<RefundReport>, ProviderError> {
        let page = ListRefund::new().payment_intent(intent).limit(PAGE).send(self).await?;
        // Only this service's refunds: an operator may have refunded a part by hand, and the rest
        // is still to be refunded.
        let ours = |refund: &&stripe_shared::Refund| {
            refund.metadata.as_ref().is_some_and(|metadata| {
                metadata.get("order_id").is_some_and(|id| *id == order.to_string())
            })
        };
        Ok(page.data.iter().filter(ours).map(report).collect())
    }

    /// Refunds everything that was captured. `again` is for a refund whose outcome was unknown,
    /// after [`Stripe::refunds`] has shown that there is none: Stripe never refunds more than was
    /// captured, whatever the keys.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn refund(
        &self,
        refund: &DueRefund,
        again: bool,
    ) -> Result<RefundReport, ProviderError> {
        let DueRefund { order_id, sale_id, attempts, intent_id, .. } = refund;
        let key = if again {
            format!("refund/{order_id}/{attempts}")
        } else {
            format!("refund/{order_id}")
        };
        // Without an amount Stripe refunds all that was captured.
        let request = CreateRefund::new().payment_intent(intent_id.as_str()).metadata([
            ("order_id".to_owned(), order_id.to_string()),
            ("sale_id".to_owned(), sale_id.to_string()),
        ]);
        let made = request.customize().request_strategy(keyed(&key)?).send(self).await?;
        Ok(report(&made))
    }
}

impl StripeClient for Stripe {
    type Err = ProviderError;

    async fn execute(&self, request: CustomizedStripeRequest) -> Result<Bytes, ProviderError> {
        let call = Call::new(request).ok_or_else(|| misused("it is no call of ours"))?;
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
        if let Err(error) = &result {
            match error {
                ProviderError::Misused { .. } => {
                    tracing::error!(endpoint, %error, "provider call failed")
                }
                ProviderError::Declined(_)
                | ProviderError::Refused(_)
                | ProviderError::InFlight { .. }
                | ProviderError::RateLimited { .. }
                | ProviderError::NotSent(_)
                | ProviderError::Unknown { .. } => {
                    tracing::info!(endpoint, %error, "provider call failed");
                }
            }
        }
        result
    }
}

impl StripeClientErr for ProviderError {
    fn deserialize_err(what: impl std::fmt::Display) -> Self {
        // A success that we cannot read: it happened, and we do not know what.
        unknown(&what.to_string())
    }
}

fn report(refund: &stripe_shared::Refund) -> RefundReport {
    match refund.status.as_deref() {
        Some("succeeded") => RefundReport::Done(refund.id.as_str().to_owned()),
        Some("failed" | "canceled") => RefundReport::Failed,
        Some(_) | None => RefundReport::Pending,
    }
}

fn keyed(key: &str) -> Result<RequestStrategy, ProviderError> {
    let key = IdempotencyKey::new(key).map_err(|_| misused("its key is too long"))?;
    Ok(RequestStrategy::Idempotent(key))
}

fn misused(what: &'static str) -> ProviderError {
    ProviderError::Misused { what, status: 0, request_id: String::new() }
}

fn unknown(what: &str) -> ProviderError {
    ProviderError::Unknown {
        what: what.to_owned(),
        retry_after: None,
        replayed: false,
        request_id: String::new(),
    }
}
