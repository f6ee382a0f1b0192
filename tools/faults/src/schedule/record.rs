//! How sales stand in the stores, and what became of their windows.

use std::time::Duration;

use flashsale_testbed::{Reply, ask};
use sqlx::PgPool;

use super::shop::Plan;
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{
        Platform, Sale,
        stores::{Stock, key},
    },
};

/// How long the hash of a room may be behind its row.
const ROOM_WITHIN: Duration = Duration::from_secs(10);

/// A sale by the record.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Recorded {
    pub(super) state: String,
    pub(super) version: i64,
    /// Inventory and the waiting room know it as it is, or need not.
    pub(super) propagated: bool,
    pub(super) cancel_requested: bool,
    pub(super) ends_ms: i64,
    pub(super) is_final: bool,
}

/// A change in a sale's history.
#[derive(Debug, sqlx::FromRow)]
struct Past {
    version: i64,
    kind: String,
    /// The version and the state before it.
    from_version: Option<i64>,
    from_state: Option<String>,
    /// The version and the state after it.
    to_version: Option<i64>,
    to_state: Option<String>,
}

/// Reads a sale.
pub(super) async fn read(pool: &PgPool, sale: &Sale) -> anyhow::Result<Recorded> {
    let record = sqlx::query_as(
        "SELECT state, version, propagated_version >= version AS propagated, cancel_requested,
             floor(extract(epoch FROM ends_at) * 1000)::bigint AS ends_ms,
             final_at IS NOT NULL AS is_final
         FROM sales WHERE sale_id = $1",
    )
    .bind(sale.id)
    .fetch_one(pool)
    .await?;
    Ok(record)
}

/// The kinds of a sale's changes, the oldest first. Takes note of versions that are missing, and of
/// changes that do not begin where the one before has ended, up to the sale as it is.
pub(super) async fn history(
    pool: &PgPool,
    sale: &Sale,
    figures: &mut Figures,
) -> anyhow::Result<Vec<String>> {
    let past: Vec<Past> = sqlx::query_as(
        "SELECT version, kind,
             (before->>'version')::bigint AS from_version, before->>'state' AS from_state,
             (after->>'version')::bigint AS to_version, after->>'state' AS to_state
         FROM sale_changes WHERE sale_id = $1 ORDER BY version",
    )
    .bind(sale.id)
    .fetch_all(pool)
    .await?;
    let record = read(pool, sale).await?;
    let mut wrong = 0;
    let (mut version, mut state) = (None, None);
    for change in &past {
        let follows = change.from_version == version && change.from_state == state;
        let next = version.unwrap_or(0) + 1;
        wrong += i64::from(!follows || change.version != next || change.to_version != Some(next));
        (version, state) = (change.to_version, change.to_state.clone());
    }
    wrong += i64::from(version != Some(record.version) || state.as_ref() != Some(&record.state));
    figures.wrong("versions_wrong", wrong);
    figures.expect(wrong == 0, || format!("sale {}: {record:?} after {past:?}", sale.id));
    Ok(past.into_iter().map(|change| change.kind).collect())
}

/// As [`history`], and it has to be one of these.
pub(super) async fn expect_history(
    platform: &Platform,
    sale: &Sale,
    expected: &[&[&str]],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let kinds = history(&platform.pool, sale, figures).await?;
    figures.expect(expected.iter().any(|expected| kinds == *expected), || {
        format!("sale {}: {} is not its history", sale.id, kinds.join(", "))
    });
    Ok(())
}

/// Takes note unless the stock knows a sale that is over as the record does, and its room is closed
/// with the same window.
pub(super) async fn expect_known(
    platform: &Platform,
    sale: &Sale,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let record = read(&platform.pool, sale).await?;
    let port = platform.redis.port();
    let (version, ends_ms) = (record.version.to_string(), record.ends_ms.to_string());
    let meta = ask(port, &["HMGET", &key(sale.id, "meta"), "version", "state"]).await?;
    figures.expect(texts(&meta) == [version.as_str(), record.state.as_str()], || {
        format!("sale {}: the stock has {meta:?} of {record:?}", sale.id)
    });
    if !sale.room {
        return Ok(());
    }
    let (state, until_ms): (String, i64) = sqlx::query_as(
        "SELECT state, floor(extract(epoch FROM admits_until) * 1000)::bigint
         FROM rooms WHERE sale_id = $1",
    )
    .bind(sale.id)
    .fetch_one(&platform.pool)
    .await?;
    figures.expect(state == "CLOSED" && until_ms == record.ends_ms, || {
        format!("sale {}: its room is {state} until {until_ms}, of {record:?}", sale.id)
    });
    let room = key(sale.id, "room");
    let closed = until_some(ROOM_WITHIN, "the room is closed", async || {
        let room = ask(port, &["HMGET", &room, "state", "until_ms"]).await?;
        anyhow::Ok((texts(&room) == ["CLOSED", ends_ms.as_str()]).then_some(()))
    })
    .await;
    if let Err(error) = closed {
        figures.broken.push(format!("sale {}: {error:#}", sale.id));
    }
    Ok(())
}

fn texts(reply: &Reply) -> Vec<&str> {
    reply.list().iter().map(Reply::text).collect()
}

/// Counts what was taken before the start and after the end, by the clock of Redis, and takes note
/// of how long after the start the first was; answers how much was taken in between. Of a sale
/// whose stock was not rebuilt since its start: a rebuild takes what is recorded at its own time.
pub(super) async fn window(
    platform: &Platform,
    plan: &Plan,
    figures: &mut Figures,
) -> anyhow::Result<u64> {
    let stock = Stock::read(platform.redis.port(), plan.sale.id).await?;
    let (mut early, mut late, mut within) = (0, 0, 0);
    let mut first = None;
    for hold in stock.holds.values() {
        if hold.taken_ms < plan.starts_ms {
            early += 1;
        } else if hold.taken_ms >= plan.ends_ms {
            late += 1;
        } else {
            within += 1;
            first = Some(first.map_or(hold.taken_ms, |first: i64| first.min(hold.taken_ms)));
        }
    }
    figures.wrong("early_accepted", early);
    figures.wrong("late_accepted", late);
    figures.count("taken", within);
    let after = first.and_then(|first| u64::try_from(first - plan.starts_ms).ok());
    figures.lasted("first_taken_seconds", after.map(Duration::from_millis));
    Ok(within)
}

/// Holds and orders of a sale.
pub(super) async fn holds_and_orders(platform: &Platform, sale: &Sale) -> anyhow::Result<i64> {
    let stock = Stock::read(platform.redis.port(), sale.id).await?;
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders WHERE sale_id = $1")
        .bind(sale.id)
        .fetch_one(&platform.pool)
        .await?;
    Ok(orders + i64::try_from(stock.holds.len())?)
}
