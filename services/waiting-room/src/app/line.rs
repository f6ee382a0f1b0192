//! The line in front of a sale: joining, reading a place, leaving, and the admission.

use std::{sync::Arc, time::Duration};

use flashsale_admission::{Admission, Ticket, Verdict};
use uuid::Uuid;

use super::{Feeds, RoomError, SigningKeys};
use crate::{
    domain::{Outlook, Place, RoomView, Stock, outlook},
    metrics::Metrics,
    store::{Joined, Place as Shown, Rooms, TicketInRoom},
};

/// How often an admission may be spent.
const QUOTA: u32 = 1;

/// The lines of all sales. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) rooms: Rooms,
    pub(crate) feeds: Feeds,
    pub(crate) keys: Arc<SigningKeys>,
    pub(crate) metrics: Metrics,
    /// The longest silence on the stream of a watched ticket.
    pub(crate) heartbeat: Duration,
}

/// The state of a ticket, as its holder is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    pub(crate) number: i64,
    pub(crate) outlook: Outlook,
    /// The signed admission, once admitted.
    pub(crate) admission: Option<String>,
}

impl Line {
    /// Takes the next place, or returns the one the buyer has, or the one that this request took. A
    /// ticket of the buyer's is `shown`, for the case that its record was lost. Returns the signed
    /// ticket and its state.
    pub(crate) async fn join(
        &self,
        sale_id: Uuid,
        buyer_id: &str,
        request_id: Uuid,
        shown: Option<&Ticket>,
    ) -> Result<(String, Standing), RoomError> {
        let stock = self.feeds.stock(sale_id);
        let sold_out = stock == Stock::Gone;
        let shown = shown.map(|&Ticket { number, generation, .. }| Shown { number, generation });
        let (joined, room) =
            self.rooms.join(sale_id, buyer_id, request_id, shown, sold_out).await?;
        let (number, generation, fresh, mark, expires_at_ms) = match joined {
            Joined::Place { number, generation, fresh, mark, expires_at_ms } => {
                (number, generation, fresh, mark, expires_at_ms)
            }
            Joined::Closed => {
                self.metrics.joined("refused");
                return Err(RoomError::Closed(sale_id));
            }
            Joined::Early { joins_from_ms, admits_from_ms } => {
                self.metrics.joined("refused");
                let wait_ms = joins_from_ms.saturating_sub(room.now_ms);
                return Err(RoomError::TooEarly {
                    sale_id,
                    joins_from_ms,
                    starts_at_ms: admits_from_ms,
                    wait: Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)),
                });
            }
            Joined::Sold | Joined::Full => {
                self.metrics.joined("refused");
                return Err(RoomError::SoldOut(sale_id));
            }
        };
        self.metrics.joined(if fresh { "fresh" } else { "known" });
        let ticket = Ticket { sale_id, buyer_id: buyer_id.to_owned(), number, generation };
        let place = place(number, expires_at_ms, &room);
        let standing = self.standing(&ticket, outlook(place, mark, &room, stock));
        Ok((self.keys.current().mint_ticket(&ticket), standing))
    }

    /// Verifies and decodes a signed ticket.
    pub(crate) fn ticket(&self, token: &str) -> Result<Ticket, RoomError> {
        Ok(self.keys.current().ring().verify_ticket(token)?)
    }

    /// The present state of a ticket, with the room it was read from.
    pub(crate) async fn position(
        &self,
        ticket: &Ticket,
    ) -> Result<(Standing, RoomView), RoomError> {
        let stock = self.feeds.stock(ticket.sale_id);
        let TicketInRoom { mark, expires_at_ms, room } = self
            .rooms
            .ticket(ticket.sale_id, &ticket.buyer_id, ticket.number, ticket.generation)
            .await?;
        let place = place(ticket.number, expires_at_ms, &room);
        Ok((self.standing(ticket, outlook(place, mark, &room, stock)), room))
    }

    /// Gives a place back. Idempotent.
    pub(crate) async fn leave(&self, ticket: &Ticket) -> Result<(), RoomError> {
        let Ticket { sale_id, buyer_id, number, generation } = ticket;
        Ok(self.rooms.leave(*sale_id, buyer_id, *number, *generation).await?)
    }

    /// The verdict on an admission for this buyer and sale, and its expiry if it is signed with our
    /// keys.
    pub(crate) fn verify(
        &self,
        admission: &str,
        sale_id: Uuid,
        buyer_id: &str,
        now_ms: i64,
        leeway_ms: i64,
    ) -> (Result<Admission, Verdict>, Option<i64>) {
        let signer = self.keys.current();
        let ring = signer.ring();
        let verdict = ring.verify_admission(admission, sale_id, buyer_id, now_ms, leeway_ms);
        (verdict, ring.read_admission(admission).ok().map(|admission| admission.expires_at_ms))
    }

    /// The public keys, as a JWK set.
    pub(crate) fn public_keys(&self) -> String {
        self.keys.current().public_jwks()
    }

    /// The state of a ticket, with its admission once admitted. An admission is a function of the
    /// ticket and of the tick that passed it, so that it is the same each time.
    pub(crate) fn standing(&self, ticket: &Ticket, outlook: Outlook) -> Standing {
        let admission = if let Outlook::Admitted { expires_at_ms } = outlook {
            Some(self.keys.current().mint_admission(&Admission {
                sale_id: ticket.sale_id,
                buyer_id: ticket.buyer_id.clone(),
                number: ticket.number,
                generation: ticket.generation,
                expires_at_ms,
                quota: QUOTA,
            }))
        } else {
            None
        };
        Standing { number: ticket.number, outlook, admission }
    }
}

fn place(number: i64, expires_at_ms: Option<i64>, room: &RoomView) -> Place {
    match expires_at_ms {
        Some(expires_at_ms) => Place::Passed { expires_at_ms },
        None => Place::Behind(number - room.head),
    }
}
