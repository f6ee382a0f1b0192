//! What the provider's events mean, whether they were sent to us or read from its list.
//!
//! Events come twice, late and in any order, so an event only does what is right at any time: an
//! intent that has ended settles its payment by the same compare-and-set that the tasks use, and a
//! refund moves by what the tasks learn of one; anything else makes the payment due soon. Which
//! events were taken is kept, without what they say.

use std::time::Duration;

use flashsale_telemetry::propagate;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::settlement::Settler;
use crate::{
    domain::{CardRules, Outcome},
    peers::stripe::Event,
    store::{EventLookup, EventNote, LearntBy, Refused, Store},
    webhook::PATH,
};

/// The types of events that mean something to us.
pub const TYPES: [&str; 11] = [
    "payment_intent.succeeded",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.requires_action",
    "payment_intent.processing",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.closed",
];
/// How long until the payment of an event is due: the task whose own call caused the event is
/// usually still working on it.
const MOMENT: Duration = Duration::from_secs(2);

/// Draws the consequences of events.
#[derive(Debug, Clone)]
pub struct EventTaker {
    /// Where payments stand.
    pub store: Store,
    /// Ends them.
    pub settler: Settler,
    /// How many cards may be tried.
    pub cards: CardRules,
}

impl EventTaker {
    /// Takes an event once: one that comes again was taken whole. False if it was known, or means
    /// nothing to us.
    ///
    /// # Errors
    /// When Postgres does not answer: then it may be taken again.
    pub async fn take(&self, event: &Event, learnt_by: LearntBy) -> sqlx::Result<bool> {
        tracing::debug!(event = event.id, kind = event.kind, "an event came");
        if !TYPES.contains(&event.kind.as_str()) {
            return Ok(false);
        }
        let EventLookup { known, traceparent } =
            self.store.look_up_event(&event.id, event.order()).await?;
        if known {
            return Ok(false);
        }
        let intent = event.intent_id();
        let note = EventNote { id: &event.id, kind: &event.kind, intent: intent.as_deref() };
        if !self.draw_consequences(event, note, learnt_by, traceparent.as_deref()).await? {
            self.store.note_event(note).await?;
        }
        Ok(true)
    }

    /// True if the event is noted with what follows from it. `trace` is that of the order which
    /// the event names.
    async fn draw_consequences(
        &self,
        event: &Event,
        note: EventNote<'_>,
        learnt_by: LearntBy,
        trace: Option<&str>,
    ) -> sqlx::Result<bool> {
        match event.kind.as_str() {
            "payment_intent.succeeded" | "payment_intent.canceled" => {
                if let Some((order, intent)) = event.intent() {
                    let span = span(event, order, learnt_by, trace);
                    if Outcome::of(&intent).is_some() {
                        let settled = self.settler.settle(order, &intent, learnt_by, Some(note));
                        return settled.instrument(span).await;
                    }
                    // It does not say what was captured: the intent itself does.
                    self.store.make_due(order, &intent.id, MOMENT).instrument(span).await?;
                } else if note.intent.is_none() {
                    tracing::error!(event = event.id, "an event about an intent cannot be read");
                } else if event.kind == "payment_intent.succeeded" {
                    self.settler.foreign_capture();
                }
            }
            "payment_intent.payment_failed" => {
                if let Some((order, intent)) = event.intent() {
                    let span = span(event, order, learnt_by, trace);
                    async {
                        if let Some(decline) = &intent.decline {
                            // Also of a card that the buyer's browser confirmed, past us: it counts
                            // among the cards of the order.
                            let refused = Refused::seen(decline, self.cards);
                            self.store.record_decline(order, Some(&intent.id), refused).await?;
                        }
                        self.store.make_due(order, &intent.id, MOMENT).await
                    }
                    .instrument(span)
                    .await?;
                }
            }
            "payment_intent.requires_action" | "payment_intent.processing" => {
                if let Some((order, intent)) = event.intent() {
                    let span = span(event, order, learnt_by, trace);
                    self.store.make_due(order, &intent.id, MOMENT).instrument(span).await?;
                }
            }
            kind if kind.starts_with("refund.") => {
                // Also of refunds that were made by hand, in which the metadata names no order.
                if let Some((intent, made)) = event.refund()
                    && let Some(order) = self.store.order_of_intent(&intent).await?
                {
                    let payment = self.store.payment(order).await?;
                    let trace = payment.as_ref().and_then(|payment| payment.traceparent.as_deref());
                    let span = span(event, order, learnt_by, trace);
                    self.settler
                        .learn_refund(order, &intent, &made, learnt_by)
                        .instrument(span)
                        .await?;
                }
            }
            // Money is taken back when a dispute is opened, and given back when it is won.
            "charge.dispute.created" | "charge.dispute.closed" => {
                let won = event.kind == "charge.dispute.closed";
                // An inquiry (`warning_…`) takes no money.
                let takes = |status: &str| !status.starts_with("warning_");
                if let Some(dispute) = event.dispute()
                    && dispute.status.as_deref().is_none_or(takes)
                    && (!won || dispute.status.as_deref() == Some("won"))
                    && let Some(intent) = dispute.intent()
                    && let Some(order) = self.store.order_of_intent(intent).await?
                {
                    self.settler
                        .dispute(order, &dispute.id, dispute.amount, won, learnt_by)
                        .await?;
                }
            }
            "charge.refunded" => {
                if let Some(order) = event.order() {
                    let span = span(event, order, learnt_by, trace);
                    self.store.make_refund_due(order, MOMENT).instrument(span).await?;
                }
            }
            _ => {}
        }
        Ok(false)
    }
}

/// The work for an event continues the trace of its order, which is in the payment's row and not in
/// the event.
fn span(event: &Event, order: Uuid, learnt_by: LearntBy, trace: Option<&str>) -> Span {
    let span = match learnt_by {
        LearntBy::Event => tracing::info_span!(
            parent: None,
            "webhook",
            otel.name = format!("POST {PATH}"),
            otel.kind = "server",
            http.request.method = "POST",
            http.route = PATH,
            event = event.kind,
            order_id = %order,
        ),
        LearntBy::Call | LearntBy::Comparison => tracing::info_span!(
            parent: None,
            "missed_event",
            otel.name = "take missed event",
            event = event.kind,
            order_id = %order,
        ),
    };
    propagate::set_parent(&span, propagate::from_text(trace));
    span
}
