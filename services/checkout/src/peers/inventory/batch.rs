//! Places holds at inventory in batches. Requests of one sale that wait at the same time share a
//! call, and each is answered as soon as inventory has answered it: under load a call costs more
//! than the hold it places (`docs/decisions/2026-11-28-placed-holds-share-a-call.md`).

use std::time::Duration;

use flashsale_batch::{Batcher, Full, Limits, Reply, Request};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{
    HoldToPlace, PlaceHoldRequest, PlaceHoldResponse, PlaceHoldsRequest, hold_placed::Outcome,
    inventory_service_client::InventoryServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use flashsale_telemetry::propagate;
use prost::Message as _;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tracing::{Instrument as _, Span};

use super::PEER;

/// The method that the span of each request names, also in a batch.
const PLACE_HOLD: &str = "/flashsale.inventory.v1.InventoryService/PlaceHold";

/// What shares a call: no more requests than inventory takes in one, and half of the bytes it reads
/// of one.
const LIMITS: Limits = Limits {
    at_once: 2,
    // A call that waits for one of its orders delays the next call this long and no longer.
    slow: Duration::from_millis(25),
    requests: 64,
    weight: 128 * 1_024,
    waiting: 10_000,
};

type Answer = Result<PlaceHoldResponse, Failure>;

/// One request of a batch.
struct Item {
    request: PlaceHoldRequest,
    until: Instant,
    traceparent: Option<String>,
}

/// Places holds in batches. Clones share the batches.
#[derive(Debug, Clone)]
pub(crate) struct Placements {
    channel: PeerChannel,
    /// By sale, so that a sale whose stock is unavailable does not delay another.
    batches: Batcher<String, Item, Answer>,
}

impl Placements {
    pub(crate) fn new(channel: PeerChannel) -> Self {
        let client = InventoryServiceClient::new(channel.clone());
        let batches = Batcher::new(LIMITS, move |_, batch| send_batch(client.clone(), batch));
        Self { channel, batches }
    }

    /// Places a hold, or reserves and places lines.
    ///
    /// # Errors
    /// Inventory's refusals, unchanged, or `OVERLOADED` where too many requests of the sale wait. A
    /// failure without a statement about the outcome leaves it open: the same request may be sent
    /// again.
    pub(crate) async fn place(&self, request: PlaceHoldRequest) -> Answer {
        let sale_id = request.sale_id.clone();
        let timeout = self.channel.time_left();
        let until = Instant::now() + timeout;
        let weight = request.encoded_len();
        async {
            let traceparent = propagate::to_text(&Span::current());
            let answered =
                self.batches.submit(sale_id, Item { request, until, traceparent }, weight);
            let answered = answered.map_err(|Full(waiting)| {
                let what = format!("{waiting} orders of the sale wait for their stock already");
                Failure::new(Reason::Overloaded, what).with("limit", waiting)
            })?;
            match timeout_at(until, answered).await {
                Ok(answer) => answer.unwrap_or_else(|_| Err(no_answer())),
                Err(_) => Err(self.channel.late(timeout)),
            }
        }
        .instrument(self.channel.span(PLACE_HOLD))
        .await
    }
}

/// Sends one call for the batch, and answers each request of it.
async fn send_batch(
    client: InventoryServiceClient<PeerChannel>,
    batch: Vec<Request<Item, Answer>>,
) {
    let Some(last) = batch.iter().map(|request| request.item().until).max() else { return };
    let now = Instant::now();
    let size = batch.len();
    let (holds, mut replies): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|request| {
            let (Item { request, until, traceparent }, reply) = request.split();
            let hold = HoldToPlace {
                request: Some(request),
                timeout: Some(wire::duration(until.saturating_duration_since(now))),
                traceparent: traceparent.unwrap_or_default(),
            };
            (hold, Some(reply))
        })
        .unzip();
    // After the latest deadline no caller waits any more.
    let answered = timeout_at(last, forward_answers(client, holds, &mut replies)).await;
    let failure = match answered {
        Ok(Err(status)) => batch_failure(size, &status),
        Ok(Ok(())) | Err(_) => no_answer(),
    };
    replies.into_iter().flatten().for_each(|reply| reply.send(Err(failure.clone())));
}

/// What each caller is told when the call of its batch fails. A refusal of a call for several
/// concerns none of them in particular, and is not passed on.
fn batch_failure(size: usize, status: &Status) -> Failure {
    let failure = Failure::from_peer(PEER, status);
    if size > 1 && failure.delay().is_none() {
        tracing::error!(reason = failure.reason().as_str(), "a call for several was refused");
        return no_answer();
    }
    failure
}

/// Forwards each answer as it arrives.
async fn forward_answers(
    mut client: InventoryServiceClient<PeerChannel>,
    holds: Vec<HoldToPlace>,
    replies: &mut [Option<Reply<Answer>>],
) -> Result<(), Status> {
    let mut answers = client.place_holds(PlaceHoldsRequest { holds }).await?.into_inner();
    while let Some(some) = answers.message().await? {
        for answer in some.answers {
            let reply =
                usize::try_from(answer.index).ok().and_then(|index| replies.get_mut(index)?.take());
            let outcome = match answer.outcome {
                Some(Outcome::Placed(placed)) => Ok(placed),
                Some(Outcome::Refused(refused)) => {
                    let (code, details) = (refused.code.into(), refused.details.into());
                    let status = Status::with_details(code, refused.message, details);
                    Err(Failure::from_peer(PEER, &status))
                }
                None => Err(no_answer()),
            };
            if let Some(reply) = reply {
                reply.send(outcome);
            }
        }
    }
    Ok(())
}

/// Inventory has not answered this request, whether or not it has answered others.
fn no_answer() -> Failure {
    Failure::new(Reason::PeerUnavailable, format!("{PEER} does not answer")).with("peer", PEER)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flashsale_inventory::{Config, DEFAULTS};
    use flashsale_service::config::load_from;

    use super::*;

    #[test]
    fn call_refusals_reach_only_lone_requests() {
        let refused = Failure::invalid("holds", "are too large").into();
        let away = Failure::store("redis", "it is away").into();
        for (size, status, reason) in [
            (1, &refused, Reason::ArgumentInvalid),
            (2, &refused, Reason::PeerUnavailable),
            (1, &away, Reason::StoreUnavailable),
            (2, &away, Reason::StoreUnavailable),
            (2, &Status::unavailable("gone"), Reason::PeerUnavailable),
        ] {
            assert_eq!(batch_failure(size, status).reason(), reason, "{size}: {status:?}");
        }
    }

    #[test]
    fn batches_fit_inventorys_request_limit() {
        let open = ("FLASHSALE_ACCESS__MODE".to_owned(), "off".to_owned());
        let inventory: Config =
            load_from("inventory", DEFAULTS, None, std::iter::once(open)).unwrap();
        let hold = HoldToPlace {
            request: None,
            timeout: Some(wire::duration(Duration::from_micros(9_999_999))),
            traceparent: "0".repeat(55),
        };
        // The frames of each hold and its request, which its weight does not count.
        let frames = LIMITS.requests * (hold.encoded_len() + 2 * 6);
        assert!(LIMITS.weight + frames < inventory.server.max_request_bytes / 3 * 2);
    }
}
