//! Faults of the one Redis that there is.

use std::{collections::HashMap, time::Duration};

use flashsale_proto::inventory::{
    Line, ReserveRequest, inventory_service_client::InventoryServiceClient,
};
use flashsale_testbed::{Reply, ask};
use rand::{Rng as _, seq::SliceRandom as _};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tonic::Request;
use uuid::Uuid;

use crate::{
    crowd::{Manners, now_ms, request_key},
    figures::Figures,
    patience::until_some,
    platform::{
        PLENTY, SaleSpec,
        stores::{KEYS, Stock, key},
    },
    task::Task,
};

/// How long a key may take to be there.
const KEY_WITHIN: Duration = Duration::from_secs(10);

/// SIGKILL, and a restart on the same files; every other time each write is synced before it is
/// answered.
pub(super) async fn killed(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for run in 0..task.asked {
        let port = task.platform.redis.port();
        let fsync = if run % 2 == 0 { "always" } else { "everysec" };
        ask(port, &["CONFIG", "SET", "appendfsync", fsync]).await?;
        let round = task.round(SaleSpec::default(), Manners::default()).await?;
        let since = Instant::now();
        task.platform.redis.kill().await;
        sleep(Duration::from_millis(task.random.random_range(0..1_000))).await;
        task.platform.redis.restart().await?;
        task.reopen(round, since, figures).await?;
        figures.runs += 1;
        figures.count(&format!("appendfsync_{fsync}"), 1);
    }
    Ok(())
}

/// Everything is gone.
pub(super) async fn flushed(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let round = task.round(SaleSpec::default(), Manners::default()).await?;
        let since = Instant::now();
        ask(task.platform.redis.port(), &["FLUSHALL"]).await?;
        task.reopen(round, since, figures).await?;
        figures.runs += 1;
    }
    Ok(())
}

/// One of a sale's keys is gone, each of them in turn.
pub(super) async fn evicted(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let mut keys = KEYS;
    keys.shuffle(&mut task.random);
    for name in keys.into_iter().cycle().take(usize::try_from(task.asked)?) {
        // Only a sale with a room has spent admissions.
        let spec = SaleSpec { room: true, ..SaleSpec::default() };
        let round = task.round(spec, Manners::default()).await?;
        let (port, name) = (task.platform.redis.port(), key(round.sale.id, name));
        // Some are only there while a buyer holds, or while an order is on its way.
        until_some(KEY_WITHIN, &name, async || {
            anyhow::Ok((ask(port, &["DEL", &name]).await? == Reply::Int(1)).then_some(()))
        })
        .await?;
        task.reopen(round, Instant::now(), figures).await?;
        figures.runs += 1;
    }
    figures.count("keys", task.asked.min(KEYS.len() as u64));
    Ok(())
}

/// How long Redis stands still.
const STOPPED_FOR: Duration = Duration::from_secs(5);
/// How long a caller waits who asks meanwhile.
const CALLER_WAITS: Duration = Duration::from_millis(700);
/// How much later than its deadline a script may begin by what we see: the caller's deadline begins
/// when the call arrives, and the clock of Redis is known to the nearest reply.
const LATE_MS: u64 = 150;
/// Callers who ask once and not again.
const CALLERS: u64 = 60;

/// Redis stands still and goes on. What was asked meanwhile lies in its buffers and must not be
/// done after its caller has given up.
pub(super) async fn stopped(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    for _ in 0..task.asked {
        let round = task.round(SaleSpec::default(), Manners::default()).await?;
        let since = Instant::now();
        task.platform.redis.pause();
        let mut callers = JoinSet::new();
        let client = InventoryServiceClient::new(task.platform.services.inventory.channel()?);
        for number in 0..CALLERS {
            let share = u32::try_from(number)? * 4 / 5;
            let at = since + STOPPED_FOR * share / u32::try_from(CALLERS)?;
            let (mut client, sale_id) = (client.clone(), round.sale.id.to_string());
            callers.spawn(async move {
                sleep_until(at).await;
                let (request_id, buyer_id) = (Uuid::new_v4(), format!("once-{number}"));
                let line = Line { sku: PLENTY.to_owned(), quantity: 1 };
                let mut request = Request::new(ReserveRequest {
                    request_id: request_id.to_string(),
                    sale_id,
                    buyer_id: buyer_id.clone(),
                    lines: vec![line],
                    admission: String::new(),
                });
                request.set_timeout(CALLER_WAITS);
                let deadline_ms = now_ms() + u64::try_from(CALLER_WAITS.as_millis()).unwrap_or(0);
                (buyer_id, request_id, deadline_ms, client.reserve(request).await.is_ok())
            });
        }
        sleep_until(since + STOPPED_FOR).await;
        task.platform.redis.resume();
        let asked = callers.join_all().await;
        task.goes_on(&round.crowd).await?;
        figures.reopened(round.crowd.latest().map_or(Duration::MAX, |_| since.elapsed()));
        let stock = Stock::read(task.platform.redis.port(), round.sale.id).await?;
        let deadlines: HashMap<Uuid, u64> = asked
            .iter()
            .map(|(buyer, request, deadline_ms, _)| {
                (request_key(round.sale.id, buyer, *request), *deadline_ms)
            })
            .collect();
        for (hold, deadline_ms) in &deadlines {
            let Some(hold) = stock.holds.get(hold) else { continue };
            let taken_ms = u64::try_from(hold.taken_ms).unwrap_or(u64::MAX);
            figures.expect(taken_ms <= deadline_ms + LATE_MS, || {
                format!("a script ran {} ms after its caller's deadline", taken_ms - deadline_ms)
            });
        }
        let told = asked.iter().filter(|(.., answered)| *answered).count();
        figures.count("calls_while_stopped", asked.len() as u64);
        figures.count("calls_answered", told as u64);
        figures.expect(stock.epoch == round.epoch, || "the sale was closed".to_owned());
        // No buyer comes back for holds that were taken in time and whose answer came too late.
        let mut clients = client.clone();
        for (buyer_id, request, ..) in asked {
            let hold_id = request_key(round.sale.id, &buyer_id, request).to_string();
            let release = flashsale_proto::inventory::ReleaseHoldRequest {
                request_id: Uuid::new_v4().to_string(),
                sale_id: round.sale.id.to_string(),
                buyer_id,
                hold_id,
            };
            // Most of them were never taken.
            clients.release_hold(release).await.ok();
        }
        let story = round.crowd.leave().await;
        task.conclude(&round.sale, &[story], figures).await?;
        figures.runs += 1;
    }
    Ok(())
}
