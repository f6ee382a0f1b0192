//! Checkout's side of inventory: placed holds as orders and as messages.

use std::collections::BTreeMap;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{
    GetHoldRequest, Hold, HoldOutcome, HoldSettlement, HoldState, ListPlacedHoldsRequest,
    PlaceHoldRequest, PlacedHold, ReserveRequest, SettleHoldsRequest, UnreadableHold,
    inventory_admin_service_client::InventoryAdminServiceClient,
    inventory_service_client::InventoryServiceClient,
};
use flashsale_queue::{OrderMessage, QueueMessage, unreadable_order};
use flashsale_service::{peer::PeerChannel, wire};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{PEER, batch::Placing};
use crate::domain::{Details, Line, Order, OrderState};

/// The stock, as checkout uses it.
#[derive(Debug, Clone)]
pub struct Stock {
    stock: InventoryServiceClient<PeerChannel>,
    admin: InventoryAdminServiceClient<PeerChannel>,
    placing: Placing,
}

/// An order that a hold carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The order, as seen from its hold alone.
    pub order: Order,
    /// Where the hold stands.
    pub hold_state: HoldState,
    epoch: i64,
    admission_id: Option<String>,
    request_id: Uuid,
    request_hash: String,
    details: Kept,
}

/// What a hold keeps of its order besides its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// All of it.
    Whole(Details),
    /// Something that cannot be read.
    Unreadable(String),
    /// Nothing: the record has the order.
    Dropped,
}

impl Carried {
    /// The order whole; `None` once the record has it and the hold has dropped it, and where the
    /// hold cannot be read.
    pub fn message(&self) -> Option<OrderMessage> {
        let Kept::Whole(details) = &self.details else { return None };
        let details = details.clone();
        Some(OrderMessage {
            email: details.email,
            contact_name: details.contact_name,
            payment_method: details.payment_method,
            locale: details.locale,
            ..self.without_details()
        })
    }

    /// What the hold keeps besides the lines, if that cannot be read.
    pub fn unreadable(&self) -> Option<&str> {
        match &self.details {
            Kept::Unreadable(raw) => Some(raw),
            Kept::Whole(_) | Kept::Dropped => None,
        }
    }

    /// What the relay has to tell the queue: the order, or that it cannot be read. `None` if there
    /// is nothing.
    pub fn queue_message(&self) -> Option<QueueMessage> {
        if let Some(raw) = self.unreadable() {
            return Some(QueueMessage::Unreadable {
                sale_id: self.order.sale_id,
                hold_id: self.order.hold_id.to_string(),
                order_id: self.order.order_id,
                order: Some(self.without_details()),
                raw: start(raw),
            });
        }
        self.message().map(|order| QueueMessage::Place { order })
    }

    fn without_details(&self) -> OrderMessage {
        OrderMessage {
            epoch: self.epoch,
            admission_id: self.admission_id.clone(),
            request_id: self.request_id,
            request_hash: self.request_hash.clone(),
            ..recorded(&self.order)
        }
    }
}

/// Placed holds whose order the record is not known to have.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those that say at least whose order it is, oldest first.
    pub placed: Vec<Carried>,
    /// The others.
    pub unreadable: Vec<Unreadable>,
}

/// A placed hold of which nothing can be relied on.
#[derive(Debug)]
pub struct Unreadable {
    /// What stands for its order.
    pub order_id: Uuid,
    /// What the queue is told.
    pub message: QueueMessage,
}

impl Unreadable {
    fn new(sale_id: Uuid, hold_id: String, raw: &str) -> Self {
        let order_id = unreadable_order(sale_id, &hold_id);
        let raw = start(raw);
        Self {
            order_id,
            message: QueueMessage::Unreadable { sale_id, hold_id, order_id, order: None, raw },
        }
    }
}

/// The most that a message tells of what cannot be read, in bytes. In JSON a byte may take six:
/// this has to fit a message.
const MAX_RAW_BYTES: usize = 8 * 1_024;

/// As much of a text as a message has room for.
fn start(text: &str) -> String {
    let end = (0..=MAX_RAW_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or(0)].to_owned()
}

/// The message about an order that the record has already: the claims know everything but its id better.
pub(crate) fn recorded(order: &Order) -> OrderMessage {
    let lines = order.lines.iter().map(|line| flashsale_queue::Line {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price_minor: line.unit_price_minor,
    });
    OrderMessage {
        order_id: order.order_id,
        sale_id: order.sale_id,
        buyer_id: order.buyer_id.clone(),
        hold_id: order.hold_id,
        epoch: 0,
        admission_id: None,
        request_id: Uuid::nil(),
        request_hash: String::new(),
        lines: lines.collect(),
        currency: order.currency.clone(),
        total_minor: order.total_minor,
        placed_at_ms: i64::try_from(order.placed_at.unix_timestamp_nanos() / 1_000_000)
            .unwrap_or(0),
        email: String::new(),
        contact_name: String::new(),
        payment_method: String::new(),
        locale: String::new(),
    }
}

impl Stock {
    /// Inventory behind `channel`.
    pub fn new(channel: PeerChannel) -> Self {
        Self {
            stock: InventoryServiceClient::new(channel.clone()),
            admin: InventoryAdminServiceClient::new(channel.clone()),
            placing: Placing::new(channel),
        }
    }

    /// Holds units.
    ///
    /// # Errors
    /// Inventory's own refusals, as they are.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<Hold, Failure> {
        let answer = self.stock.clone().reserve(request).await;
        let answer = answer.map_err(|status| Failure::from_peer(PEER, &status))?.into_inner();
        answer.hold.ok_or_else(|| Failure::internal("inventory reserved without a hold"))
    }

    /// Places a hold, or takes and places lines. Says whether the request was known before.
    ///
    /// # Errors
    /// Inventory's own refusals, as they are.
    pub async fn place(&self, request: PlaceHoldRequest) -> Result<(Carried, bool), Failure> {
        let answer = self.placing.place(request).await?;
        let placed =
            answer.placed.ok_or_else(|| Failure::internal("inventory placed without a hold"))?;
        Ok((carried(placed)?, answer.replayed))
    }

    /// The order that a hold carries or has carried.
    ///
    /// # Errors
    /// `HOLD_NOT_FOUND`, or inventory's own failures.
    pub async fn by_order(&self, sale_id: Uuid, order_id: Uuid) -> Result<Carried, Failure> {
        let request = GetHoldRequest {
            sale_id: sale_id.to_string(),
            order_id: order_id.to_string(),
            ..GetHoldRequest::default()
        };
        let answer = self.stock.clone().get_hold(request).await;
        let answer = answer.map_err(|status| Failure::from_peer(PEER, &status))?.into_inner();
        answer.placed.map_or_else(
            || Err(Failure::internal("inventory found an order's hold that was never placed")),
            carried,
        )
    }

    /// Placed holds whose order the record is not known to have, each by itself: one that cannot be
    /// read keeps no other from being listed.
    ///
    /// # Errors
    /// Inventory's own failures.
    pub async fn placed_holds(
        &self,
        sale_id: Uuid,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<Listed, Failure> {
        let request = ListPlacedHoldsRequest {
            sale_id: sale_id.to_string(),
            placed_before: Some(wire::timestamp(before)),
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
        };
        let answer = self.admin.clone().list_placed_holds(request).await;
        let answer = answer.map_err(|status| Failure::from_peer(PEER, &status))?.into_inner();
        let mut listed = Listed::default();
        for UnreadableHold { hold_id, hold, order_details } in answer.unreadable {
            let raw = format!("hold: {hold}\norder_details: {order_details}");
            listed.unreadable.push(Unreadable::new(sale_id, hold_id, &raw));
        }
        for placed in answer.placed {
            let hold_id = placed.hold.as_ref().map(|hold| hold.hold_id.clone());
            let raw = placed.order_details.clone();
            match carried(placed) {
                Ok(mut carried) => {
                    // Dropped are the details of orders that the record has, and those are not
                    // listed.
                    if carried.details == Kept::Dropped {
                        carried.details = Kept::Unreadable(String::new());
                    }
                    listed.placed.push(carried);
                }
                // Its values were logged where it failed.
                Err(_) => {
                    let raw = format!("hold: malformed\norder_details: {raw}");
                    let hold_id = hold_id.unwrap_or_default();
                    listed.unreadable.push(Unreadable::new(sale_id, hold_id, &raw));
                }
            }
        }
        Ok(listed)
    }

    /// The units of a buyer's hold by sku, whatever became of it; `None` if there is no such hold.
    ///
    /// # Errors
    /// Inventory's own failures.
    pub async fn units(
        &self,
        sale_id: &str,
        hold_id: Uuid,
        buyer_id: &str,
    ) -> Result<Option<BTreeMap<String, i64>>, Failure> {
        let request = GetHoldRequest {
            sale_id: sale_id.to_owned(),
            hold_id: hold_id.to_string(),
            buyer_id: buyer_id.to_owned(),
            ..GetHoldRequest::default()
        };
        match self.stock.clone().get_hold(request).await {
            Ok(answer) => {
                let hold = answer.into_inner().hold;
                let hold =
                    hold.ok_or_else(|| Failure::internal("inventory found a hold without one"))?;
                Ok(Some(hold.lines.into_iter().map(|line| (line.sku, line.quantity)).collect()))
            }
            Err(status) => match Failure::from_peer(PEER, &status) {
                failure if failure.reason() == Reason::HoldNotFound => Ok(None),
                failure => Err(failure),
            },
        }
    }

    /// Tells inventory what the record says of these holds: CLAIMED if it has their orders, RELEASED if it has them with other holds.
    ///
    /// # Errors
    /// Inventory's own failures; telling it again is harmless.
    pub async fn settle<'a>(
        &self,
        sale_id: Uuid,
        holds: impl Iterator<Item = (&'a Order, HoldOutcome)>,
    ) -> Result<(), Failure> {
        let request = SettleHoldsRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale_id.to_string(),
            settlements: holds
                .map(|(order, outcome)| HoldSettlement {
                    hold_id: order.hold_id.to_string(),
                    outcome: outcome.into(),
                    order_id: order.order_id.to_string(),
                })
                .collect(),
        };
        let answer = self.admin.clone().settle_holds(request).await;
        answer.map(|_| ()).map_err(|status| Failure::from_peer(PEER, &status))
    }
}

fn carried(placed: PlacedHold) -> Result<Carried, Failure> {
    let malformed = |what: &str| {
        Failure::internal(format!("inventory sent a placed hold with a malformed {what}"))
    };
    let PlacedHold { hold, order_details, request_id, request_hash } = placed;
    let hold = hold.ok_or_else(|| malformed("hold"))?;
    let id = |what: &'static str, value: &str| value.parse::<Uuid>().map_err(|_| malformed(what));
    let amount = |money: &Option<flashsale_proto::Money>| {
        let money = money.as_ref().ok_or_else(|| malformed("price"))?;
        wire::minor("price", money).map_err(|_| malformed("price"))
    };
    let (total_minor, currency) = amount(&hold.total)?;
    let lines = hold
        .lines
        .iter()
        .map(|line| {
            Ok(Line {
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price_minor: amount(&line.unit_price)?.0,
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let placed_at = hold.place_time.as_ref().ok_or_else(|| malformed("place_time"))?;
    let placed_at = wire::datetime("place_time", placed_at).map_err(|_| malformed("place_time"))?;
    let hold_state = HoldState::try_from(hold.state).map_err(|_| malformed("state"))?;
    let details = if order_details.is_empty() {
        Kept::Dropped
    } else {
        serde_json::from_str(&order_details)
            .map_or_else(|_| Kept::Unreadable(order_details), Kept::Whole)
    };
    Ok(Carried {
        order: Order {
            order_id: id("order_id", &hold.order_id)?,
            sale_id: id("sale_id", &hold.sale_id)?,
            buyer_id: hold.buyer_id,
            hold_id: id("hold_id", &hold.hold_id)?,
            // What is placed rolls forward whatever happens; that it is not queued yet only PlaceOrder can know.
            state: OrderState::Accepted,
            lines,
            currency: currency.code().to_owned(),
            total_minor,
            placed_at,
            updated_at: placed_at,
            cancel_requested: false,
            end_reason: None,
        },
        hold_state,
        epoch: hold.epoch,
        admission_id: Some(hold.admission_id).filter(|id| !id.is_empty()),
        request_id: id("request_id", &request_id)?,
        request_hash,
        details,
    })
}
