//! The queue is killed, loses everything or its events, is told everything twice, or is full.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use flashsale_testbed::proxy::Way;
use rand::Rng as _;
use tokio::time::Instant;

use super::{a_moment, books, calm, rush};
use crate::{
    crowd::{Crowd, Manners},
    figures::Figures,
    patience::until_some,
    platform::{Platform, Sale, SaleSpec},
    task::Task,
};

const ORDERS: &str = "ORDERS";
const EVENTS: &str = "ORDER_EVENTS";
/// How long it may take until a publish or an ack comes by, or something is in the queue.
const WITHIN: Duration = Duration::from_secs(20);

/// SIGKILL when a publish of checkout is on the wire, when its ack is, and after that, in turn; and
/// a restart on the same files.
pub(super) async fn killed(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let moments = [
        ("at_publish", Way::ToServer, "HPUB orders.place.", false),
        ("at_ack", Way::ToClient, "{\"stream\":\"ORDERS\"", false),
        ("after_ack", Way::ToClient, "{\"stream\":\"ORDERS\"", true),
    ];
    for (_, (name, way, text, passes)) in (0..task.asked).zip(moments.into_iter().cycle()) {
        let round = rush(task).await?;
        let wire = task.platform.to_nats.wire(way, text, passes);
        tokio::time::timeout(WITHIN, wire.reached).await??;
        task.platform.nats.kill().await;
        // What waits meets a connection that is gone.
        wire.go.send(()).ok();
        a_moment(task, 0..400).await;
        task.platform.nats.restart().await?;
        calm(task, round, figures).await?;
        figures.count(name, 1);
        figures.runs += 1;
    }
    Ok(())
}

/// Everything in the queue is gone, acked or not.
pub(super) async fn wiped(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let round = rush(task).await?;
        // The claims stand still, or nothing would be there to lose.
        task.platform.services.worker.signal(nix::sys::signal::Signal::SIGSTOP).await;
        a_moment(task, 200..600).await;
        let before = unclaimed(&task.platform, &round.sale).await?;
        task.platform.wipe_nats().await?;
        task.platform.services.worker.signal(nix::sys::signal::Signal::SIGCONT).await;
        figures.count("unclaimed_messages_lost", before);
        calm(task, round, figures).await?;
        figures.runs += 1;
    }
    figures.expect(figures.more.get("unclaimed_messages_lost") != Some(&0.into()), || {
        "no message was lost".to_owned()
    });
    Ok(())
}

/// Orders in the queue that have no row.
async fn unclaimed(platform: &Platform, sale: &Sale) -> anyhow::Result<u64> {
    let mut ids = Vec::new();
    for message in platform.published(sale).await? {
        ids.extend((message.kind == "place").then_some(message.order).flatten());
    }
    ids.sort_unstable();
    ids.dedup();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM orders WHERE order_id = ANY ($1)")
        .bind(&ids)
        .fetch_one(&platform.pool)
        .await?;
    Ok((ids.len() as u64).saturating_sub(u64::try_from(rows)?))
}

/// The stream of events is deleted and emptied, in turn.
pub(super) async fn events_wiped(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for run in 0..task.asked {
        let round = rush(task).await?;
        let jetstream = task.platform.jetstream().await?;
        let events = async || {
            let info = jetstream.get_stream(EVENTS).await?.get_info().await?;
            anyhow::Ok(Some(info.state).filter(|state| state.messages > 0))
        };
        let before = until_some(WITHIN, "orders are announced", events).await?;
        if run % 2 == 0 {
            jetstream.delete_stream(EVENTS).await?;
            figures.count("deleted", 1);
        } else {
            jetstream.get_stream(EVENTS).await?.purge().await?;
            figures.count("purged", 1);
        }
        figures.count("events_lost", before.messages);
        let after = until_some(WITHIN, "orders are announced again", events).await?;
        figures.count("events_afterwards", after.messages);
        calm(task, round, figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

/// After a restart everything that was published is published again: under its own message ids, and
/// once under others.
pub(super) async fn published_again(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let round = rush(task).await?;
        task.platform.nats.kill().await;
        task.platform.nats.restart().await?;
        task.goes_on(&round.crowd).await?;
        let jetstream = task.platform.jetstream().await?;
        let stream = jetstream.get_stream(ORDERS).await?;
        let state = stream.get_info().await?.state;
        let mut stored = Vec::new();
        let mut published = 0;
        for seq in state.first_sequence.max(1)..=state.last_sequence {
            let Ok(message) = stream.get_raw_message(seq).await else { continue };
            if !message.subject.ends_with(&round.sale.id.to_string()) {
                continue;
            }
            published += 1;
            let own = message.headers.get(async_nats::header::NATS_MESSAGE_ID);
            let own = own.map(ToString::to_string).unwrap_or_default();
            for id in [own.clone(), format!("{own}/again")] {
                let mut headers = HeaderMap::new();
                headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
                let ack = jetstream
                    .publish_with_headers(message.subject.clone(), headers, message.payload.clone())
                    .await?
                    .await?;
                if !ack.duplicate {
                    stored.push(ack.sequence);
                }
            }
        }
        figures.count("messages", published);
        figures.count("stored_again", stored.len() as u64);
        // Nothing of it is a message of checkout's: it is taken out once the claims have come past
        // it.
        claimed(task, stored.last().copied().unwrap_or_default()).await?;
        for seq in stored {
            stream.delete_message(seq).await?;
        }
        calm(task, round, figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

/// Waits until the claims have come past a message.
pub(super) async fn claimed(task: &Task, seq: u64) -> anyhow::Result<()> {
    until_some(WITHIN * 2, "the claims come past a message", async || {
        let at: i64 = sqlx::query_scalar("SELECT seq FROM queue_positions WHERE stream = $1")
            .bind(ORDERS)
            .fetch_one(&task.platform.pool)
            .await?;
        anyhow::Ok((u64::try_from(at)? >= seq).then_some(()))
    })
    .await
}

/// The least that the queue may be bounded by.
const SMALL: u64 = 1_048_576;
/// How long filling it may take.
const FILLED_WITHIN: Duration = Duration::from_secs(120);

/// The queue is small and nothing is claimed, until orders have filled what they may of it and the
/// door is shut; then the claims go on.
pub(super) async fn full(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let checkout_before = task.platform.settings_of_checkout();
    let worker_before =
        task.platform.settings_over(&task.platform.to_redis, &task.platform.services.inventory);
    let mut checkout = checkout_before.clone();
    checkout.nats.orders_max_bytes = Some(SMALL);
    let mut worker = worker_before.clone();
    worker.worker.purge_messages = Some(100);
    worker.worker.purge_interval_ms = Some(200);
    // What earlier sales left in the queue is claimed.
    task.platform.jetstream().await?.get_stream(ORDERS).await?.purge().await?;
    task.platform.services.checkout.start(checkout).await?;
    task.platform.services.worker.start(worker).await?;
    for _ in 0..task.asked {
        let sale = task.platform.open_sale(SaleSpec::default()).await?;
        task.platform.services.worker.kill().await;
        let manners = Manners {
            at_once: 48,
            pause: Duration::from_millis(1),
            name_chars: 120,
            ..Manners::lively()
        };
        let crowd = Crowd::come(&task.platform, &sale, task.random.random(), manners)?;
        let since = Instant::now();
        until_some(FILLED_WITHIN, "the queue is full and the door shut", async || {
            anyhow::Ok((crowd.refused("QUEUE_FULL") > 0).then_some(()))
        })
        .await?;
        figures.longest("filled_after_seconds_max", since.elapsed());
        a_moment(task, 200..1_000).await;
        figures.count("queue_full_answers", crowd.refused("QUEUE_FULL"));
        figures.count("pending_answers", crowd.pending() as u64);
        task.platform.services.worker.restart(&[]).await?;
        task.goes_on(&crowd).await?;
        let story = crowd.leave().await;
        books::conclude(task, &sale, &[story], figures).await?;
        figures.runs += 1;
    }
    task.platform.services.checkout.start(checkout_before).await?;
    task.platform.services.worker.start(worker_before).await?;
    Ok(())
}

impl Platform {
    /// JetStream, past all services.
    pub(super) async fn jetstream(&self) -> anyhow::Result<jetstream::Context> {
        Ok(jetstream::new(async_nats::connect(self.nats_url()).await?))
    }
}
