//! Orders whose payment is recorded.

use flashsale_pg::SteppedPool;
use uuid::Uuid;

use super::{
    outbox,
    transitions::{self, Transition},
};
use crate::{
    domain::{Change, Occurrence, OrderState, consequences},
    steps,
};

/// Moves those of `orders` that are still CLAIMED to PAYING. The others have moved on and are left
/// unchanged.
///
/// # Errors
/// When Postgres does not answer.
pub async fn payment_recorded(pool: &SteppedPool, orders: &[Uuid]) -> Result<(), sqlx::Error> {
    let Ok(to) = Change::PaymentRecorded.after(OrderState::Claimed) else { return Ok(()) };
    flashsale_pg::retry_conflicts(|| async {
        let mut transaction = pool.begin().await?;
        let claimed = sqlx::query_file_scalar!("sql/orders_lock_claimed.sql", orders)
            .fetch_all(&mut *transaction)
            .await?;
        let from = vec![OrderState::Claimed.as_str(); claimed.len()];
        let towards = vec![to.as_str(); claimed.len()];
        let reasons: Vec<Option<&str>> = vec![None; claimed.len()];
        sqlx::query_file!(
            "sql/orders_change_state.sql",
            &claimed,
            &from as _,
            &towards as _,
            &reasons as _
        )
        .fetch_all(&mut *transaction)
        .await?;
        let transitions: Vec<Transition> = claimed
            .iter()
            .map(|order_id| Transition {
                order_id: *order_id,
                from: Some(OrderState::Claimed),
                to,
                cause: Change::PaymentRecorded.cause().to_owned(),
            })
            .collect();
        transitions::insert(&mut transaction, &transitions).await?;
        let rows: Vec<_> = claimed
            .iter()
            .flat_map(|id| consequences(Occurrence::Reached(to)).into_iter().map(|row| (*id, row)))
            .collect();
        outbox::insert(&mut transaction, &rows).await?;
        transaction.commit(steps::COMMIT_PAYMENT_RECORDED).await
    })
    .await
}
