//! A tenth of the queue is poison: no text, texts that are no order, and orders that the record
//! refuses.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{calm, dead_letters, queue, rush};
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{Sale, SaleSpec},
    task::Task,
};

/// Real orders to one poisonous message.
const REAL: usize = 9;
/// Poisonous messages of one run.
const POISON: usize = 15;
/// How long the next few orders may take.
const WITHIN: Duration = Duration::from_secs(30);
/// A time that Postgres does not know, 9,000 years before the epoch.
const TOO_EARLY_MS: i64 = -346_000_000_000_000;

/// Mixes it in, and checks that it is a dead letter and that everything else gets through.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        // It has no buyers: what is poisonous about its orders is not to be found in the books of
        // the other.
        let decoy = task.platform.open_sale(SaleSpec::default()).await?;
        let (epoch, _) = task.platform.epoch(&decoy).await?;
        let round = rush(task).await?;
        let jetstream = task.platform.jetstream().await?;
        let mut seqs: Vec<i64> = Vec::new();
        let before = round.crowd.accepted();
        while seqs.len() < POISON {
            let body = poison(seqs.len(), &decoy, epoch)?;
            seqs.push(dead_letters::publish(&jetstream, &decoy, body).await?);
            let next = before + seqs.len() * REAL;
            until_some(WITHIN, "orders are placed between the poison", async || {
                anyhow::Ok((round.crowd.accepted() >= next).then_some(()))
            })
            .await?;
        }
        let since = Instant::now();
        let last = seqs.last().copied().unwrap_or_default();
        queue::claimed(task, u64::try_from(last)?).await?;
        figures.longest("claimed_after_seconds_max", since.elapsed());
        let reasons: Vec<String> = sqlx::query_scalar(
            "SELECT reason FROM dead_letters WHERE stream = 'ORDERS' AND seq = ANY ($1)",
        )
        .bind(&seqs)
        .fetch_all(&task.platform.pool)
        .await?;
        for kind in ["unreadable", "price_foreign", "refused_by_store"] {
            let found = reasons.iter().filter(|reason| reason.starts_with(kind)).count();
            figures.count(kind, found as u64);
        }
        figures.count("poison", seqs.len() as u64);
        figures.count("put_aside", reasons.len() as u64);
        // An operator decides about them. Those that say whose they are have orders that end by it;
        // what could not be read says not even its sale.
        let given_up = dead_letters::give_up(&task.platform).await?;
        figures.count("given_up", given_up as u64);
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM dead_letters WHERE resolved_at IS NULL")
                .fetch_one(&task.platform.pool)
                .await?;
        figures.expect(waiting == 0, || format!("{waiting} dead letters wait still"));
        let ended: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM orders WHERE sale_id = $1 AND state = 'CANCELLED' AND end_reason = 'dead_letter_dropped'",
        )
        .bind(decoy.id)
        .fetch_one(&task.platform.pool)
        .await?;
        figures.count("orders_given_up", u64::try_from(ended)?);
        calm(task, round, figures).await?;
        task.end(&decoy, figures).await;
        figures.runs += 1;
    }
    Ok(())
}

/// Each kind in turn.
fn poison(number: usize, sale: &Sale, epoch: i64) -> anyhow::Result<Vec<u8>> {
    let valid = dead_letters::order(sale, epoch);
    let spoilt = |key: &str, value: Value| {
        let mut spoilt = valid.clone();
        spoilt[key] = value;
        serde_json::to_vec(&spoilt)
    };
    Ok(match number % 6 {
        0 => vec![0xff, 0x00, 0x7b, 0xfe],
        1 => spoilt("kind", json!("plaice"))?,
        2 => spoilt("total_minor", json!(1))?,
        3 => spoilt("lines", json!([]))?,
        // It costs what its lines cost, which is not what its sale asks.
        4 => {
            let mut cheap = valid.clone();
            cheap["lines"][0]["unit_price_minor"] = json!(1);
            cheap["total_minor"] = json!(1);
            serde_json::to_vec(&cheap)?
        }
        // Nothing is wrong with it until Postgres sees it.
        _ => spoilt("placed_at_ms", json!(TOO_EARLY_MS))?,
    })
}
