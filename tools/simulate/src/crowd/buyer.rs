//! One buyer's visit, through the public calls only.

use std::{
    future::Future,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use flashsale_cli::client::{is_over, order_state, request};
use flashsale_errors::{Failure, Reason, Retry};
use flashsale_proto::{
    checkout::{Line, Order, OrderState},
    waitingroom::{JoinResponse, Outlook, WatchPositionRequest},
};
use flashsale_testbed::buyer::Buyer;
use rand::{Rng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::json;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Call, Crowd, Intent};

/// How often a call is made again while its failure invites it.
const ATTEMPTS: u32 = 8;
/// How long a buyer waits for anything before giving up for good.
const PATIENCE: Duration = Duration::from_secs(600);
/// How many items a buyer tries before leaving with empty hands.
const WISHES: usize = 4;
/// The provider's documented test tokens of a card that pays and one that is declined.
pub(super) const GOOD_CARD: &str = "pm_card_visa";
const BAD_CARD: &str = "pm_card_visa_chargeDeclined";

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Someone who is in the sale.
pub(super) struct Visitor<'a> {
    pub(super) crowd: &'a Crowd,
    number: usize,
    buyer: Buyer,
    rng: StdRng,
    /// When the first call is due, until it is made.
    due: Mutex<Option<Instant>>,
}

/// From the door to the end of the order, by a buyer who was to come at the time `due`.
pub(crate) async fn visit(
    crowd: &Crowd,
    number: usize,
    intent: Intent,
    due: Instant,
) -> anyhow::Result<()> {
    count(&crowd.counters.arrived);
    let buyer_id = format!("{}-{number}", crowd.name);
    let mut buyer = Buyer::new(&crowd.sale.sale_id, buyer_id, format!("Buyer {number}"));
    // Every second mail is in another language than the shop's own.
    if number.is_multiple_of(2) {
        buyer.contact.locale = "de-AT".to_owned();
    }
    let visitor =
        Visitor { crowd, number, buyer, rng: crowd.rng(number), due: Mutex::new(Some(due)) };
    tokio::time::timeout(PATIENCE, visitor.visit(intent)).await.context("lost patience")?
}

impl Visitor<'_> {
    async fn visit(mut self, intent: Intent) -> anyhow::Result<()> {
        let mut skus: Vec<usize> = (0..self.crowd.sale.items.len()).collect();
        skus.shuffle(&mut self.rng);
        skus.truncate(WISHES);
        if intent == Intent::Bot {
            let Some(item) = skus.first() else { return Ok(()) };
            return self.hammer(*item).await;
        }
        for (turn, item) in skus.into_iter().enumerate() {
            let Some(admission) = self.wait_in_line().await? else { return Ok(()) };
            let item = &self.crowd.sale.items[item];
            let limit = if item.per_buyer_limit == 0 { 4 } else { item.per_buyer_limit };
            if intent == Intent::Greedy && turn == 0 && item.per_buyer_limit > 0 {
                self.ask_too_much(&item.sku, limit, &admission).await?;
            }
            let wanted = self.rng.random_range(1..=limit.min(3));
            for quantity in (1..=wanted).rev() {
                let lines = vec![Line { sku: item.sku.clone(), quantity }];
                match self.check_out(intent, lines, &admission).await? {
                    Visit::Done => return Ok(()),
                    Visit::TooFew => {}
                    Visit::AnotherAdmission => break,
                }
            }
        }
        Ok(())
    }

    /// Asks for a place in the line.
    pub(super) async fn join(&self) -> Result<JoinResponse, Status> {
        let request_id = Uuid::new_v4();
        let joined = self
            .call(Call::Join, || {
                let mut room = self.crowd.room(self.number);
                let message = self.buyer.join(request_id);
                async move { room.join(request(message)).await }
            })
            .await?;
        let number = joined.position.as_ref().map(|position| position.number).unwrap_or_default();
        self.note(json!({ "event": "joined", "buyer": self.buyer.buyer_id, "number": number }))
            .await;
        Ok(joined)
    }

    /// Joins the line and waits for an admission; `None` when everything is sold or the room
    /// closed. Where there is no line, the admission is empty.
    pub(super) async fn wait_in_line(&self) -> anyhow::Result<Option<String>> {
        if !self.crowd.has_room() {
            return Ok(Some(String::new()));
        }
        let counters = &self.crowd.counters;
        loop {
            let joined = match self.join().await {
                Ok(joined) => joined,
                Err(status) if reason(&status) == Some(Reason::SaleNotOpen) => {
                    count(&counters.sold_out);
                    return Ok(None);
                }
                Err(status) => return Err(status.into()),
            };
            let number = joined.position.map(|position| position.number).unwrap_or_default();
            count(&counters.waiting);
            let outcome = self.watch_line(joined.ticket, number).await;
            counters.waiting.fetch_sub(1, Ordering::Relaxed);
            match outcome? {
                InLine::Admitted(admission) => return Ok(Some(admission)),
                InLine::Over => return Ok(None),
                InLine::Again => {}
            }
        }
    }

    async fn watch_line(&self, ticket: String, number: i64) -> anyhow::Result<InLine> {
        let counters = &self.crowd.counters;
        loop {
            let mut room = self.crowd.room(self.number);
            let message = WatchPositionRequest { ticket: ticket.clone() };
            let mut positions = match room.watch_position(Request::new(message)).await {
                Ok(positions) => positions.into_inner(),
                Err(status) => {
                    self.pause_or_fail(Call::WatchPosition, status).await?;
                    continue;
                }
            };
            loop {
                let position = match positions.message().await {
                    Ok(Some(answer)) => answer.position.unwrap_or_default(),
                    // A stream that ends or breaks is opened again: the ticket keeps the place.
                    Ok(None) => break,
                    Err(status) => {
                        self.pause_or_fail(Call::WatchPosition, status).await?;
                        break;
                    }
                };
                match position.outlook() {
                    Outlook::Admitted => {
                        count(&counters.admitted);
                        self.note(
                            json!({ "event": "admitted", "buyer": self.buyer.buyer_id, "number": number }),
                        )
                        .await;
                        return Ok(InLine::Admitted(position.admission));
                    }
                    Outlook::Lapsed | Outlook::Left | Outlook::Used => {
                        return Ok(InLine::Again);
                    }
                    Outlook::SoldOut | Outlook::Closed => {
                        count(&counters.sold_out);
                        return Ok(InLine::Over);
                    }
                    Outlook::NotStarted
                    | Outlook::Waiting
                    | Outlook::SoldOutForNow
                    | Outlook::Paused
                    | Outlook::Unspecified => {}
                }
            }
        }
    }

    /// Asks for one more than a buyer may have. That has to be refused and must leave the admission
    /// unspent.
    async fn ask_too_much(&self, sku: &str, limit: i64, admission: &str) -> anyhow::Result<()> {
        let lines = vec![Line { sku: sku.to_owned(), quantity: limit + 1 }];
        match self.place(Uuid::new_v4(), String::new(), lines, admission, GOOD_CARD).await {
            Err(status) => match reason(&status) {
                Some(Reason::BuyerLimit) => {
                    count(&self.crowd.counters.limited);
                    Ok(())
                }
                Some(Reason::SoldOut) => Ok(()),
                _ => Err(status.into()),
            },
            Ok(order) => {
                bail!("order {} has {} units over the limit of {limit}", order.order_id, limit + 1)
            }
        }
    }

    async fn check_out(
        &mut self,
        intent: Intent,
        lines: Vec<Line>,
        admission: &str,
    ) -> anyhow::Result<Visit> {
        let counters = &self.crowd.counters;
        // Half of the crowd fills a cart first, half orders straight away.
        let cart = intent == Intent::Abandon || self.rng.random_bool(0.5);
        let (hold_id, lines) = if cart {
            match self.begin(lines, admission).await {
                Ok(hold_id) => {
                    count(&counters.held);
                    (hold_id, Vec::new())
                }
                Err(status) => return self.refused("BeginCheckout", Uuid::nil(), status).await,
            }
        } else {
            (String::new(), lines)
        };
        if intent == Intent::Abandon {
            count(&counters.abandoned);
            return Ok(Visit::Done);
        }
        let request_id = Uuid::new_v4();
        let card = if intent == Intent::Decline { BAD_CARD } else { GOOD_CARD };
        let order =
            match self.place(request_id, hold_id.clone(), lines.clone(), admission, card).await {
                Ok(order) => order,
                Err(status) => return self.refused("PlaceOrder", request_id, status).await,
            };
        let accepted = Instant::now();
        self.accepted(&order);
        if intent == Intent::Retry {
            for _ in 0..2 {
                let again =
                    self.place(request_id, hold_id.clone(), lines.clone(), admission, card).await?;
                ensure!(
                    again.order_id == order.order_id,
                    "the same request id was answered with order {} and then {}",
                    order.order_id,
                    again.order_id
                );
                count(&counters.replayed);
            }
        }
        if intent == Intent::Cancel {
            self.cancel(&order.order_id).await?;
        }
        self.see_end(&order.order_id, accepted).await?;
        Ok(Visit::Done)
    }

    /// Counts an order that was accepted.
    pub(super) fn accepted(&self, order: &Order) {
        let counters = &self.crowd.counters;
        if order.state() == OrderState::AcceptancePending {
            count(&counters.pending);
        }
        count(&counters.accepted);
    }

    /// Follows an order to its end, and counts that.
    pub(super) async fn see_end(&self, order_id: &str, accepted: Instant) -> anyhow::Result<()> {
        let counters = &self.crowd.counters;
        let end = self.follow(order_id).await?;
        match end.state() {
            OrderState::Confirmed => {
                count(&counters.confirmed);
                self.crowd.measures.accepted_to_confirmed.record(accepted.elapsed());
            }
            OrderState::Declined => count(&counters.declined),
            OrderState::Cancelled => count(&counters.cancelled),
            OrderState::Unspecified
            | OrderState::AcceptancePending
            | OrderState::Accepted
            | OrderState::DeadLetter
            | OrderState::Claimed
            | OrderState::Paying
            | OrderState::ActionRequired
            | OrderState::Refunded => bail!("the order ended as {}", order_state(&end)),
        }
        Ok(())
    }

    async fn begin(&self, lines: Vec<Line>, admission: &str) -> Result<String, Status> {
        let request_id = Uuid::new_v4();
        let answer = self
            .call(Call::BeginCheckout, || {
                let mut checkout = self.crowd.checkout(self.number);
                let message = self.buyer.begin(request_id, lines.clone(), admission.to_owned());
                async move { checkout.begin_checkout(request(message)).await }
            })
            .await?;
        Ok(answer.hold_id)
    }

    pub(super) async fn place(
        &self,
        request_id: Uuid,
        hold_id: String,
        lines: Vec<Line>,
        admission: &str,
        card: &str,
    ) -> Result<Order, Status> {
        let answer = self
            .call(Call::PlaceOrder, || {
                let mut checkout = self.crowd.checkout(self.number);
                let (hold_id, lines) = (hold_id.clone(), lines.clone());
                let message =
                    self.buyer.place(request_id, hold_id, lines, admission.to_owned(), card);
                async move { checkout.place_order(request(message)).await }
            })
            .await?;
        let order = answer.order.unwrap_or_default();
        self.note(json!({
            "event": "placed", "buyer": self.buyer.buyer_id, "request_id": request_id, "order_id": order.order_id,
            "state": order_state(&order),
        }))
        .await;
        Ok(order)
    }

    async fn cancel(&self, order_id: &str) -> anyhow::Result<()> {
        let request_id = Uuid::new_v4();
        let answer = self
            .call(Call::CancelOrder, || {
                let mut checkout = self.crowd.checkout(self.number);
                let message = self.buyer.cancel(request_id, order_id);
                async move { checkout.cancel_order(request(message)).await }
            })
            .await;
        match answer {
            Ok(_) => Ok(()),
            // The payment was faster.
            Err(status) if reason(&status) == Some(Reason::OrderNotCancellable) => Ok(()),
            Err(status) => {
                Err(anyhow::Error::new(status).context("the order could not be cancelled"))
            }
        }
    }

    /// Watches an order until it has reached its end.
    async fn follow(&self, order_id: &str) -> anyhow::Result<Order> {
        loop {
            let message = self.buyer.watch(order_id);
            let mut changes =
                match self.crowd.checkout(self.number).watch_order(Request::new(message)).await {
                    Ok(changes) => changes.into_inner(),
                    Err(status) => {
                        self.pause_or_fail(Call::WatchOrder, status).await?;
                        continue;
                    }
                };
            loop {
                let order = match changes.message().await {
                    Ok(Some(change)) => change.order.unwrap_or_default(),
                    Ok(None) => break,
                    Err(status) => {
                        self.pause_or_fail(Call::WatchOrder, status).await?;
                        break;
                    }
                };
                if is_over(&order) {
                    self.note(json!({
                        "event": "ended", "buyer": self.buyer.buyer_id, "order_id": order_id, "state": order_state(&order),
                    }))
                    .await;
                    return Ok(order);
                }
            }
        }
    }

    /// What a refusal means to this visit.
    async fn refused(&self, call: &str, request_id: Uuid, status: Status) -> anyhow::Result<Visit> {
        let Some(reason) = reason(&status) else { return Err(status.into()) };
        self.note(json!({
            "event": "refused", "buyer": self.buyer.buyer_id, "request_id": request_id, "call": call, "reason": reason.as_str(),
        }))
        .await;
        if reason == Reason::SoldOut {
            return Ok(Visit::TooFew);
        }
        if reason == Reason::SaleNotOpen {
            count(&self.crowd.counters.sold_out);
            return Ok(Visit::Done);
        }
        let over = [Reason::AdmissionExpired, Reason::AdmissionWithdrawn, Reason::HoldExpired]
            .contains(&reason);
        if over {
            return Ok(Visit::AnotherAdmission);
        }
        Err(status.into())
    }

    /// Makes a call, and makes it again under the same request id while its failure invites that.
    async fn call<T, F, Fut>(&self, call: Call, mut make: F) -> Result<T, Status>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let measures = &self.crowd.measures;
        let first_due = self.due.lock().unwrap_or_else(PoisonError::into_inner).take();
        let first_due = first_due.unwrap_or_else(Instant::now);
        let mut due = first_due;
        let mut attempt = 0;
        loop {
            let sent = Instant::now();
            let answer = make().await;
            measures.answered(call, due, sent, answer.as_ref().err());
            match answer {
                Ok(answer) => {
                    measures.done(call, first_due);
                    return Ok(answer.into_inner());
                }
                Err(status) => {
                    attempt += 1;
                    let Some(delay) = wait(&status).filter(|_| attempt < ATTEMPTS) else {
                        return Err(status);
                    };
                    count(&self.crowd.counters.retried_calls);
                    due = Instant::now() + delay;
                    tokio::time::sleep_until(due.into()).await;
                }
            }
        }
    }

    async fn pause_or_fail(&self, call: Call, status: Status) -> anyhow::Result<()> {
        self.crowd.measures.refused(call, &status);
        match wait(&status) {
            Some(delay) => {
                count(&self.crowd.counters.retried_calls);
                tokio::time::sleep(delay).await;
                Ok(())
            }
            None => Err(status.into()),
        }
    }

    async fn note(&self, event: serde_json::Value) {
        self.crowd.history.add(event).await;
    }
}

/// How a wait in line ended.
enum InLine {
    /// With an admission.
    Admitted(String),
    /// The place is gone; there may be another one at the tail.
    Again,
    /// There is nothing to wait for.
    Over,
}

/// How an attempt to check out ended.
enum Visit {
    /// Nothing more to do.
    Done,
    /// Too few units; fewer may do.
    TooFew,
    /// The admission or the hold has run out.
    AnotherAdmission,
}

pub(super) fn reason(status: &Status) -> Option<Reason> {
    Failure::from_status(status).map(|failure| failure.reason())
}

/// How long a failure asks to wait before the same request is sent again; `None` if that cannot
/// help.
fn wait(status: &Status) -> Option<Duration> {
    let failure = Failure::from_status(status)?;
    match failure.reason().retry() {
        Retry::SameAfter(delay) => Some(failure.delay().unwrap_or(delay)),
        // A line that buyers may join at a later moment says when.
        Retry::Never => failure.delay(),
    }
}

/// Whether what ended a visit was a typed refusal that invited to come again, as an overloaded
/// service gives it.
pub(crate) fn turned_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Status>().and_then(wait).is_some()
}
