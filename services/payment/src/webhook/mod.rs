//! `POST /stripe/webhook`: Stripe's events.
//!
//! Events come twice, late and in any order, so an event only does what is right at any time: an
//! intent that has ended settles its payment by the same compare-and-set that the tasks use;
//! anything else makes the payment due soon. Source: docs.stripe.com/webhooks.

mod event;
mod signature;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use event::Event;
use flashsale_telemetry::propagate;
use secrecy::SecretString;
pub use signature::{Forged, verify};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::{app::settlement::Settler, domain::Outcome, store::Store};

/// Where Stripe is told to send events.
pub const PATH: &str = "/stripe/webhook";
/// Stripe's events are a few kilobytes.
const MAX_BODY_BYTES: usize = 256 * 1024;
/// How long until the payment of an event is due: the task whose own call caused the event is
/// usually still working on it.
const MOMENT: Duration = Duration::from_secs(2);

/// What the endpoint needs.
#[derive(Debug)]
pub struct Webhook {
    /// The endpoint's secrets: more than one while a secret is being rolled.
    pub secrets: Vec<SecretString>,
    /// Whether the service's key moves real money.
    pub live: bool,
    /// Where payments stand.
    pub store: Store,
    /// Ends them.
    pub settler: Settler,
}

/// The endpoint.
pub fn router(webhook: Webhook) -> Router {
    Router::new()
        .route(PATH, post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(webhook))
}

async fn receive(
    State(webhook): State<Arc<Webhook>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    let now_s = flashsale_failpoint::now_utc().unix_timestamp();
    if let Err(forged) = verify(header.unwrap_or_default(), &body, &webhook.secrets, now_s) {
        // The caller is told nothing it could learn from.
        tracing::warn!(%forged, "an event was refused");
        return StatusCode::BAD_REQUEST;
    }
    let Ok(event) = serde_json::from_slice::<Event>(&body) else {
        // Signed, and yet no event: sending it again will not help.
        tracing::error!("a signed event cannot be read");
        return StatusCode::OK;
    };
    if event.livemode.is_some_and(|live| live != webhook.live) {
        // An endpoint of the other mode was pointed here: what it tells is not about our money.
        tracing::error!(event = event.id, live = webhook.live, "an event is of the other mode");
        return StatusCode::OK;
    }
    match webhook.take(&event).await {
        Ok(()) => StatusCode::OK,
        Err(error) => {
            tracing::warn!(%error, event = event.id, "an event could not be taken; it will come again");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

impl Webhook {
    async fn take(&self, event: &Event) -> sqlx::Result<()> {
        tracing::debug!(event = event.id, kind = event.kind, "an event came");
        match event.kind.as_str() {
            "payment_intent.succeeded" | "payment_intent.canceled" => {
                if let Some((order, intent)) = event.intent() {
                    let span = self.span(event, order).await?;
                    if Outcome::of(&intent).is_some() {
                        self.settler.settle(order, &intent).instrument(span).await?;
                    } else {
                        // It does not say what was captured: the intent itself does.
                        self.store.make_due(order, &intent.id, MOMENT).instrument(span).await?;
                    }
                }
            }
            "payment_intent.payment_failed"
            | "payment_intent.requires_action"
            | "payment_intent.processing" => {
                if let Some((order, intent)) = event.intent() {
                    let span = self.span(event, order).await?;
                    self.store.make_due(order, &intent.id, MOMENT).instrument(span).await?;
                }
            }
            "charge.refunded" => {
                if let Some(order) = event.order() {
                    let span = self.span(event, order).await?;
                    self.store.make_refund_due(order, MOMENT).instrument(span).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The work for an event continues the trace of its order, which is in the payment's row and
    /// not in the event.
    async fn span(&self, event: &Event, order: Uuid) -> sqlx::Result<Span> {
        let span = tracing::info_span!(
            parent: None,
            "webhook",
            otel.name = format!("POST {PATH}"),
            otel.kind = "server",
            http.request.method = "POST",
            http.route = PATH,
            event = event.kind,
            order_id = %order,
        );
        let payment = self.store.payment(order).await?;
        let traceparent = payment.as_ref().and_then(|payment| payment.traceparent.as_deref());
        propagate::set_parent(&span, propagate::from_text(traceparent));
        Ok(span)
    }
}
