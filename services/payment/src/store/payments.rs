//! `payments`: recording, leasing, and the compare-and-sets.

use std::{collections::HashMap, time::Duration};

use flashsale_pg::statement;
use flashsale_record::OrderState;
use sqlx::{PgConnection, query_file, query_file_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store,
    events::{self, EventNote},
    ledger::{self, LearntBy, MoveKind},
    ms,
    refunds::{self, DueNow},
};
use crate::{
    domain::{
        self, Action, CancelRuling, ChargeRuling, EndReason, NotPayable, Order, Outcome, Payment,
        Ruling, STUCK_AFTER, Standing, State,
    },
    steps,
};

/// Why money is given back that came after its payment had ended.
const ORDER_ENDED: &str = "order_ended";
/// Why money is given back that is not what was asked for.
const ANOTHER_AMOUNT: &str = "amount_mismatch";

/// Payments that are ended by one statement.
pub const ENDED_AT_ONCE: usize = 200;

/// An order to record a payment for.
#[derive(Debug, Clone)]
pub struct NewPayment {
    pub order_id: Uuid,
    /// The trace of the order.
    pub traceparent: Option<String>,
}

/// The outcome of recording payments.
#[derive(Debug)]
pub enum Recorded {
    /// Each has a row; here they are, in the order asked.
    All(Vec<Payment>),
    /// The order at this place is not in the record; nothing was written.
    Unknown(usize),
    /// Nothing may be charged for the order at this place; nothing was written.
    NotPayable(usize, Order, NotPayable),
}

/// The outcome of a request never to charge an order.
#[derive(Debug)]
pub enum Cancelled {
    /// Its payment, which may have been recorded just now.
    Payment(Box<Payment>),
    /// The order is not in the record; nothing was written.
    Unknown,
    /// The order has no payment and never can have one; nothing was written.
    NotPayable(Order, NotPayable),
}

/// What the work on a payment has left behind when it is put back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// It counts as an attempt.
    pub attempt: bool,
    /// The attempt showed that our requests are wrong, or that answers cannot be read.
    pub fault: bool,
    /// The provider has still not heard of it.
    pub unheard: bool,
    /// The provider answers under the present keys with what it has stored.
    pub key_spent: bool,
    /// For how long the provider asked not to be asked.
    pub not_before: Option<Duration>,
}

/// The effect of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The state the payment is in now.
    pub state: State,
    /// Whether this call brought it there.
    pub changed: bool,
    /// Whether another amount was captured than was asked for.
    pub another_amount: bool,
}

/// The result of [`Store::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettleResult {
    /// The payment's own intent has ended.
    Own(Settled),
    /// No payment of ours has this order and this intent.
    Foreign,
    /// The outcome is impossible in this state; nothing was changed.
    Impossible(&'static str),
}

/// The open payments, for operators.
#[derive(Debug, Clone, Copy)]
pub struct OpenPayments {
    /// How many there are.
    pub count: i64,
    /// When the oldest was recorded.
    pub oldest: Option<OffsetDateTime>,
}

/// What waits, for the metrics. Ages are in seconds and 0 where nothing waits.
#[derive(Debug, Clone)]
pub struct Backlog {
    /// Payments whose outcome is still to come.
    pub open: i64,
    /// Since the oldest of them was recorded.
    pub open_age_s: f64,
    /// Those of them whose requests have been answered as wrong, or unreadably, several times in a
    /// row.
    pub stuck: i64,
    /// Since the longest due of them that is not leased was due.
    pub due_age_s: f64,
    /// Refunds that are not done.
    pub refunds: i64,
    /// Since the oldest of them was recorded.
    pub refund_age_s: f64,
    /// Refunds that the provider could not make, however often it was asked.
    pub refunds_failed: i64,
    /// Payments that contradicted the ledger or their order when they were last compared.
    pub differences: i64,
    /// What operators decided about the breaker.
    pub force: String,
}

impl Store {
    /// Records payments as due, all or none, over what the record says that their orders cost. An
    /// order that has a payment keeps it.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn record(&self, asked: &[NewPayment]) -> sqlx::Result<Recorded> {
        flashsale_pg::retry_conflicts(|| async {
            let ids: Vec<Uuid> = asked.iter().map(|payment| payment.order_id).collect();
            let mut transaction = self.pool.begin().await?;
            let mut orders = orders(&mut transaction, &ids).await?;
            let mut due: Vec<(Order, Option<&str>)> = Vec::new();
            for (place, payment) in asked.iter().enumerate() {
                let Some(order) = orders.remove(&payment.order_id) else {
                    return Ok(Recorded::Unknown(place));
                };
                match domain::charge(&order) {
                    ChargeRuling::IsDue => due.push((order, payment.traceparent.as_deref())),
                    ChargeRuling::HasPayment => {}
                    ChargeRuling::Refused(why) => {
                        return Ok(Recorded::NotPayable(place, order, why));
                    }
                }
            }
            insert(&mut transaction, &due).await?;
            let rows = read(&mut transaction, &ids).await?;
            transaction.commit(steps::COMMIT_PAYMENTS).await?;
            Ok(Recorded::All(ids.iter().filter_map(|order| rows.get(order).cloned()).collect()))
        })
        .await
    }

    /// An order's payment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn payment(&self, order: Uuid) -> sqlx::Result<Option<Payment>> {
        let mut connection = self.pool.reads().acquire().await?;
        Ok(read(&mut connection, &[order]).await?.remove(&order))
    }

    /// Makes sure that an order is never charged, as far as that is still possible, and returns its
    /// payment. Records the payment, over what the order costs, if there is none yet.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn cancel(&self, order_id: Uuid) -> sqlx::Result<Cancelled> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            let mut orders = orders(&mut transaction, &[order_id]).await?;
            let Some(order) = orders.remove(&order_id) else { return Ok(Cancelled::Unknown) };
            if !order.has_payment {
                if let Err(why) = domain::never_charge(&order) {
                    return Ok(Cancelled::NotPayable(order, why));
                }
                // The row first: a concurrent creation of the payment finds it, or is found.
                query_file!(
                    "sql/insert_cancelled.sql",
                    order_id,
                    order.sale_id,
                    order.currency,
                    order.total_minor
                )
                .execute(&mut *transaction)
                .await?;
            }
            let payment =
                lock(&mut transaction, order_id).await?.ok_or(sqlx::Error::RowNotFound)?;
            match domain::cancel(&payment) {
                CancelRuling::EndsNow => {
                    query_file!("sql/cancel_unheard.sql", order_id)
                        .execute(&mut *transaction)
                        .await?;
                }
                CancelRuling::AsksProvider => {
                    query_file!("sql/request_cancel.sql", order_id)
                        .execute(&mut *transaction)
                        .await?;
                }
                CancelRuling::HasEnded => {}
            }
            let payment =
                lock(&mut transaction, order_id).await?.ok_or(sqlx::Error::RowNotFound)?;
            transaction.commit(steps::COMMIT_CANCEL).await?;
            Ok(Cancelled::Payment(Box::new(payment)))
        })
        .await
    }

    /// Takes up to `limit` due payments up for `lease`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn lease(&self, limit: usize, lease: Duration) -> sqlx::Result<Vec<Payment>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        statement!(
            steps::SQL_LEASE_PAYMENTS,
            query_file_as!(Payment, "sql/lease_payments.sql", limit, ms(lease))
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Records the one intent of a payment. False when the payment has one, or has ended.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn record_intent(&self, order: Uuid, intent: &str) -> sqlx::Result<bool> {
        let done = statement!(
            steps::SQL_RECORD_INTENT,
            query_file!("sql/record_intent.sql", order, intent)
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Records the intent that was being created when its payment ended, so that the record knows
    /// all intents at the provider: money on it would be recognised and given back.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn name_unused_intent(&self, order: Uuid, intent: &str) -> sqlx::Result<()> {
        statement!(
            steps::SQL_NAME_UNUSED_INTENT,
            query_file!("sql/name_unused_intent.sql", order, intent)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Commits that a request to create the intent may be on its way, and returns the form it has
    /// to send: `form`, unless one went out before. `None` when it must not be sent.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn begin_create(
        &self,
        payment: &Payment,
        form: &str,
        lease: Duration,
    ) -> sqlx::Result<Option<String>> {
        let begun = statement!(
            steps::SQL_BEGIN_CREATE,
            query_file!(
                "sql/begin_create.sql",
                payment.order_id,
                payment.lease_id,
                form,
                ms(lease)
            )
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(begun.map(|row| row.create_form))
    }

    /// Commits that a confirmation may be on its way. False when it must not be sent.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn begin_confirm(
        &self,
        payment: &Payment,
        intent: &str,
        lease: Duration,
    ) -> sqlx::Result<bool> {
        let done = statement!(
            steps::SQL_BEGIN_CONFIRM,
            query_file!(
                "sql/begin_confirm.sql",
                payment.order_id,
                intent,
                payment.lease_id,
                ms(lease),
                payment.card_attempt
            )
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Makes sure before the intent's cancellation goes out that the payment is still this
    /// worker's. False when it must not be sent.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn begin_cancel(&self, payment: &Payment, lease: Duration) -> sqlx::Result<bool> {
        let done = statement!(
            steps::SQL_BEGIN_CANCEL,
            query_file!("sql/begin_cancel.sql", payment.order_id, payment.lease_id, ms(lease))
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Has a payment's requests go out under new keys. False when it is another worker's by now.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn next_generation(&self, payment: &Payment) -> sqlx::Result<bool> {
        let done = statement!(
            steps::SQL_NEXT_GENERATION,
            query_file!(
                "sql/next_generation.sql",
                payment.order_id,
                payment.lease_id,
                payment.generation
            )
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Records why a payment ends that neither the buyer nor the card ends.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn give_up(&self, order: Uuid, reason: EndReason) -> sqlx::Result<()> {
        statement!(steps::SQL_GIVE_UP, query_file!("sql/give_up.sql", order, reason.as_str()))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Ends a payment without an intent. False when it has one by now, or has ended.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn end_unbegun(&self, order: Uuid, state: State) -> sqlx::Result<bool> {
        let done = statement!(
            steps::SQL_END_UNBEGUN,
            query_file!("sql/end_unbegun.sql", order, state.as_str())
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Puts back a payment that is this worker's.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn put_back(
        &self,
        payment: &Payment,
        wait: Duration,
        left: LeftBehind,
    ) -> sqlx::Result<()> {
        let LeftBehind { attempt, fault, unheard, key_spent, not_before } = left;
        statement!(
            steps::SQL_PUT_BACK,
            query_file!(
                "sql/put_back.sql",
                payment.order_id,
                payment.lease_id,
                ms(wait),
                attempt,
                fault,
                unheard,
                key_spent,
                not_before.map(ms)
            )
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Ends a payment as its intent has ended: the only way, for tasks and webhooks alike. What was
    /// captured goes into the ledger in the same transaction, and money that comes after the
    /// payment had ended is recorded together with its refund. So is `event`, the one that said it,
    /// if the payment changes.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn settle(
        &self,
        order: Uuid,
        intent: &str,
        outcome: Outcome,
        learnt_by: LearntBy,
        event: Option<EventNote<'_>>,
    ) -> sqlx::Result<SettleResult> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            let Some(payment) = lock(&mut transaction, order).await? else {
                return Ok(SettleResult::Foreign);
            };
            // One of ours that was given up before it was recorded, or an event of another's.
            if payment.intent_id.as_deref() != Some(intent) {
                return Ok(SettleResult::Foreign);
            }
            let Ok(expected) = domain::provider_amount(payment.amount_minor, &payment.currency)
            else {
                return Ok(SettleResult::Impossible(
                    "its amount cannot be charged at the provider",
                ));
            };
            let standing = Standing {
                state: payment.state,
                declined: payment.is_declined_for_good(),
                captured: payment.captured_minor > 0,
                expected,
            };
            let (to, reason) = match domain::settle(standing, outcome) {
                Ruling::Becomes(to) => (to, None),
                Ruling::CapturedLate => (State::Succeeded, Some(ORDER_ENDED)),
                Ruling::CapturedAnother => (State::Cancelled, Some(ANOTHER_AMOUNT)),
                Ruling::Known => {
                    return Ok(SettleResult::Own(Settled {
                        state: payment.state,
                        changed: false,
                        another_amount: false,
                    }));
                }
                Ruling::Impossible(why) => return Ok(SettleResult::Impossible(why)),
            };
            let captured = match outcome {
                Outcome::Captured { received } => domain::minor_amount(received, &payment.currency),
                Outcome::Canceled => 0,
            };
            // By hand, and learnt before the capture was.
            let is_back = captured > 0 && payment.refunded_minor >= captured;
            let to = if to == State::Succeeded && is_back { State::Refunded } else { to };
            let end_reason = (reason == Some(ANOTHER_AMOUNT)).then_some(EndReason::AmountMismatch);
            if captured > 0 {
                let kind = MoveKind::Captured;
                ledger::write(&mut transaction, &payment, kind, intent, captured, learnt_by)
                    .await?;
            }
            if let Some(reason) = reason
                && captured > 0
            {
                let due = DueNow {
                    refund_id: domain::rest_id(order, intent),
                    order,
                    intent,
                    amount_minor: captured,
                    is_rest: true,
                    reason,
                    note: None,
                };
                refunds::insert(&mut transaction, due).await?;
            }
            let changed = query_file!(
                "sql/settle.sql",
                order,
                payment.state.as_str(),
                to.as_str(),
                captured,
                end_reason.map(EndReason::as_str)
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            if changed != 1 {
                // The row is locked: its state cannot have changed since it was read.
                return Err(sqlx::Error::RowNotFound);
            }
            if payment.card_attempt > 1 {
                let ended = if captured > 0 { State::Succeeded } else { State::Cancelled };
                query_file!("sql/end_attempt.sql", order, ended.as_str())
                    .execute(&mut *transaction)
                    .await?;
            }
            if let Some(event) = event {
                events::note(&mut transaction, event).await?;
            }
            transaction.commit(steps::COMMIT_SETTLE).await?;
            Ok(SettleResult::Own(Settled {
                state: to,
                changed: true,
                another_amount: end_reason.is_some(),
            }))
        })
        .await
    }

    /// Has an open payment looked at after a moment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn make_due(&self, order: Uuid, intent: &str, after: Duration) -> sqlx::Result<()> {
        statement!(steps::SQL_MAKE_DUE, query_file!("sql/make_due.sql", order, intent, ms(after)))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Ends payments that have waited longer than `limit` and that the provider has not heard of,
    /// up to [`ENDED_AT_ONCE`] of them, and returns their orders.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn end_waited_out(&self, limit: Duration) -> sqlx::Result<Vec<Uuid>> {
        let most = i64::try_from(ENDED_AT_ONCE).unwrap_or(i64::MAX);
        let ended = statement!(
            steps::SQL_END_WAITED_OUT,
            query_file!("sql/end_waited_out.sql", ms(limit), most)
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ended.into_iter().map(|row| row.order_id).collect())
    }

    /// Makes open payments due that were left alone for this long, and returns how many they are.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn reconcile(&self, untouched: Duration) -> sqlx::Result<u64> {
        let done =
            statement!(steps::SQL_RECONCILE, query_file!("sql/reconcile.sql", ms(untouched)))
                .execute(&self.pool)
                .await?;
        Ok(done.rows_affected())
    }

    /// The open payments.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn open_payments(&self) -> sqlx::Result<OpenPayments> {
        let row = query_file!("sql/open_payments.sql").fetch_one(self.pool.reads()).await?;
        Ok(OpenPayments { count: row.open, oldest: row.oldest })
    }

    /// What waits.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn backlog(&self) -> sqlx::Result<Backlog> {
        query_file_as!(Backlog, "sql/backlog.sql", STUCK_AFTER).fetch_one(self.pool.reads()).await
    }
}

/// What the record says of these orders; one that it does not have is missing. Reads an order and
/// whether it has a payment at one moment: an order that its payment has ended has it here too.
async fn orders(connection: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<HashMap<Uuid, Order>> {
    let rows = query_file_as!(Order, "sql/orders.sql", ids).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.order_id, row)).collect())
}

async fn insert(connection: &mut PgConnection, due: &[(Order, Option<&str>)]) -> sqlx::Result<()> {
    if due.is_empty() {
        return Ok(());
    }
    // Column by column: one statement however many payments.
    macro_rules! column {
        ($order:ident => $value:expr) => {
            due.iter().map(|($order, _)| $value).collect::<Vec<_>>()
        };
    }
    let traces: Vec<Option<&str>> = due.iter().map(|(_, trace)| *trace).collect();
    query_file!(
        "sql/insert_payments.sql",
        &column!(order => order.order_id),
        &column!(order => order.sale_id),
        &column!(order => order.total_minor),
        &column!(order => order.currency.as_str()) as _,
        &column!(order => order.payment_method.as_str()) as _,
        &traces as _,
        &column!(order => order.patience_ms) as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn read(
    connection: &mut PgConnection,
    orders: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, Payment>> {
    let rows = query_file_as!(Payment, "sql/payments.sql", orders).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.order_id, row)).collect())
}

pub(super) async fn lock(
    connection: &mut PgConnection,
    order: Uuid,
) -> sqlx::Result<Option<Payment>> {
    query_file_as!(Payment, "sql/payment_for_update.sql", order).fetch_optional(connection).await
}
