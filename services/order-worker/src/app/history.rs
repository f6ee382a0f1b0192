//! The history of orders.

use flashsale_errors::{Failure, Reason};
use flashsale_pg::SteppedPool;
use uuid::Uuid;

use crate::store::transitions::{self, HistoryEntry};

/// At most `limit` entries of an order's history after number `after`, oldest first. An order of a
/// sale that does not satisfy `reached` reads as not found.
///
/// # Errors
/// `ORDER_NOT_FOUND`, or Postgres does not answer.
pub(crate) async fn history(
    pool: &SteppedPool,
    order_id: Uuid,
    after: i64,
    limit: i64,
    reached: impl Fn(Uuid) -> bool,
) -> Result<Vec<HistoryEntry>, Failure> {
    transitions::history(pool, order_id, after, limit)
        .await
        .map_err(flashsale_pg::failure)?
        .filter(|(sale_id, _)| reached(*sale_id))
        .map(|(_, entries)| entries)
        .ok_or_else(|| {
            Failure::new(Reason::OrderNotFound, "there is no such order in the record")
                .with("order_id", order_id)
        })
}
