//! Buyers cancel what they have just placed: the wish and the claim race each other, and the
//! payment behind the claim.

use std::time::Duration;

use super::books;
use crate::{
    crowd::{Crowd, Manners},
    figures::Figures,
    patience::until_some,
    platform::SaleSpec,
    task::Task,
};
use rand::Rng as _;

/// How long a thousand orders may take.
const WITHIN: Duration = Duration::from_secs(180);

/// As many orders as asked in one sale, each cancelled within a moment.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let sale = task.platform.open_sale(SaleSpec::default()).await?;
    let manners = Manners { at_once: 12, pause: Duration::ZERO, cancel: 1.0, ..Manners::default() };
    let crowd = Crowd::come(&task.platform, &sale, task.random.random(), manners)?;
    let asked = usize::try_from(task.asked)?;
    until_some(WITHIN, "so many orders are placed", async || {
        anyhow::Ok((crowd.accepted() >= asked).then_some(()))
    })
    .await?;
    let story = crowd.leave().await;
    figures.runs = story.told().0.len() as u64;
    books::conclude(task, &sale, &[story], figures).await?;
    let ways: Vec<(Option<String>, i64)> = sqlx::query_as(
        "SELECT t.from_state, count(*)
         FROM order_transitions t JOIN orders o USING (order_id)
         WHERE o.sale_id = $1 AND t.to_state = 'CANCELLED'
         GROUP BY t.from_state",
    )
    .bind(sale.id)
    .fetch_all(&task.platform.pool)
    .await?;
    for (from, orders) in ways {
        let from = from.map_or_else(|| "unclaimed".to_owned(), |from| from.to_lowercase());
        figures.count(&format!("cancelled_{from}"), u64::try_from(orders)?);
    }
    let others: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM orders WHERE sale_id = $1 AND state NOT IN ('CANCELLED', 'CONFIRMED')",
    )
    .bind(sale.id)
    .fetch_one(&task.platform.pool)
    .await?;
    figures.expect(others == 0, || format!("{others} orders ended otherwise"));
    Ok(())
}
