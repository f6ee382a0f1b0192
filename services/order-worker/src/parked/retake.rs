//! Asks inventory to take the units of stragglers anew, outside of any transaction.

use std::collections::BTreeMap;

use flashsale_errors::{Failure, Reason};
use flashsale_failpoint::Step as _;
use flashsale_proto::inventory::{
    PricedLine, RetakeHoldsRequest, RetakeResult, StragglingHold,
    inventory_admin_service_client::InventoryAdminServiceClient,
};
use flashsale_service::{peer::PeerChannel, wire};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{PlacedOrder, Straggler, Verdict, Verdicts};

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

/// Asks about each of `stragglers`. Those about which nobody can say anything now are missing in the answer: they have to be asked about again.
pub(super) async fn retake(
    pool: &PgPool,
    inventory: &PeerChannel,
    stragglers: &[Straggler],
) -> Result<Verdicts, sqlx::Error> {
    let mut by_sale: BTreeMap<(Uuid, i64), Vec<&PlacedOrder>> = BTreeMap::new();
    for Straggler { order, fence, .. } in stragglers {
        by_sale.entry((order.sale_id, *fence)).or_default().push(order);
    }
    let mut verdicts = Verdicts::new();
    for ((sale_id, fence), orders) in by_sale {
        for orders in orders.chunks(CALL) {
            let failure = match ask(inventory, sale_id, fence, orders).await {
                Ok(answered) => {
                    verdicts.extend(answered);
                    continue;
                }
                Err(failure) => failure,
            };
            tracing::warn!(
                %sale_id,
                fence,
                orders = orders.len(),
                reason = failure.reason().as_str(),
                "the units of straggling orders are not taken anew yet"
            );
            if failure.reason() == Reason::StockFenced {
                if rebuilt_again(pool, sale_id, fence).await? {
                    let rebuilding =
                        orders.iter().map(|order| (order.order_id, Verdict::Rebuilding));
                    verdicts.extend(rebuilding);
                }
            } else if refused_for_good(failure.reason()) {
                // One of them can never be taken: it must not be in the way of the others.
                for order in orders {
                    match ask(inventory, sale_id, fence, &[*order]).await {
                        Ok(answered) => verdicts.extend(answered),
                        Err(failure) if refused_for_good(failure.reason()) => {
                            verdicts.insert(order.order_id, Verdict::Refused);
                        }
                        Err(_) => {}
                    }
                }
            }
        }
    }
    Ok(verdicts)
}

/// Whether another rebuild than that of `fence` is under way. The one of `fence` has opened no stock that could be asked then, and the
/// next one computes its stock from the record, once the claims have come past its own marker. That marker is behind the orders in
/// question, or `fence` would be its epoch; so whatever is claimed of them is counted. The epoch only rises, which makes the answer true
/// for good: it does not matter that it is read before the claims' transaction.
async fn rebuilt_again(pool: &PgPool, sale_id: Uuid, fence: i64) -> Result<bool, sqlx::Error> {
    let epoch = sqlx::query_file_scalar!("sql/stock_epoch.sql", sale_id)
        .fetch_optional(pool)
        .step("sql/stock_epoch")
        .await?;
    Ok(epoch.is_some_and(|epoch| epoch > fence))
}

/// Whether inventory objects to what is asked, so that asking the same again cannot help. Only these: anything else may be a store or a
/// service that is away, and no order ends for that.
fn refused_for_good(reason: Reason) -> bool {
    matches!(reason, Reason::ArgumentInvalid | Reason::QuantityInvalid | Reason::SkuNotFound)
}

async fn ask(
    inventory: &PeerChannel,
    sale_id: Uuid,
    fence: i64,
    orders: &[&PlacedOrder],
) -> Result<Vec<(Uuid, Verdict)>, Failure> {
    let request = RetakeHoldsRequest {
        request_id: Uuid::new_v4().to_string(),
        sale_id: sale_id.to_string(),
        min_epoch: fence,
        holds: orders.iter().map(|order| straggling(order)).collect::<Result<_, _>>()?,
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
    let results = orders.iter().zip(answer.results());
    Ok(results
        .filter_map(|(order, result)| match result {
            RetakeResult::Taken => Some((order.order_id, Verdict::Taken)),
            RetakeResult::Refused => Some((order.order_id, Verdict::Refused)),
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
