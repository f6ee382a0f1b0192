//! Placing holds at inventory. Those of a sale that buyers ask for at the same time go together in one call, and each is answered as soon as
//! inventory has answered it: under load the way there costs more than the hold
//! (`docs/decisions/2026-11-28-placed-holds-share-a-call.md`).

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_gather::{Asked, Full, Gather, Limits, Reply};
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

/// What each of several placed together is to whoever traces it.
const PLACE_HOLD: &str = "/flashsale.inventory.v1.InventoryService/PlaceHold";

/// What shares a call: no more requests than inventory takes, and, in bytes, half of what it reads of one call.
const LIMITS: Limits = Limits {
    at_once: 2,
    // An order that has to wait for something keeps the next call so long and no longer.
    slow: Duration::from_millis(25),
    requests: 64,
    weight: 128 * 1_024,
    waiting: 10_000,
};

type Answer = Result<PlaceHoldResponse, Failure>;

/// A hold to place.
struct Asking {
    request: PlaceHoldRequest,
    until: Instant,
    traceparent: Option<String>,
}

/// Places holds. A clone shares their calls.
#[derive(Debug, Clone)]
pub(crate) struct Placing {
    channel: PeerChannel,
    /// By sale, so that one whose stock is away keeps no other.
    gather: Gather<String, Asking, Answer>,
}

impl Placing {
    /// At inventory behind `channel`.
    pub(crate) fn new(channel: PeerChannel) -> Self {
        let client = InventoryServiceClient::new(channel.clone());
        let gather = Gather::new(LIMITS, move |_, asked| together(client.clone(), asked));
        Self { channel, gather }
    }

    /// Places a hold, or takes and places lines.
    ///
    /// # Errors
    /// Inventory's own refusals, as they are. One that says nothing of the outcome leaves it open: the same request may be sent again.
    pub(crate) async fn place(&self, request: PlaceHoldRequest) -> Answer {
        let sale_id = request.sale_id.clone();
        let timeout = self.channel.time_left();
        let until = Instant::now() + timeout;
        let weight = request.encoded_len();
        async {
            let traceparent = propagate::to_text(&Span::current());
            let asked = self.gather.ask(sale_id, Asking { request, until, traceparent }, weight);
            let answered = asked.map_err(|Full(waiting)| {
                let what = format!("{waiting} orders of the sale wait for their stock already");
                Failure::new(Reason::Overloaded, what).with("limit", waiting)
            })?;
            match timeout_at(until, answered).await {
                Ok(answer) => answer.unwrap_or_else(|_| Err(silent())),
                Err(_) => Err(self.channel.late(timeout)),
            }
        }
        .instrument(self.channel.span(PLACE_HOLD))
        .await
    }
}

/// One call for several.
async fn together(client: InventoryServiceClient<PeerChannel>, asked: Vec<Asked<Asking, Answer>>) {
    let Some(last) = asked.iter().map(|asked| asked.ask().until).max() else { return };
    let now = Instant::now();
    let together = asked.len();
    let (holds, mut open): (Vec<_>, Vec<_>) = asked
        .into_iter()
        .map(|asked| {
            let (Asking { request, until, traceparent }, reply) = asked.split();
            let hold = HoldToPlace {
                request: Some(request),
                timeout: Some(wire::duration(until.saturating_duration_since(now))),
                traceparent: traceparent.unwrap_or_default(),
            };
            (hold, Some(reply))
        })
        .unzip();
    // Beyond the last deadline nobody waits any more.
    let answered = timeout_at(last, answers(client, holds, &mut open)).await;
    let failure = match answered {
        Ok(Err(status)) => of_the_call(together, &status),
        Ok(Ok(())) | Err(_) => silent(),
    };
    open.into_iter().flatten().for_each(|reply| reply.send(Err(failure.clone())));
}

/// What each of so many is told when their call fails. A refusal is about none of several in particular, and not to be passed on to all.
fn of_the_call(together: usize, status: &Status) -> Failure {
    let failure = Failure::from_peer(PEER, status);
    if together > 1 && failure.delay().is_none() {
        tracing::error!(reason = failure.reason().as_str(), "a call for several was refused");
        return silent();
    }
    failure
}

/// Hands on the answers as they come.
async fn answers(
    mut client: InventoryServiceClient<PeerChannel>,
    holds: Vec<HoldToPlace>,
    open: &mut [Option<Reply<Answer>>],
) -> Result<(), Status> {
    let mut answers = client.place_holds(PlaceHoldsRequest { holds }).await?.into_inner();
    while let Some(some) = answers.message().await? {
        for answer in some.answers {
            let reply =
                usize::try_from(answer.index).ok().and_then(|index| open.get_mut(index)?.take());
            let outcome = match answer.outcome {
                Some(Outcome::Placed(placed)) => Ok(placed),
                Some(Outcome::Refused(refused)) => {
                    let (code, details) = (refused.code.into(), refused.details.into());
                    let status = Status::with_details(code, refused.message, details);
                    Err(Failure::from_peer(PEER, &status))
                }
                None => Err(silent()),
            };
            if let Some(reply) = reply {
                reply.send(outcome);
            }
        }
    }
    Ok(())
}

/// Inventory has answered others, or nobody, but not this one.
fn silent() -> Failure {
    Failure::new(Reason::PeerUnavailable, format!("{PEER} does not answer")).with("peer", PEER)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use flashsale_inventory::{Config, DEFAULTS};
    use flashsale_service::config::load_from;

    use super::*;

    #[test]
    fn a_refusal_of_the_whole_call_is_passed_on_to_one_and_not_to_several() {
        let refused = Failure::invalid("holds", "are too large").into();
        let away = Failure::store("redis", "it is away").into();
        for (together, status, reason) in [
            (1, &refused, Reason::ArgumentInvalid),
            (2, &refused, Reason::PeerUnavailable),
            (1, &away, Reason::StoreUnavailable),
            (2, &away, Reason::StoreUnavailable),
            (2, &Status::unavailable("gone"), Reason::PeerUnavailable),
        ] {
            assert_eq!(of_the_call(together, status).reason(), reason, "{together}: {status:?}");
        }
    }

    #[test]
    fn what_shares_a_call_is_well_below_what_inventory_reads_of_one() {
        let inventory: Config = load_from(DEFAULTS, None, std::iter::empty()).unwrap();
        let hold = HoldToPlace {
            request: None,
            timeout: Some(wire::duration(Duration::from_micros(9_999_999))),
            traceparent: "0".repeat(55),
        };
        // Each hold's own frame and that of its request, beside what it weighs.
        let frames = LIMITS.requests * (hold.encoded_len() + 2 * 6);
        assert!(LIMITS.weight + frames < inventory.server.max_request_bytes / 3 * 2);
    }
}
