//! What became of the orders of a sale, by the record, the mailbox and the buyers themselves.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;
use sqlx::Row as _;
use uuid::Uuid;

use crate::{crowd::Story, figures::Figures, platform::Sale, task::Task};

/// A line of the mail relay's log.
#[derive(Debug, Deserialize)]
struct Mail {
    message_id: Option<String>,
    headers: Headers,
}

#[derive(Debug, Deserialize)]
struct Headers {
    #[serde(rename = "x-flashsale-order")]
    order: Option<Uuid>,
    #[serde(rename = "x-flashsale-about")]
    about: Option<String>,
}

/// An order by the record.
struct Recorded {
    id: Uuid,
    state: String,
    /// How often it came to an end. A refund is another one, after the end.
    ends: i64,
}

/// Waits until everything has come to rest, has it audited, and counts what of the orders went
/// wrong.
pub(crate) async fn conclude(
    task: &mut Task,
    sale: &Sale,
    stories: &[Story],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    task.audit(sale, stories, true, figures).await?;
    let orders = recorded(task, sale).await?;
    let ids: BTreeSet<Uuid> = orders.iter().map(|order| order.id).collect();
    for story in stories {
        let (accepted, pending) = story.told();
        let lost: Vec<&Uuid> = accepted.union(&pending).filter(|id| !ids.contains(*id)).collect();
        figures.wrong("lost_orders", i64::try_from(lost.len())?);
        figures.expect(lost.is_empty(), || format!("no order row: {lost:?}"));
        let failed = story.failed();
        figures.wrong("failed_accepted", i64::try_from(failed.len())?);
        figures.expect(failed.is_empty(), || format!("accepted and then not so: {failed:?}"));
        figures.count("accepted", accepted.len() as u64);
        figures.count("pending", pending.len() as u64);
        for (name, count) in story.followed() {
            figures.count(name, count);
        }
    }
    for order in &orders {
        figures.count(&order.state.to_lowercase(), 1);
    }
    let twice = orders.iter().filter(|order| order.ends > 1).count();
    let doubled = i64::try_from(twice)? + doubled(task, sale).await?;
    figures.wrong("duplicate_orders", doubled);
    let (duplicates, repeated) = mailed(task, &ids)?;
    figures.wrong("duplicate_mails", duplicates);
    figures.count("repeated_mails", repeated);
    task.end(sale, figures).await;
    Ok(())
}

async fn recorded(task: &Task, sale: &Sale) -> anyhow::Result<Vec<Recorded>> {
    let rows = sqlx::query(
        "SELECT o.order_id, o.state, count(t.to_state) AS ends
         FROM orders o
         LEFT JOIN order_transitions t ON t.order_id = o.order_id AND t.to_state IN ('CONFIRMED', 'DECLINED', 'CANCELLED')
         WHERE o.sale_id = $1
         GROUP BY o.order_id",
    )
    .bind(sale.id)
    .fetch_all(&task.platform.pool)
    .await?;
    let read = rows.iter().map(|row| {
        Ok(Recorded {
            id: row.try_get("order_id")?,
            state: row.try_get("state")?,
            ends: row.try_get("ends")?,
        })
    });
    read.collect()
}

/// Order rows beyond one per request of a buyer, and beyond one per hold.
async fn doubled(task: &Task, sale: &Sale) -> anyhow::Result<i64> {
    let doubled = sqlx::query_scalar(
        "SELECT 2 * count(*) - count(DISTINCT (buyer_id, request_id)) - count(DISTINCT hold_id) FROM orders WHERE sale_id = $1",
    )
    .bind(sale.id)
    .fetch_one(&task.platform.pool)
    .await?;
    Ok(doubled)
}

/// What the mailbox has about `orders`: message ids beyond one per event and events beyond one per
/// message id, and copies of a message.
fn mailed(task: &Task, orders: &BTreeSet<Uuid>) -> anyhow::Result<(i64, u64)> {
    let log = std::fs::read_to_string(task.platform.mail_log())?;
    let mut by_event: BTreeMap<(Uuid, String), BTreeSet<String>> = BTreeMap::new();
    let mut by_id: BTreeMap<String, BTreeSet<(Uuid, String)>> = BTreeMap::new();
    let mut mails = 0;
    for line in log.lines() {
        let mail: Mail = serde_json::from_str(line).with_context(|| format!("a mail: {line}"))?;
        let Some(order) = mail.headers.order.filter(|order| orders.contains(order)) else {
            continue;
        };
        let event = (order, mail.headers.about.unwrap_or_default());
        let id = mail.message_id.unwrap_or_default();
        by_event.entry(event.clone()).or_default().insert(id.clone());
        by_id.entry(id).or_default().insert(event);
        mails += 1;
    }
    let beyond_one =
        |sizes: &mut dyn Iterator<Item = usize>| sizes.map(|size| size - 1).sum::<usize>();
    let duplicates = beyond_one(&mut by_event.values().map(BTreeSet::len))
        + beyond_one(&mut by_id.values().map(BTreeSet::len));
    Ok((i64::try_from(duplicates)?, mails - by_id.len() as u64))
}
