//! Placing orders.

use std::collections::BTreeMap;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{HoldState, PlaceHoldRequest};
use flashsale_queue::{PublishError, QueueMessage};
use flashsale_service::{boottime::BootInstant, wire};
use uuid::Uuid;

use super::Orders;
use crate::{
    domain::{Details, Order, OrderState, Recorded},
    peers::inventory::PlacedOrder,
};

impl Orders {
    /// Places an order: one script in the stock store, one publish. A failed publish undoes
    /// nothing: a placed order rolls forward, by the buyer's retry or by the relay.
    ///
    /// It is ACCEPTED only if the queue has acked it soon enough after inventory's check that its
    /// Redis is the one that counts ([`OrderState::placed`]). Only inventory knows when it makes
    /// that check, so that the clock starts before inventory is called; a replay is checked again
    /// and starts its own clock.
    ///
    /// # Errors
    /// The refusals of the admission control and of inventory; they have taken no stock.
    pub async fn place(
        &self,
        request: PlaceHoldRequest,
        details: Details,
    ) -> Result<Order, Failure> {
        self.admission_control.admit(&request.sale_id)?;
        let before_check = BootInstant::now();
        let (placed, replayed) = self.place_hold(request, details).await?;
        let Some(order) = placed.message() else {
            // Only a replay finds its order recorded, or its details unreadable; it is answered
            // with the present state.
            return self.current_order(placed).await;
        };
        if replayed && placed.hold_state != HoldState::Placed {
            return self.current_order(placed).await;
        }
        let message = QueueMessage::Place { order };
        let acked = match self.queue.publish(&message, None).await {
            Ok(()) => true,
            Err(PublishError::Full) => {
                self.admission_control.note_queue_full();
                false
            }
            Err(PublishError::Unknown | PublishError::Unavailable) => false,
        };
        let state = OrderState::placed(acked, before_check.elapsed());
        Ok(Order { state, ..placed.order })
    }

    /// Places a hold, or reserves and places lines. Given both, the lines have to equal those of
    /// the hold; if the hold does not exist, they are reserved again under the same request id,
    /// with all checks as for lines alone. Returns whether the request is a replay.
    ///
    /// The request id binds its content: for a hold the hold's id, in place of a lost hold the
    /// lines and its id. The total that the buyer expects is part of it, and holds for each way: a
    /// lost hold that costs something else by now is not taken again.
    ///
    /// # Errors
    /// Inventory's refusals, or `HOLD_LOST`; they have taken no stock.
    async fn place_hold(
        &self,
        mut request: PlaceHoldRequest,
        mut details: Details,
    ) -> Result<(PlacedOrder, bool), Failure> {
        request.order_details = serde_json::to_string(&details).map_err(Failure::internal)?;
        if request.hold_id.is_empty() {
            return self.inventory.place(request).await;
        }
        let lines = std::mem::take(&mut request.lines);
        if lines.is_empty() {
            let sale_id = request.sale_id.parse::<Uuid>();
            return match (self.inventory.place(request).await, sale_id) {
                // A rebuild drops holds without an order: where there was one, a hold that is not
                // found counts as lost by us.
                (Err(failure), Ok(sale_id)) if failure.reason() == Reason::HoldNotFound => {
                    Err(if self.record.rebuilt(sale_id).await? { hold_lost() } else { failure })
                }
                (other, _) => other,
            };
        }

        let hold_id = wire::uuid("hold_id", &request.hold_id, Reason::ArgumentInvalid)?;
        // Lines beside a hold say what to take should the hold be lost. While it exists they may
        // not change what is bought.
        if let Some(held) =
            self.inventory.units(&request.sale_id, hold_id, &request.buyer_id).await?
        {
            let mut asked: BTreeMap<String, i64> = BTreeMap::new();
            for line in &lines {
                let units = asked.entry(line.sku.clone()).or_default();
                *units = units.saturating_add(line.quantity);
            }
            if asked != held {
                return Err(Failure::invalid("lines", "are not what the hold has; leave them out"));
            }
            match self.inventory.place(request.clone()).await {
                // Lost between the two calls.
                Err(failure) if failure.reason() == Reason::HoldNotFound => {}
                other => return other,
            }
        }
        details.instead_of = Some(hold_id);
        // One call takes the units and places them: a refusal leaves no hold behind.
        let again = PlaceHoldRequest {
            hold_id: String::new(),
            lines,
            order_details: serde_json::to_string(&details).map_err(Failure::internal)?,
            ..request
        };
        self.inventory.place(again).await.map_err(|failure| {
            if failure.reason() == Reason::SoldOut { hold_lost() } else { failure }
        })
    }

    /// The recorded order of a hold, or, while Postgres is unavailable, as much as the hold tells.
    async fn current_order(&self, placed: PlacedOrder) -> Result<Order, Failure> {
        match self.record.order(placed.order.order_id).await {
            Ok(Some(order)) => Ok(order),
            Ok(None) if placed.unreadable().is_some() => {
                Ok(Order { state: OrderState::AcceptancePending, ..placed.order })
            }
            // Its units were lost and could not be taken again: it is about to end, and must not be
            // accepted a second time.
            Ok(None) if placed.hold_state != HoldState::Placed => {
                Ok(Order { state: OrderState::AcceptancePending, ..placed.order })
            }
            Ok(None) => Ok(placed.order),
            Err(error) => match placed.hold_state {
                HoldState::Placed => Ok(placed.order),
                HoldState::Sold => {
                    Ok(Order { state: OrderState::Recorded(Recorded::Confirmed), ..placed.order })
                }
                HoldState::Unspecified
                | HoldState::Held
                | HoldState::Released
                | HoldState::Expired => Err(error.into()),
            },
        }
    }
}

fn hold_lost() -> Failure {
    Failure::new(Reason::HoldLost, "the hold was lost with the stock that kept it")
}
