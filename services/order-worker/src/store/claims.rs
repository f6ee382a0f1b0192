//! The claims' transaction: a batch of messages becomes orders, all of it or nothing.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use flashsale_failpoint::Step as _;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Step, Units, change_claimed,
    dead_letters::{self, Resolution},
    insert_consequences, insert_steps, lock_allotments, lock_stock, parked,
    position::{Position, advance, signed},
};
use crate::domain::{
    Birth, Books, Consequence, EndReason, Intake, Kind, Known, Occurrence, OrderState, PlacedOrder,
    SaleFacts, Unacceptable, consequences, decide,
};

/// The most of an unreadable message that is kept, in bytes.
const DEAD_PAYLOAD_BYTES: usize = 64 * 1024;

/// One message of the stream.
#[derive(Debug, Clone)]
pub struct Received {
    /// Its sequence number in the stream.
    pub seq: u64,
    /// The trace its order's row is to remember.
    pub traceparent: Option<String>,
    /// Its body as it came.
    pub payload: Vec<u8>,
    /// The order that it places and its sale, as far as that can be read: they stay with a dead letter.
    pub places: (Option<Uuid>, Option<Uuid>),
    /// What it says, or why that cannot be recorded.
    pub content: Result<Intake, DeadReason>,
    /// What can be recorded of the order that it places, where the whole cannot.
    pub salvage: Option<PlacedOrder>,
}

/// Why a message became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadReason {
    /// It is not one of the queue's messages.
    Unreadable,
    /// Its values cannot go into the record.
    Unacceptable(Unacceptable),
    /// Postgres refused it; the SQLSTATE.
    RefusedByStore(String),
}

impl DeadReason {
    fn text(&self) -> String {
        match self {
            Self::Unreadable => "unreadable".to_owned(),
            Self::Unacceptable(problem) => problem.as_str().to_owned(),
            Self::RefusedByStore(state) => format!("{}:{state}", self.cause()),
        }
    }

    /// The same in a word.
    fn cause(&self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Unacceptable(problem) => problem.as_str(),
            Self::RefusedByStore(_) => "refused_by_store",
        }
    }
}

/// What a batch came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is in the record.
    Done(Summary),
    /// Somebody else has moved the position meanwhile: nothing was written.
    Overtaken,
}

/// What a batch wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Where each new order stands.
    pub states: Vec<OrderState>,
    /// Messages that were put aside.
    pub dead: u64,
    /// Orders that were parked.
    pub parked: u64,
    /// The kinds of consequences that have become due.
    pub kinds: HashSet<Kind>,
}

/// Records `batch` and moves the position of `stream` from `from` to the batch's last message, in
/// one transaction. It waits for nobody but Postgres: an order whose units are in doubt is parked.
///
/// A batch that Postgres refuses because of what is in it is halved until the messages are found that it refuses alone, and those are put aside
/// for somebody to decide within `review`: no message is in the way of the others.
///
/// # Errors
/// When Postgres does not answer. The batch may be recorded then: the position tells.
pub async fn claim(
    pool: &PgPool,
    stream: &str,
    mut from: Position,
    batch: &[Received],
    review: Duration,
) -> Result<Claimed, sqlx::Error> {
    let mut total = Summary::default();
    // Parts that are still to be recorded, the first of them on top.
    let mut parts = vec![batch.to_vec()];
    while let Some(mut part) = parts.pop() {
        let claimed = match claim_together(pool, stream, from, &part, review).await {
            Ok(claimed) => claimed,
            Err(error) => {
                let Some(state) = refused_content(&error) else { return Err(error) };
                if let [alone] = part.as_mut_slice() {
                    if !alone.refuse(&state) {
                        return Err(error);
                    }
                    parts.push(part);
                } else {
                    tracing::warn!(messages = part.len(), "Postgres refuses a batch: halving it");
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                continue;
            }
        };
        let summary = match claimed {
            Claimed::Done(summary) => summary,
            // What was recorded before stays recorded.
            Claimed::Overtaken => return Ok(claimed),
        };
        total.states.extend(summary.states);
        total.dead += summary.dead;
        total.parked += summary.parked;
        total.kinds.extend(summary.kinds);
        from.seq = part.last().map_or(from.seq, |message| message.seq);
    }
    Ok(Claimed::Done(total))
}

impl Received {
    /// Postgres has refused it alone. First what can be salvaged of its order is tried, then nothing but the letter; false if that was it.
    fn refuse(&mut self, state: &str) -> bool {
        let salvage = match &self.content {
            Ok(Intake::Place(order)) => order.salvage(),
            Ok(
                Intake::Cancel { .. }
                | Intake::Fence { .. }
                | Intake::Closing { .. }
                | Intake::Unrecordable { .. },
            ) => None,
            Err(_) if self.salvage.is_none() => return false,
            Err(_) => None,
        };
        self.salvage = salvage;
        self.content = Err(DeadReason::RefusedByStore(state.to_owned()));
        true
    }
}

/// The SQLSTATE if Postgres objects to the data itself (classes 22 and 23), so that trying the same again cannot help.
pub(super) fn refused_content(error: &sqlx::Error) -> Option<String> {
    let state = error.as_database_error()?.code()?;
    (state.starts_with("22") || state.starts_with("23")).then(|| state.into_owned())
}

async fn claim_together(
    pool: &PgPool,
    stream: &str,
    from: Position,
    batch: &[Received],
    review: Duration,
) -> Result<Claimed, sqlx::Error> {
    flashsale_pg::retry_conflicts(|| async {
        let mut transaction = pool.begin().await?;
        let claimed = claim_in(&mut transaction, stream, from, batch, review).await?;
        match claimed {
            Claimed::Done(_) => transaction.commit().step("commit/claims").await?,
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
    if !advance(connection, stream, from, to).await? {
        return Ok(Claimed::Overtaken);
    }

    let mut dead: Vec<(&Received, DeadReason)> = Vec::new();
    let mut traces: HashMap<Uuid, &str> = HashMap::new();
    let mut readable: Vec<(u64, Intake)> = Vec::new();
    for message in batch {
        match &message.content {
            Ok(intake) => {
                if let (Some(traceparent), Some(order)) = (&message.traceparent, intake.order()) {
                    // Of several messages about an order the first one writes its row.
                    traces.entry(order.order_id).or_insert(traceparent);
                }
                readable.push((message.seq, intake.clone()));
            }
            Err(reason) => {
                dead.push((message, reason.clone()));
                let cause = reason.cause();
                let salvaged = message.salvage.clone();
                readable.extend(
                    salvaged.map(|order| (message.seq, Intake::Unrecordable { order, cause })),
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

    for (sale_id, epoch) in &decision.fences {
        sqlx::query_file!("sql/fence_pass.sql", sale_id, epoch).execute(&mut *connection).await?;
    }
    let mut entered = enter(connection, &decision.births, &traces).await?;

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
    insert_dead(connection, stream, from, &dead, review).await?;
    // Also those of this batch.
    entered.resolve_letters(connection, &decision.cancelled).await?;
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

/// Orders that have entered the record, and what follows from that.
#[derive(Debug)]
pub(super) struct Entered<'a> {
    births: Vec<&'a Birth>,
    rows: Vec<(Uuid, Consequence)>,
}

/// Writes orders that enter the record, with their lines and the units they claim. What follows is
/// not written yet. The allotments and the orders that are there are locked already.
pub(super) async fn enter<'a>(
    connection: &mut PgConnection,
    births: &'a [Birth],
    traces: &HashMap<Uuid, &str>,
) -> Result<Entered<'a>, sqlx::Error> {
    let inserted = insert_orders(connection, births, traces).await?;
    // Only what was really inserted counts.
    let births: Vec<&Birth> =
        births.iter().filter(|birth| inserted.contains(&birth.order.order_id)).collect();
    insert_lines(connection, &births).await?;
    change_claimed(connection, &units_of(&births)).await?;
    let mut entered = Entered { births, rows: Vec::new() };
    let occurrences: Vec<_> = entered
        .births
        .iter()
        .flat_map(|birth| {
            let order_id = birth.order.order_id;
            let wish = birth.state().is_open() && birth.cancel_requested_at.is_some();
            // States it has passed through already need no carrier.
            [Some((order_id, Occurrence::Reached(birth.state())))]
                .into_iter()
                .chain([wish.then_some((order_id, Occurrence::CancelRequested))])
                .flatten()
        })
        .collect();
    entered.owe(occurrences);
    Ok(entered)
}

impl Entered<'_> {
    fn owe(&mut self, occurrences: impl IntoIterator<Item = (Uuid, Occurrence)>) {
        for (order_id, occurrence) in occurrences {
            self.rows.extend(consequences(occurrence).iter().map(|row| (order_id, *row)));
        }
    }

    /// Writes the history and the consequences.
    pub(super) async fn follow(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let mut steps = Vec::new();
        for birth in &self.births {
            let order_id = birth.order.order_id;
            let mut before = birth.revives.then_some(OrderState::DeadLetter);
            for (state, cause) in &birth.path {
                steps.push(Step { order_id, from: before, to: *state, cause: (*cause).to_owned() });
                before = Some(*state);
            }
        }
        insert_steps(connection, &steps).await?;
        insert_consequences(connection, &self.rows).await
    }

    /// Resolves the letters of those that are no dead letters any more, and of the dead letters
    /// that were `cancelled`. A letter need not have a row for its order: who could read it knew no
    /// more than its id.
    pub(super) async fn resolve_letters(
        &self,
        connection: &mut PgConnection,
        cancelled: &[Uuid],
    ) -> Result<(), sqlx::Error> {
        let recorded = |by_buyer: bool| {
            let births =
                self.births.iter().filter(move |birth| birth.state() != OrderState::DeadLetter);
            let births = births
                .filter(move |birth| (birth.end_reason == Some(EndReason::Buyer)) == by_buyer);
            births.map(|birth| birth.order.order_id)
        };
        let retried: Vec<Uuid> = recorded(false).collect();
        dead_letters::resolve_orders(connection, &retried, Resolution::Retried).await?;
        let cancelled: Vec<Uuid> = recorded(true).chain(cancelled.iter().copied()).collect();
        dead_letters::resolve_orders(connection, &cancelled, Resolution::Cancelled).await
    }

    /// The orders.
    pub(super) fn births(&self) -> &[&Birth] {
        &self.births
    }

    /// Where they stand.
    pub(super) fn states(&self) -> impl Iterator<Item = OrderState> {
        self.births.iter().map(|birth| birth.state())
    }

    /// The kinds of what follows.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.rows.iter().map(|(_, row)| row.kind)
    }
}

/// Reads everything the batch touches: the stock of sales that a marker is for first, then
/// allotments, parked orders and orders, as the lock order says.
async fn read_books(
    connection: &mut PgConnection,
    messages: &[(u64, Intake)],
) -> Result<Books, sqlx::Error> {
    let fenced: BTreeSet<Uuid> = messages
        .iter()
        .filter_map(|(_, intake)| match intake {
            Intake::Fence { sale_id, .. } => Some(*sale_id),
            Intake::Place(_)
            | Intake::Cancel { .. }
            | Intake::Unrecordable { .. }
            | Intake::Closing { .. } => None,
        })
        .collect();
    // A parked order may be claimed, whatever inventory says of its units, as long as the marker of
    // the standing epoch is not passed: the stock of that epoch counts it. Whoever claims one holds
    // this row while it looks and until it has committed. Were the marker passed beside that, the
    // stock could be computed after the look and before the commit: it would miss the order, and
    // its units be sold twice.
    let epochs: HashMap<Uuid, i64> =
        lock_stock(connection, &fenced.into_iter().collect::<Vec<_>>()).await?;

    let skus: BTreeSet<(Uuid, String)> = messages
        .iter()
        .filter_map(|(_, intake)| match intake {
            Intake::Place(order) => Some(order),
            Intake::Cancel { .. }
            | Intake::Unrecordable { .. }
            | Intake::Fence { .. }
            | Intake::Closing { .. } => None,
        })
        .flat_map(|order| order.lines.iter().map(|line| (order.sale_id, line.sku.clone())))
        .collect();
    let order_ids: BTreeSet<Uuid> = messages
        .iter()
        .filter_map(|(_, intake)| intake.order())
        .map(|order| order.order_id)
        .collect();
    let order_ids: Vec<Uuid> = order_ids.into_iter().collect();
    let books = read_orders(connection, &skus, &order_ids).await?;

    let sale_ids: BTreeSet<Uuid> = messages.iter().map(|(_, intake)| intake.sale_id()).collect();
    let sale_ids: Vec<Uuid> = sale_ids.into_iter().collect();
    let sales = sqlx::query_file!("sql/sales_known.sql", &sale_ids)
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| {
            let epoch = epochs.get(&row.sale_id).copied();
            (row.sale_id, SaleFacts { fence: row.epoch, epoch })
        })
        .collect();
    Ok(Books { sales, ..books })
}

/// Reads what is left of `skus`, which of the orders are parked and which have a row, all of it
/// under locks. A parked order is locked before anybody looks for its row: who claims it and who
/// cancels it meet there, and the second sees what the first has written.
pub(super) async fn read_orders(
    connection: &mut PgConnection,
    skus: &BTreeSet<(Uuid, String)>,
    order_ids: &[Uuid],
) -> Result<Books, sqlx::Error> {
    let left = lock_allotments(connection, skus.iter()).await?.into_iter().collect();
    let parked = parked::lock(connection, order_ids).await?;
    let known = sqlx::query_file!("sql/orders_known.sql", order_ids)
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| {
            let known =
                Known { state: state_of(&row.state)?, cancel_requested: row.cancel_requested };
            Ok((row.order_id, known))
        })
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Books { known, left, parked, ..Books::default() })
}

/// A state as it stands in the record. The table's CHECK allows no other.
pub(super) fn state_of(name: &str) -> Result<OrderState, sqlx::Error> {
    OrderState::parse(name)
        .ok_or_else(|| sqlx::Error::Decode(format!("{name} is no state of an order").into()))
}

async fn insert_orders(
    connection: &mut PgConnection,
    births: &[Birth],
    traces: &HashMap<Uuid, &str>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if births.is_empty() {
        return Ok(HashSet::new());
    }
    // Column by column: one statement however many orders.
    macro_rules! column {
        ($birth:ident => $value:expr) => {
            births.iter().map(|$birth| $value).collect::<Vec<_>>()
        };
    }
    let inserted = sqlx::query_file_scalar!(
        "sql/orders_insert.sql",
        &column!(birth => birth.order.order_id),
        &column!(birth => birth.order.sale_id),
        &column!(birth => birth.order.buyer_id.as_str()) as _,
        &column!(birth => birth.order.hold_id),
        &column!(birth => birth.order.epoch),
        &column!(birth => birth.order.admission_id.as_deref()) as _,
        &column!(birth => birth.order.request_id),
        &column!(birth => birth.order.request_hash.as_str()) as _,
        &column!(birth => birth.state().as_str()) as _,
        &column!(birth => birth.order.currency.as_str()) as _,
        &column!(birth => birth.order.total_minor),
        &column!(birth => birth.order.email.as_str()) as _,
        &column!(birth => birth.order.contact_name.as_str()) as _,
        &column!(birth => birth.order.payment_method.as_str()) as _,
        &column!(birth => birth.order.locale.as_str()) as _,
        &column!(birth => birth.cancel_requested_at) as _,
        &column!(birth => birth.end_reason.map(EndReason::as_str)) as _,
        &column!(birth => birth.order.placed_at),
        &column!(birth => traces.get(&birth.order.order_id).copied()) as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().collect())
}

async fn insert_lines(connection: &mut PgConnection, births: &[&Birth]) -> Result<(), sqlx::Error> {
    let (mut order_ids, mut skus, mut quantities, mut prices) = (vec![], vec![], vec![], vec![]);
    for birth in births {
        for line in &birth.order.lines {
            order_ids.push(birth.order.order_id);
            skus.push(line.sku.as_str());
            quantities.push(line.quantity);
            prices.push(line.unit_price_minor);
        }
    }
    if !order_ids.is_empty() {
        sqlx::query_file!(
            "sql/order_lines_insert.sql",
            &order_ids,
            &skus as _,
            &quantities,
            &prices
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

fn units_of(births: &[&Birth]) -> Units {
    let mut units = Units::new();
    for birth in births.iter().filter(|birth| birth.state().holds_units()) {
        for line in &birth.order.lines {
            *units.entry((birth.order.sale_id, line.sku.clone())).or_default() += line.quantity;
        }
    }
    units
}

async fn insert_dead(
    connection: &mut PgConnection,
    stream: &str,
    position: Position,
    dead: &[(&Received, DeadReason)],
    review: Duration,
) -> Result<(), sqlx::Error> {
    if dead.is_empty() {
        return Ok(());
    }
    let seqs: Vec<i64> = dead.iter().map(|(message, _)| signed(message.seq)).collect();
    let payloads: Vec<&[u8]> = dead
        .iter()
        .map(|(message, _)| &message.payload[..message.payload.len().min(DEAD_PAYLOAD_BYTES)])
        .collect();
    let reasons: Vec<String> = dead.iter().map(|(_, reason)| reason.text()).collect();
    let (orders, sales): (Vec<Option<Uuid>>, Vec<Option<Uuid>>) =
        dead.iter().map(|(message, _)| message.places).unzip();
    sqlx::query_file!(
        "sql/dead_letters_insert.sql",
        stream,
        position.created,
        &seqs,
        &payloads as _,
        &reasons,
        &orders as _,
        i64::try_from(review.as_millis()).unwrap_or(i64::MAX),
        &sales as _
    )
    .execute(connection)
    .await?;
    for (message, reason) in dead {
        tracing::error!(stream, seq = message.seq, reason = reason.text(), "dead letter");
    }
    Ok(())
}
