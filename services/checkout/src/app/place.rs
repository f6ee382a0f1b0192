//! Placing from a hold that may be lost: holds that are not placed end with the stock that kept them.

use std::collections::BTreeMap;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::PlaceHoldRequest;
use flashsale_service::wire;
use uuid::Uuid;

use super::Orders;
use crate::{domain::Details, peers::inventory::Carried};

impl Orders {
    /// Places a hold, or takes and places lines. With both, the lines say what the hold has: if there is no such hold they are taken anew
    /// under the same request id, with everything checked as for lines alone. Says whether the request was known before.
    ///
    /// What is asked is what the request id binds: from a hold its id, instead of a lost hold the lines and its id.
    ///
    /// # Errors
    /// Inventory's refusals, or `HOLD_LOST`; they took nothing.
    pub(crate) async fn take(
        &self,
        mut request: PlaceHoldRequest,
        mut details: Details,
    ) -> Result<(Carried, bool), Failure> {
        request.order_details = serde_json::to_string(&details).map_err(Failure::internal)?;
        if request.hold_id.is_empty() {
            return self.stock.place(request).await;
        }
        let lines = std::mem::take(&mut request.lines);
        if lines.is_empty() {
            let sale_id = request.sale_id.parse::<Uuid>();
            return match (self.stock.place(request).await, sale_id) {
                (Err(failure), Ok(sale_id)) if failure.reason() == Reason::HoldNotFound => {
                    Err(if self.record.rebuilt(sale_id).await? { lost() } else { failure })
                }
                (other, _) => other,
            };
        }

        let hold_id = wire::uuid("hold_id", &request.hold_id, Reason::ArgumentInvalid)?;
        if let Some(held) = self.stock.units(&request.sale_id, hold_id, &request.buyer_id).await? {
            let mut asked: BTreeMap<String, i64> = BTreeMap::new();
            for line in &lines {
                let units = asked.entry(line.sku.clone()).or_default();
                *units = units.saturating_add(line.quantity);
            }
            if asked != held {
                return Err(Failure::invalid("lines", "are not what the hold has; leave them out"));
            }
            match self.stock.place(request.clone()).await {
                // Lost meanwhile.
                Err(failure) if failure.reason() == Reason::HoldNotFound => {}
                other => return other,
            }
        }
        details.instead_of = Some(hold_id);
        let anew = PlaceHoldRequest {
            hold_id: String::new(),
            lines,
            order_details: serde_json::to_string(&details).map_err(Failure::internal)?,
            ..request
        };
        self.stock
            .place(anew)
            .await
            .map_err(|failure| if failure.reason() == Reason::SoldOut { lost() } else { failure })
    }
}

fn lost() -> Failure {
    Failure::new(Reason::HoldLost, "the hold was lost with the stock that kept it")
}
