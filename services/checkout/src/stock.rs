//! Checkout's side of inventory: placed holds as orders and as messages.

use std::collections::BTreeMap;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{
    GetHoldRequest, Hold, HoldOutcome, HoldSettlement, HoldState, ListPlacedHoldsRequest,
    PlaceHoldRequest, PlacedHold, ReserveRequest, SettleHoldsRequest,
    inventory_admin_service_client::InventoryAdminServiceClient,
    inventory_service_client::InventoryServiceClient,
};
use flashsale_queue::OrderMessage;
use flashsale_service::{peer::PeerChannel, wire};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    domain::{Details, Line, Order, OrderState},
    placing::Placing,
};

pub(crate) const PEER: &str = "inventory";

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
    details: Option<Details>,
}

impl Carried {
    /// The message for the queue; `None` once the record has the order and the hold has dropped it.
    pub fn message(&self) -> Option<OrderMessage> {
        let details = self.details.clone()?;
        Some(OrderMessage {
            epoch: self.epoch,
            admission_id: self.admission_id.clone(),
            request_id: self.request_id,
            request_hash: self.request_hash.clone(),
            email: details.email,
            contact_name: details.contact_name,
            payment_method: details.payment_method,
            locale: details.locale,
            ..recorded(&self.order)
        })
    }
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

    /// Placed holds whose order the record is not known to have, oldest first.
    ///
    /// # Errors
    /// Inventory's own failures.
    pub async fn placed_holds(
        &self,
        sale_id: Uuid,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<Carried>, Failure> {
        let request = ListPlacedHoldsRequest {
            sale_id: sale_id.to_string(),
            placed_before: Some(wire::timestamp(before)),
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
        };
        let answer = self.admin.clone().list_placed_holds(request).await;
        let answer = answer.map_err(|status| Failure::from_peer(PEER, &status))?.into_inner();
        answer.placed.into_iter().map(carried).collect()
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
        None
    } else {
        Some(serde_json::from_str(&order_details).map_err(|_| malformed("order_details"))?)
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
