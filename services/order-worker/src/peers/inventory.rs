//! Asks inventory to take the units of parked orders anew, outside of any transaction.

use flashsale_errors::{Failure, Reason};
use flashsale_failpoint::Step as _;
use flashsale_proto::inventory::{
    PricedLine, RetakeHoldsRequest, RetakeResult, StragglingHold,
    inventory_admin_service_client::InventoryAdminServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use serde::Serialize;
use uuid::Uuid;

use crate::domain::{Answers, PlacedOrder, Retaken};

/// The most holds of one call, as the contract says.
const CALL: usize = 500;

/// What an order carries besides its lines, as checkout writes it.
#[derive(Serialize)]
struct Details<'a> {
    email: &'a str,
    contact_name: &'a str,
    payment_method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    locale: &'a str,
}

/// Asks about each of `orders`, all of one sale, in an epoch not before `min_epoch`. Those about
/// which nobody can say anything now are missing in the answer: they have to be asked about again.
pub(crate) async fn retake(
    inventory: &PeerChannel,
    sale_id: Uuid,
    min_epoch: i64,
    orders: &[PlacedOrder],
) -> Answers {
    let mut answers = Answers::new();
    for orders in orders.chunks(CALL) {
        let failure = match ask(inventory, sale_id, min_epoch, orders).await {
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
            "the units of parked orders are not taken anew yet"
        );
        if !refused_for_good(failure.reason()) {
            return answers;
        }
        // One of them can never be taken: it must not be in the way of the others.
        for order in orders {
            match ask(inventory, sale_id, min_epoch, std::slice::from_ref(order)).await {
                Ok(answered) => answers.extend(answered),
                Err(failure) if refused_for_good(failure.reason()) => {
                    answers.insert(order.order_id, Retaken::Impossible);
                }
                // Away or closed by now, for the rest of them as well.
                Err(_) => return answers,
            }
        }
    }
    answers
}

/// Whether asking the same again cannot help: inventory objects to what is asked, or the sale is
/// over for good and its stock gone with it. Only these: anything else may be a store or a service
/// that is away, and no order ends for that.
fn refused_for_good(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ArgumentInvalid
            | Reason::QuantityInvalid
            | Reason::SkuNotFound
            | Reason::SaleNotOpen
    )
}

async fn ask(
    inventory: &PeerChannel,
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
    let answer = InventoryAdminServiceClient::new(inventory.clone())
        .retake_holds(request)
        .step("inventory/retake")
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

fn straggling(order: &PlacedOrder) -> Result<StragglingHold, Failure> {
    let details = Details {
        email: &order.email,
        contact_name: &order.contact_name,
        payment_method: &order.payment_method,
        locale: &order.locale,
    };
    let lines = order.lines.iter().map(|line| PricedLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price: Some(wire::money(line.unit_price_minor, &order.currency)),
    });
    Ok(StragglingHold {
        hold_id: order.hold_id.to_string(),
        order_id: order.order_id.to_string(),
        buyer_id: order.buyer_id.clone(),
        lines: lines.collect(),
        admission_id: order.admission_id.clone().unwrap_or_default(),
        request_id: order.request_id.to_string(),
        request_hash: order.request_hash.clone(),
        place_time: Some(wire::timestamp(order.placed_at)),
        order_details: serde_json::to_string(&details).map_err(Failure::internal)?,
    })
}
