//! `POST /stripe/webhook`: Stripe's events.
//!
//! What they mean is drawn in [`app::events`](crate::app::events). Source:
//! docs.stripe.com/webhooks.

mod signature;

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use secrecy::SecretString;
pub use signature::{Forged, verify};

use crate::{app::events::EventTaker, peers::stripe::Event, store::LearntBy};

/// Where Stripe is told to send events.
pub const PATH: &str = "/stripe/webhook";
/// Stripe's events are a few kilobytes.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What the endpoint needs.
#[derive(Debug)]
pub struct Webhook {
    /// The endpoint's secrets: more than one while a secret is being rolled.
    pub secrets: Vec<SecretString>,
    /// Whether the service's key moves real money.
    pub live: bool,
    /// Draws the consequences of events.
    pub events: EventTaker,
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
    match webhook.events.take(&event, LearntBy::Event).await {
        Ok(_) => StatusCode::OK,
        Err(error) => {
            tracing::warn!(%error, event = event.id, "an event could not be taken; it will come again");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}
