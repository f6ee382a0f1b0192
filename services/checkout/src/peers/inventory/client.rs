//! The calls of inventory.

use std::collections::BTreeMap;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{
    GetHoldRequest, Hold, HoldOutcome, HoldSettlement, ListPlacedHoldsRequest, PlaceHoldRequest,
    ReserveRequest, SettleHoldsRequest, UnreadableHold,
    inventory_admin_service_client::InventoryAdminServiceClient,
    inventory_service_client::InventoryServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{PEER, PlacedHolds, PlacedOrder, UnreadableReport, batch::Placements};
use crate::domain::Order;

/// The inventory service. Clones share the connection and the batches.
#[derive(Debug, Clone)]
pub struct Inventory {
    service: InventoryServiceClient<PeerChannel>,
    admin: InventoryAdminServiceClient<PeerChannel>,
    placements: Placements,
}

impl Inventory {
    pub fn new(channel: PeerChannel) -> Self {
        Self {
            service: InventoryServiceClient::new(channel.clone()),
            admin: InventoryAdminServiceClient::new(channel.clone()),
            placements: Placements::new(channel),
        }
    }

    /// Reserves units for the sale's hold length.
    ///
    /// # Errors
    /// Inventory's refusals, unchanged.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<Hold, Failure> {
        let answer = self.service.clone().reserve(request).await;
        let answer = answer.map_err(|status| Failure::from_peer(PEER, &status))?.into_inner();
        answer.hold.ok_or_else(|| Failure::internal("inventory reserved without a hold"))
    }

    /// Places a hold, or reserves and places lines. Returns whether the request is a replay.
    ///
    /// # Errors
    /// Inventory's refusals, unchanged.
    pub async fn place(&self, request: PlaceHoldRequest) -> Result<(PlacedOrder, bool), Failure> {
        let answer = self.placements.place(request).await?;
        let placed =
            answer.placed.ok_or_else(|| Failure::internal("inventory placed without a hold"))?;
        Ok((placed.try_into()?, answer.replayed))
    }

    /// The order that a hold carries or has carried.
    ///
    /// # Errors
    /// `HOLD_NOT_FOUND`, or another failure of inventory's.
    pub async fn by_order(&self, sale_id: Uuid, order_id: Uuid) -> Result<PlacedOrder, Failure> {
        let request = GetHoldRequest {
            sale_id: sale_id.to_string(),
            order_id: order_id.to_string(),
            ..GetHoldRequest::default()
        };
        let answer = self.service.clone().get_hold(request).await;
        let answer = answer.map_err(|status| Failure::from_peer(PEER, &status))?.into_inner();
        answer.placed.map_or_else(
            || Err(Failure::internal("inventory found an order's hold that was never placed")),
            PlacedOrder::try_from,
        )
    }

    /// Placed holds whose order is not known to be recorded. Each is decoded separately: one that
    /// cannot be read does not hide the others.
    ///
    /// # Errors
    /// Inventory's failures.
    pub async fn placed_holds(
        &self,
        sale_id: Uuid,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<PlacedHolds, Failure> {
        let request = ListPlacedHoldsRequest {
            sale_id: sale_id.to_string(),
            placed_before: Some(wire::timestamp(before)),
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
        };
        let answer = self.admin.clone().list_placed_holds(request).await;
        let answer = answer.map_err(|status| Failure::from_peer(PEER, &status))?.into_inner();
        let mut listed = PlacedHolds::default();
        for UnreadableHold { hold_id, hold, order_details } in answer.unreadable {
            let raw = format!("hold: {hold}\norder_details: {order_details}");
            listed.unreadable.push(UnreadableReport::new(sale_id, hold_id, &raw));
        }
        for placed in answer.placed {
            let hold_id = placed.hold.as_ref().map(|hold| hold.hold_id.clone());
            let raw = placed.order_details.clone();
            match PlacedOrder::try_from(placed) {
                // Details are dropped once the order is recorded, and those holds are not listed.
                Ok(order) => listed.placed.push(order.not_recorded()),
                // The decoder has logged the values.
                Err(_) => {
                    let raw = format!("hold: malformed\norder_details: {raw}");
                    let hold_id = hold_id.unwrap_or_default();
                    listed.unreadable.push(UnreadableReport::new(sale_id, hold_id, &raw));
                }
            }
        }
        Ok(listed)
    }

    /// The units of a buyer's hold by sku, in whatever state the hold is; `None` if there is no
    /// such hold.
    ///
    /// # Errors
    /// Inventory's other failures.
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
        match self.service.clone().get_hold(request).await {
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

    /// Tells inventory the recorded outcome of these holds: CLAIMED where the record has the order
    /// with this hold, RELEASED where it has it with another. Idempotent.
    ///
    /// # Errors
    /// Inventory's failures.
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
