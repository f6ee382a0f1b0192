//! Inventory: has units taken again for parked orders, closes holds, and says what a hold carries.

use flashsale_errors::{Failure, Reason};
use flashsale_failpoint::Outside;
use flashsale_proto::inventory::{
    GetHoldRequest, HoldSettlement, Line, RetakeHoldsRequest, RetakeResult, SettleHoldsRequest,
    SettleResult, StragglingHold, inventory_admin_service_client::InventoryAdminServiceClient,
    inventory_service_client::InventoryServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use uuid::Uuid;

use crate::{
    domain::{Answers, FIRST_PRICE_REVISION, PlacedOrder, Retaken},
    steps,
};

/// The most holds of one call, as the contract says.
const CALL: usize = 500;

/// Inventory. A clone uses the same channel.
#[derive(Debug, Clone)]
pub struct Inventory {
    channel: Outside<PeerChannel>,
}

impl Inventory {
    /// Over a channel that may not be connected yet.
    pub fn new(channel: PeerChannel) -> Self {
        Self { channel: Outside::new(channel) }
    }

    /// Asks for the units of each of `orders`, all of one sale, in an epoch not before `min_epoch`.
    /// Orders about which inventory says nothing now are missing in the answer.
    pub(crate) async fn retake(
        &self,
        sale_id: Uuid,
        min_epoch: i64,
        orders: &[PlacedOrder],
    ) -> Answers {
        let mut answers = Answers::new();
        for orders in orders.chunks(CALL) {
            let failure = match self.retake_holds(sale_id, min_epoch, orders).await {
                Ok(answered) => {
                    answers.extend(answered);
                    continue;
                }
                Err(failure) => failure,
            };
            tracing::warn!(
                %sale_id,
                min_epoch,
                orders = orders.len(),
                reason = failure.reason().as_str(),
                "the units of parked orders are not taken again yet"
            );
            if !refused_for_good(failure.reason()) {
                return answers;
            }
            // One of them can never be taken. Asked about one by one, it does not hold up the
            // others.
            for order in orders {
                match self.retake_holds(sale_id, min_epoch, std::slice::from_ref(order)).await {
                    Ok(answered) => answers.extend(answered),
                    Err(failure) if refused_for_good(failure.reason()) => {
                        answers.insert(order.order_id, Retaken::Impossible);
                    }
                    // Inventory is away or the sale closed by now, for the rest of them as well.
                    Err(_) => return answers,
                }
            }
        }
        answers
    }

    async fn retake_holds(
        &self,
        sale_id: Uuid,
        min_epoch: i64,
        orders: &[PlacedOrder],
    ) -> Result<Vec<(Uuid, Retaken)>, Failure> {
        let request = RetakeHoldsRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale_id.to_string(),
            min_epoch,
            holds: orders.iter().map(straggling).collect::<Result<_, _>>()?,
        };
        let answer = self
            .channel
            .step(steps::INVENTORY_RETAKE, async |channel| {
                InventoryAdminServiceClient::new(channel.clone()).retake_holds(request).await
            })
            .await
            .map_err(|status| Failure::from_peer("inventory", &status))?
            .into_inner();
        if answer.results.len() != orders.len() {
            return Err(Failure::internal(
                "inventory answered for other holds than it was asked about",
            ));
        }
        let epoch = answer.epoch;
        let results = orders.iter().zip(answer.results());
        Ok(results
            .filter_map(|(order, result)| match result {
                RetakeResult::Taken => Some((order.order_id, Retaken::Taken(epoch))),
                RetakeResult::Refused => Some((order.order_id, Retaken::Refused(epoch))),
                RetakeResult::Unspecified => None,
            })
            .collect())
    }

    /// Calls `SettleHolds` for holds of one sale. `None` if the answer does not match the request.
    ///
    /// # Errors
    /// The failure that inventory answered with, or the transport's.
    pub(crate) async fn settle_holds(
        &self,
        sale_id: Uuid,
        settlements: Vec<HoldSettlement>,
    ) -> Result<Option<Vec<SettleResult>>, Failure> {
        let request = SettleHoldsRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale_id.to_string(),
            settlements,
        };
        let requested = request.settlements.len();
        let answer = self
            .channel
            .step(steps::INVENTORY_SETTLE, async |channel| {
                InventoryAdminServiceClient::new(channel.clone()).settle_holds(request).await
            })
            .await
            .map_err(|status| Failure::from_peer("inventory", &status))?
            .into_inner();
        Ok((answer.results.len() == requested).then(|| answer.results().collect()))
    }

    /// Whether the order's hold carries the order, so that the relay can publish it.
    ///
    /// # Errors
    /// The failure that inventory answered with, or the transport's, unless it says that the hold
    /// or its sale is gone.
    pub(crate) async fn hold_carries_order(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
    ) -> Result<bool, Failure> {
        let request = GetHoldRequest {
            sale_id: sale_id.to_string(),
            order_id: order_id.to_string(),
            ..GetHoldRequest::default()
        };
        let asked = self.channel.step(steps::INVENTORY_GET_HOLD, async |channel| {
            InventoryServiceClient::new(channel.clone()).get_hold(request).await
        });
        match asked.await {
            Ok(answer) => {
                let placed = answer.into_inner().placed;
                Ok(placed.is_some_and(|placed| !placed.order_details.is_empty()))
            }
            Err(status) => {
                let failure = Failure::from_peer("inventory", &status);
                let gone = matches!(
                    failure.reason(),
                    Reason::HoldNotFound | Reason::SaleNotFound | Reason::SaleNotOpen
                );
                if gone { Ok(false) } else { Err(failure) }
            }
        }
    }
}

/// Whether repeating the request cannot help: inventory objects to its content, or the sale is over
/// and its stock gone. Any other reason may be a store or a service that is away, which must not
/// end an order.
fn refused_for_good(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ArgumentInvalid
            | Reason::QuantityInvalid
            | Reason::SkuNotFound
            | Reason::SaleNotOpen
    )
}

fn straggling(order: &PlacedOrder) -> Result<StragglingHold, Failure> {
    let lines =
        order.lines.iter().map(|line| Line { sku: line.sku.clone(), quantity: line.quantity });
    let later = order.lines.iter().filter(|line| line.price_revision != FIRST_PRICE_REVISION);
    Ok(StragglingHold {
        hold_id: order.hold_id.to_string(),
        order_id: order.order_id.to_string(),
        buyer_id: order.buyer_id.clone(),
        lines: lines.collect(),
        admission_id: order.admission_id.clone().unwrap_or_default(),
        request_id: order.request_id.to_string(),
        request_hash: order.request_hash.clone(),
        place_time: Some(wire::timestamp(order.placed_at)),
        order_details: serde_json::to_string(&order.details).map_err(Failure::internal)?,
        price_revisions: later.map(|line| (line.sku.clone(), line.price_revision)).collect(),
    })
}
