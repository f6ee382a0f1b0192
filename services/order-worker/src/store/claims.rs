//! The claims' transaction: a batch of messages becomes orders, all of it or nothing.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use flashsale_pg::SteppedPool;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    books::read_books,
    dead_letters,
    new_orders::enter,
    parked,
    position::{Position, advance},
    received::{DeadReason, Received},
};
use crate::{
    domain::{EndReason, Kind, Message, Occurrence, OrderState, decide},
    steps,
};

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is recorded.
    Done(Summary),
    /// Another instance has moved the position: nothing was written.
    Overtaken,
}

/// What a batch wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The state of each new order.
    pub states: Vec<OrderState>,
    /// Messages that became dead letters.
    pub dead: u64,
    /// Orders that were parked.
    pub parked: u64,
    /// The kinds of consequences that have become due.
    pub kinds: HashSet<Kind>,
}

/// Records `batch` and moves the position of `stream` from `from` to the batch's last message, in
/// one transaction. It waits for Postgres only: an order whose units are in doubt is parked.
///
/// A batch that Postgres refuses because of its data is halved until the messages are found that it
/// refuses on their own. Those become dead letters, to be decided by an operator within `review`;
/// no message holds up the others.
///
/// # Errors
/// When Postgres does not answer. The batch may have been recorded; the position tells.
pub async fn claim(
    pool: &SteppedPool,
    stream: &str,
    mut from: Position,
    batch: &[Received],
    review: Duration,
) -> Result<Claimed, sqlx::Error> {
    let mut total = Summary::default();
    // Slices that are still to be recorded, the first one on top.
    let mut slices = vec![batch.to_vec()];
    while let Some(mut slice) = slices.pop() {
        let claimed = match claim_together(pool, stream, from, &slice, review).await {
            Ok(claimed) => claimed,
            Err(error) => {
                let Some(state) = flashsale_pg::refused_content(&error) else { return Err(error) };
                if let [alone] = slice.as_mut_slice() {
                    if !alone.refuse(&state) {
                        return Err(error);
                    }
                    slices.push(slice);
                } else {
                    tracing::warn!(messages = slice.len(), "Postgres refuses a batch: halving it");
                    let rest = slice.split_off(slice.len() / 2);
                    slices.extend([rest, slice]);
                }
                continue;
            }
        };
        let summary = match claimed {
            Claimed::Done(summary) => summary,
            // The slices before this one stay recorded.
            Claimed::Overtaken => return Ok(claimed),
        };
        total.states.extend(summary.states);
        total.dead += summary.dead;
        total.parked += summary.parked;
        total.kinds.extend(summary.kinds);
        from.seq = slice.last().map_or(from.seq, |message| message.seq);
    }
    Ok(Claimed::Done(total))
}

async fn claim_together(
    pool: &SteppedPool,
    stream: &str,
    from: Position,
    batch: &[Received],
    review: Duration,
) -> Result<Claimed, sqlx::Error> {
    flashsale_pg::retry_conflicts(|| async {
        let mut transaction = pool.begin().await?;
        let claimed = claim_in(&mut transaction, stream, from, batch, review).await?;
        match claimed {
            Claimed::Done(_) => transaction.commit(steps::COMMIT_CLAIMS).await?,
            Claimed::Overtaken => transaction.rollback().await?,
        }
        Ok(claimed)
    })
    .await
}

async fn claim_in(
    connection: &mut PgConnection,
    stream: &str,
    from: Position,
    batch: &[Received],
    review: Duration,
) -> Result<Claimed, sqlx::Error> {
    let Some(last) = batch.last() else { return Ok(Claimed::Done(Summary::default())) };
    let to = Position { created: from.created, seq: last.seq };
    // First of all: it locks the position's row, so that of several claimers at this position one
    // claims and the others are overtaken.
    if !advance(connection, stream, from, to).await? {
        return Ok(Claimed::Overtaken);
    }

    let mut dead: Vec<(&Received, DeadReason)> = Vec::new();
    let mut traces: HashMap<Uuid, &str> = HashMap::new();
    let mut readable: Vec<(u64, Message)> = Vec::new();
    for message in batch {
        match &message.content {
            Ok(content) => {
                if let (Some(traceparent), Some(id)) = (&message.traceparent, content.order_id()) {
                    // Of several messages about an order, the first one inserts its row.
                    traces.entry(id).or_insert(traceparent);
                }
                readable.push((message.seq, content.clone()));
            }
            Err(reason) => {
                dead.push((message, reason.clone()));
                let cause = reason.cause();
                let salvaged = message.salvage.clone();
                readable.extend(
                    salvaged.map(|order| (message.seq, Message::Unrecordable { order, cause })),
                );
            }
        }
    }
    let books = read_books(connection, &readable).await?;
    let decision = decide(readable, books);
    dead.extend(decision.dead.iter().filter_map(|(seq, problem)| {
        let message = batch.iter().find(|message| message.seq == *seq)?;
        Some((message, DeadReason::Unacceptable(*problem)))
    }));

    // In one transaction with the orders in front of them: a passed marker says that these are
    // recorded.
    for (sale_id, epoch) in &decision.fences {
        sqlx::query_file!("sql/fence_pass.sql", sale_id, epoch).execute(&mut *connection).await?;
    }
    let mut entered = enter(connection, &decision.new_orders, &traces).await?;

    let (ids, times): (Vec<Uuid>, Vec<OffsetDateTime>) =
        decision.cancel_requests.iter().copied().unzip();
    if !ids.is_empty() {
        sqlx::query_file!("sql/orders_request_cancel.sql", &ids, &times)
            .execute(&mut *connection)
            .await?;
    }
    entered.owe(ids.iter().map(|order_id| (*order_id, Occurrence::CancelRequested)));
    entered.follow(connection).await?;
    let ended = dead_letters::end_orders(connection, &decision.cancelled, EndReason::Buyer).await?;
    dead_letters::insert(connection, stream, from, &dead, review).await?;
    // Includes dead letters of this batch.
    entered.resolve_dead_letters(connection, &decision.cancelled).await?;
    parked::delete(connection, &decision.unparked).await?;
    let parked: Vec<(&Received, _)> = decision
        .parked
        .iter()
        .filter_map(|straggler| {
            let message = batch.iter().find(|message| message.seq == straggler.seq)?;
            Some((message, straggler))
        })
        .collect();
    parked::insert(connection, &parked).await?;

    let cancelled = decision.cancelled.iter().map(|_| OrderState::Cancelled);
    Ok(Claimed::Done(Summary {
        states: entered.states().chain(cancelled).collect(),
        dead: dead.len() as u64,
        parked: parked.len() as u64,
        kinds: entered.kinds().chain(ended.iter().map(|(_, row)| row.kind)).collect(),
    }))
}
