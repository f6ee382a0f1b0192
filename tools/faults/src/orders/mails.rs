//! The mail relay is down for a whole sale. Orders end all the same, and are written about when it
//! is back.

use std::time::Duration;

use super::{books, rush};
use crate::{figures::Figures, patience::until_some, task::Task};

/// How long the orders may take to end.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// From before the first order to after the last end.
pub(super) async fn down(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        task.platform.smtp()?.down().await;
        let round = rush(task).await?;
        task.goes_on(&round.crowd).await?;
        let story = round.crowd.leave().await;
        let (accepted, _) = story.told();
        let ended = async || {
            let (open, confirmed, waiting): (i64, i64, i64) = sqlx::query_as(
                "SELECT count(*) FILTER (WHERE state IN ('CLAIMED', 'PAYING', 'ACTION_REQUIRED')),
                    count(*) FILTER (WHERE state = 'CONFIRMED'),
                    (SELECT count(*) FROM outbox JOIN orders o USING (order_id)
                     WHERE o.sale_id = $1 AND kind = 'mail' AND done_at IS NULL)
                 FROM orders WHERE sale_id = $1",
            )
            .bind(round.sale.id)
            .fetch_one(&task.platform.pool)
            .await?;
            let all = usize::try_from(confirmed)? > accepted.len() / 4;
            anyhow::Ok((open == 0 && all).then_some((confirmed, waiting)))
        };
        let (confirmed, waiting) =
            until_some(ENDED_WITHIN, "orders end without the relay", ended).await?;
        figures.count("confirmed_while_down", u64::try_from(confirmed)?);
        figures.count("mails_waiting", u64::try_from(waiting)?);
        figures.expect(waiting >= confirmed, || "mails were sent to nobody".to_owned());
        task.platform.smtp()?.up().await?;
        books::conclude(task, &round.sale, &[story], figures).await?;
        figures.runs += 1;
    }
    Ok(())
}
