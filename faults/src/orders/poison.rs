//! A tenth of the queue is poison: no text, texts that are no order, and orders that the record refuses.

use std::time::Duration;

use async_nats::jetstream;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{calm, queue, rush};
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{PLENTY, Sale, SaleSpec},
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

/// Mixes it in, and looks that it is put aside and everything else gets through.
pub(super) async fn run(task: &mut Task) -> anyhow::Result<Figures> {
    let mut figures = task.figures();
    for _ in 0..task.asked {
        // Nobody buys in it: what is poisonous about its orders is not to be found in the books of the other.
        let decoy = task.platform.open_sale(SaleSpec::default()).await?;
        let (epoch, _) = task.platform.epoch(&decoy).await?;
        let round = rush(task).await?;
        let jetstream = task.platform.jetstream().await?;
        let subject = format!("orders.place.{}", decoy.id);
        let mut seqs: Vec<i64> = Vec::new();
        let before = round.crowd.accepted();
        while seqs.len() < POISON {
            let body = poison(seqs.len(), &decoy, epoch)?;
            seqs.push(publish(&jetstream, &subject, body).await?);
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
        let aside: Vec<String> = sqlx::query_scalar(
            "DELETE FROM dead_letters WHERE stream = 'ORDERS' AND seq = ANY ($1) RETURNING reason",
        )
        .bind(&seqs)
        .fetch_all(&task.platform.pool)
        .await?;
        for kind in ["unreadable", "refused_by_store"] {
            let found = aside.iter().filter(|reason| reason.starts_with(kind)).count();
            figures.count(kind, found as u64);
        }
        figures.count("poison", seqs.len() as u64);
        figures.count("put_aside", aside.len() as u64);
        let stream = jetstream.get_stream("ORDERS").await?;
        for seq in seqs {
            stream.delete_message(u64::try_from(seq)?).await?;
        }
        calm(task, round, &mut figures).await?;
        task.end(&decoy, &mut figures).await;
        figures.runs += 1;
    }
    Ok(figures)
}

async fn publish(
    jetstream: &jetstream::Context,
    subject: &str,
    body: Vec<u8>,
) -> anyhow::Result<i64> {
    let ack = jetstream.publish(subject.to_owned(), body.into()).await?.await?;
    Ok(i64::try_from(ack.sequence)?)
}

/// Each kind in turn.
fn poison(number: usize, sale: &Sale, epoch: i64) -> anyhow::Result<Vec<u8>> {
    let valid = order(sale, epoch);
    let spoilt = |key: &str, value: Value| {
        let mut spoilt = valid.clone();
        spoilt[key] = value;
        serde_json::to_vec(&spoilt)
    };
    Ok(match number % 5 {
        0 => vec![0xff, 0x00, 0x7b, 0xfe],
        1 => spoilt("kind", json!("plaice"))?,
        2 => spoilt("total_minor", json!(1))?,
        3 => spoilt("lines", json!([]))?,
        // Nothing is wrong with it until Postgres sees it.
        _ => spoilt("placed_at_ms", json!(TOO_EARLY_MS))?,
    })
}

fn order(sale: &Sale, epoch: i64) -> Value {
    json!({
        "kind": "place",
        "order_id": Uuid::new_v4(),
        "sale_id": sale.id,
        "buyer_id": "poison",
        "hold_id": Uuid::new_v4(),
        "epoch": epoch,
        "admission_id": null,
        "request_id": Uuid::new_v4(),
        "request_hash": "0",
        "lines": [{ "sku": PLENTY, "quantity": 1, "unit_price_minor": 1_000 }],
        "currency": "EUR",
        "total_minor": 1_000,
        "placed_at_ms": 1_790_000_000_000_i64,
        "email": "poison@example.com",
        "contact_name": "poison",
        "payment_method": "pm_card_visa",
    })
}
