//! `refunds`: recording, taking up, and what the provider's word makes of them.

use std::time::Duration;

use flashsale_pg::statement;
use sqlx::{PgConnection, query_file, query_file_as};
use uuid::Uuid;

use super::{
    Store,
    ledger::{self, LearntBy, MoveKind},
    ms,
    payments::lock,
};
use crate::{
    domain::{
        self, MadeRefund, Payment, Refund, RefundChange, RefundReport, RefundRuling, RefundState,
        State,
    },
    steps,
};

/// Why money is given back that no payment names.
const ORPHAN: &str = "orphan";
/// Why money is given back on request.
const REQUESTED: &str = "requested";
/// How long after a failed try the next one follows.
const NEXT_TRY: Duration = Duration::from_secs(5);
/// How long until the provider is asked about a refund that it works on: an event usually tells
/// earlier.
const PENDING_LOOK: Duration = Duration::from_secs(60);

/// A refund that was taken up.
#[derive(Debug, Clone)]
pub struct DueRefund {
    pub refund_id: Uuid,
    /// The order whose money goes back.
    pub order_id: Uuid,
    pub sale_id: Uuid,
    /// What was captured.
    pub intent_id: String,
    /// In minor units.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// Why.
    pub reason: String,
    /// The number of the try at the provider.
    pub r#try: i32,
    /// The provider's refund of that try, once it is known: then it is only asked about.
    pub provider_ref: Option<String>,
    /// How often it was taken up and the provider asked, this time included.
    pub attempts: i32,
    /// The trace of the order.
    pub traceparent: Option<String>,
}

/// A request for a refund.
#[derive(Debug, Clone)]
pub struct AskedRefund {
    /// The caller's id of it.
    pub request_id: Uuid,
    pub order_id: Uuid,
    /// In minor units; none for all that is left.
    pub amount_minor: Option<i64>,
    /// Why, in the caller's words.
    pub note: Option<String>,
}

/// A refund to be recorded as due.
pub(super) struct DueNow<'a> {
    pub(super) refund_id: Uuid,
    pub(super) order: Uuid,
    pub(super) intent: &'a str,
    pub(super) amount_minor: i64,
    pub(super) is_rest: bool,
    pub(super) reason: &'a str,
    pub(super) note: Option<&'a str>,
}

/// What the provider's word has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learnt {
    /// Nothing: it was known, or the intent is no payment's.
    Nothing,
    /// The provider works on it.
    Pending,
    /// Money is back. True if by that all of it is.
    Done(bool),
    /// It did not come back; another try is due.
    Again,
    /// It did not come back, and a person has to find another way.
    Failed,
}

/// What becomes of money on an intent of ours that no payment names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphan {
    /// It goes back.
    GoesBack,
    /// Nothing: that is known, or no order of the record is meant.
    Known,
    /// It waits for a person, as a failed refund: as many have gone back in the last hour as may.
    TooMany,
}

impl Store {
    /// Has money go back that was captured on an intent of ours that is not the one of its order's
    /// payment, unless `most` such have gone back within an hour: then something is wrong that a
    /// person has to understand first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn give_orphan_back(
        &self,
        order: Uuid,
        intent: &str,
        received: i64,
        most: i64,
        learnt_by: LearntBy,
    ) -> sqlx::Result<Orphan> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            let Some(payment) = lock(&mut transaction, order).await? else {
                return Ok(Orphan::Known);
            };
            let refunds = of_order(&mut transaction, order).await?;
            // Its own worker may be about to record the intent.
            let known = payment.intent_id.as_deref() == Some(intent)
                || payment.intent_id.is_none() && payment.state.is_open()
                || refunds.iter().any(|refund| refund.intent_id == intent);
            let amount_minor = domain::minor_amount(received, &payment.currency);
            if known || amount_minor <= 0 {
                return Ok(Orphan::Known);
            }
            let lately =
                query_file!("sql/orphan_refunds.sql").fetch_one(&mut *transaction).await?.count;
            let due = DueNow {
                refund_id: domain::rest_id(order, intent),
                order,
                intent,
                amount_minor,
                is_rest: true,
                reason: ORPHAN,
                note: None,
            };
            insert(&mut transaction, due).await?;
            let too_many = lately >= most;
            if too_many {
                // It stands among the failed ones, for a person to look at.
                let refund_id = domain::rest_id(order, intent);
                query_file!("sql/fail_refund.sql", refund_id).execute(&mut *transaction).await?;
            }
            let kind = MoveKind::Captured;
            ledger::write(&mut transaction, &payment, kind, intent, amount_minor, learnt_by)
                .await?;
            transaction.commit(steps::COMMIT_ORPHAN).await?;
            Ok(if too_many { Orphan::TooMany } else { Orphan::GoesBack })
        })
        .await
    }

    /// Writes a dispute of an order's money into the ledger: that the buyer's bank has taken it
    /// back, or that it is ours again.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn note_dispute(
        &self,
        order: Uuid,
        dispute: &str,
        amount: i64,
        won: bool,
        learnt_by: LearntBy,
    ) -> sqlx::Result<()> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            let Some(payment) = lock(&mut transaction, order).await? else { return Ok(()) };
            let kind = if won { MoveKind::DisputeWon } else { MoveKind::Disputed };
            let amount_minor = domain::minor_amount(amount, &payment.currency);
            ledger::write(&mut transaction, &payment, kind, dispute, amount_minor, learnt_by)
                .await?;
            transaction.commit(steps::COMMIT_DISPUTE).await?;
            Ok(())
        })
        .await
    }

    /// Records a refund as due, if as much of the captured money is left, and returns the payment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn refund(
        &self,
        asked: &AskedRefund,
    ) -> sqlx::Result<Option<(Payment, RefundRuling)>> {
        let AskedRefund { request_id, order_id: order, amount_minor, note } = asked;
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            let Some(payment) = lock(&mut transaction, *order).await? else { return Ok(None) };
            let refunds = of_order(&mut transaction, *order).await?;
            let ruling = domain::refund(&payment, &refunds, *request_id, *amount_minor);
            let intent = payment.intent_id.as_deref().unwrap_or_default();
            match &ruling {
                RefundRuling::IsDue { refund_id, amount_minor, is_rest } => {
                    let due = DueNow {
                        refund_id: *refund_id,
                        order: *order,
                        intent,
                        amount_minor: *amount_minor,
                        is_rest: *is_rest,
                        reason: REQUESTED,
                        note: note.as_deref(),
                    };
                    insert(&mut transaction, due).await?;
                }
                RefundRuling::IsDueAgain(refund_id) => {
                    let left = domain::left(payment.captured_minor, intent, &refunds);
                    query_file!("sql/refund_again.sql", refund_id, left)
                        .execute(&mut *transaction)
                        .await?;
                }
                RefundRuling::Known
                | RefundRuling::Reused
                | RefundRuling::Done
                | RefundRuling::NothingCaptured
                | RefundRuling::Exceeds(_) => return Ok(Some((payment, ruling))),
            }
            transaction.commit(steps::COMMIT_REFUND).await?;
            Ok(Some((payment, ruling)))
        })
        .await
    }

    /// Takes up to `limit` due refunds up for `lease`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn lease_refunds(
        &self,
        limit: usize,
        lease: Duration,
    ) -> sqlx::Result<Vec<DueRefund>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        statement!(
            steps::SQL_LEASE_REFUNDS,
            query_file_as!(DueRefund, "sql/lease_refunds.sql", limit, ms(lease))
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Puts a refund back that was taken up. `asked` says whether the provider was asked.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn put_back_refund(
        &self,
        refund: &DueRefund,
        wait: Duration,
        asked: bool,
    ) -> sqlx::Result<()> {
        statement!(
            steps::SQL_PUT_BACK_REFUND,
            query_file!(
                "sql/put_back_refund.sql",
                refund.refund_id,
                ms(wait),
                asked,
                refund.attempts
            )
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Has a refund go out under another key after `wait`: the provider answers under the present
    /// one with an error that it has stored, and a look has found nothing done.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn next_try(&self, refund: &DueRefund, wait: Duration) -> sqlx::Result<()> {
        statement!(
            steps::SQL_NEXT_TRY,
            query_file!("sql/next_try.sql", refund.refund_id, refund.r#try, ms(wait))
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Draws the consequences of what the provider says of one of its refunds, once, wherever that
    /// was learnt: the refund it was made for moves, and money that came back goes into the ledger.
    /// One that was made by hand is adopted, and takes of what is left to be given back.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn learn_refund(
        &self,
        order: Uuid,
        intent: &str,
        made: &MadeRefund,
        learnt_by: LearntBy,
    ) -> sqlx::Result<Learnt> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            // The payment's row first, as everywhere, so that there is no deadlock.
            let Some(payment) = lock(&mut transaction, order).await? else {
                return Ok(Learnt::Nothing);
            };
            let refunds = of_order(&mut transaction, order).await?;
            let known = refunds.iter().find(|refund| made.is_of(refund));
            let learnt = match known {
                Some(refund) => moved(&mut transaction, &payment, refund, made, learnt_by).await?,
                // That is why there is a later one.
                None if made.report == RefundReport::Failed && made.is_of_earlier_try(&refunds) => {
                    Learnt::Nothing
                }
                // Of the payment's own money, or of money on another intent that was to go back.
                None if payment.intent_id.as_deref() == Some(intent)
                    || refunds.iter().any(|refund| refund.intent_id == intent) =>
                {
                    adopt(&mut transaction, &payment, refunds, intent, made, learnt_by).await?
                }
                None => Learnt::Nothing,
            };
            if learnt != Learnt::Nothing {
                transaction.commit(steps::COMMIT_REFUND_LEARNT).await?;
            }
            Ok(learnt)
        })
        .await
    }

    /// Fits a refund that the provider refuses into what is left, after all refunds there were
    /// learnt: a rest becomes smaller, and a part that is too large is given up. False if it does
    /// fit, so that the provider has another reason.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn fit_refund(&self, refund: &DueRefund) -> sqlx::Result<bool> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            let Some(payment) = lock(&mut transaction, refund.order_id).await? else {
                return Ok(true);
            };
            let refunds = of_order(&mut transaction, refund.order_id).await?;
            let Some(known) = refunds.iter().find(|it| it.refund_id == refund.refund_id) else {
                return Ok(true);
            };
            let fitting = domain::fitting(payment.captured_minor, known, &refunds);
            let own = payment.intent_id.as_ref() == Some(&known.intent_id);
            if known.state != RefundState::Due || known.r#try != refund.r#try {
                return Ok(known.state != RefundState::Due);
            }
            if own && fitting >= known.amount_minor {
                return Ok(false);
            }
            // What else went back of an intent that no payment names is not in the record.
            if known.is_rest && own {
                query_file!("sql/shrink_rest.sql", known.refund_id, fitting)
                    .execute(&mut *transaction)
                    .await?;
            } else {
                query_file!("sql/fail_refund.sql", known.refund_id)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit(steps::COMMIT_REFUND_FITTED).await?;
            Ok(true)
        })
        .await
    }

    /// The order whose payment has this intent.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn order_of_intent(&self, intent: &str) -> sqlx::Result<Option<Uuid>> {
        let row = query_file!("sql/order_of_intent.sql", intent)
            .fetch_optional(self.pool.reads())
            .await?;
        Ok(row.map(|row| row.order_id))
    }

    /// Has the refunds of an order looked at after a moment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn make_refund_due(&self, order: Uuid, after: Duration) -> sqlx::Result<()> {
        statement!(
            steps::SQL_MAKE_REFUND_DUE,
            query_file!("sql/make_refund_due.sql", order, ms(after))
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// Records a refund as due, unless it is there.
pub(super) async fn insert(connection: &mut PgConnection, due: DueNow<'_>) -> sqlx::Result<()> {
    query_file!(
        "sql/insert_refund.sql",
        due.refund_id,
        due.order,
        due.intent,
        due.amount_minor,
        due.is_rest,
        due.reason,
        due.note
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn of_order(connection: &mut PgConnection, order: Uuid) -> sqlx::Result<Vec<Refund>> {
    query_file_as!(Refund, "sql/refunds_for_update.sql", order).fetch_all(connection).await
}

/// Moves the refund that a refund of the provider's was made for.
async fn moved(
    connection: &mut PgConnection,
    payment: &Payment,
    refund: &Refund,
    made: &MadeRefund,
    learnt_by: LearntBy,
) -> sqlx::Result<Learnt> {
    let amount = refund.amount_minor;
    match domain::refund_change(refund, &made.id, made.report) {
        RefundChange::Known => Ok(Learnt::Nothing),
        RefundChange::Pending => {
            let state = RefundState::Pending;
            refund_to(connection, refund, state, Some(&made.id), PENDING_LOOK).await?;
            Ok(Learnt::Pending)
        }
        RefundChange::Done => {
            let state = RefundState::Done;
            refund_to(connection, refund, state, Some(&made.id), Duration::ZERO).await?;
            let kind = MoveKind::Refunded;
            ledger::write(connection, payment, kind, &made.id, amount, learnt_by).await?;
            Ok(Learnt::Done(count(connection, payment, &refund.intent_id, amount).await?))
        }
        RefundChange::Undone { to, was_done } => {
            if was_done {
                let kind = MoveKind::RefundFailed;
                ledger::write(connection, payment, kind, &made.id, amount, learnt_by).await?;
                count(connection, payment, &refund.intent_id, -amount).await?;
            }
            let failed = to == RefundState::Failed;
            // The next try has a refund of its own at the provider; of the last one it is kept.
            let provider_ref = failed.then_some(made.id.as_str());
            refund_to(connection, refund, to, provider_ref, NEXT_TRY).await?;
            Ok(if failed { Learnt::Failed } else { Learnt::Again })
        }
    }
}

/// Records a refund that was made by hand. It takes of what is left, if all of that is to be given
/// back.
async fn adopt(
    connection: &mut PgConnection,
    payment: &Payment,
    mut refunds: Vec<Refund>,
    intent: &str,
    made: &MadeRefund,
    learnt_by: LearntBy,
) -> sqlx::Result<Learnt> {
    let state = match made.report {
        RefundReport::Done => RefundState::Done,
        RefundReport::Pending => RefundState::Pending,
        // It took nothing, and it is not ours to try again.
        RefundReport::Failed => return Ok(Learnt::Nothing),
    };
    let amount = domain::minor_amount(made.amount, &payment.currency);
    let refund_id = domain::adopted_id(payment.order_id, &made.id);
    let adopted = query_file!(
        "sql/adopt_refund.sql",
        refund_id,
        payment.order_id,
        intent,
        state.as_str(),
        amount,
        made.id
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if adopted == 0 {
        return Ok(Learnt::Nothing);
    }
    refunds.push(Refund {
        refund_id,
        order_id: payment.order_id,
        intent_id: intent.to_owned(),
        state,
        amount_minor: amount,
        is_rest: false,
        r#try: 1,
        failed: 0,
        provider_ref: Some(made.id.clone()),
    });
    let is_open_rest = |refund: &Refund| {
        refund.is_rest && refund.intent_id == intent && refund.state == RefundState::Due
    };
    // How much was captured on an intent that no payment names is not known here; the provider
    // refuses what is too much.
    let own = payment.intent_id.as_deref() == Some(intent);
    if let Some(place) = refunds.iter().position(is_open_rest).filter(|_| own) {
        let left = domain::fitting(payment.captured_minor, &refunds[place], &refunds);
        query_file!("sql/shrink_rest.sql", refunds[place].refund_id, left)
            .execute(&mut *connection)
            .await?;
    }
    if state == RefundState::Pending {
        return Ok(Learnt::Pending);
    }
    let kind = MoveKind::Refunded;
    ledger::write(connection, payment, kind, &made.id, amount, learnt_by).await?;
    Ok(Learnt::Done(count(connection, payment, intent, amount).await?))
}

/// Adds to what of the payment's money is back. True if by that all of it is.
async fn count(
    connection: &mut PgConnection,
    payment: &Payment,
    intent: &str,
    amount_minor: i64,
) -> sqlx::Result<bool> {
    if payment.intent_id.as_deref() != Some(intent) {
        return Ok(false);
    }
    let back = payment.refunded_minor + amount_minor;
    let all = payment.state == State::Succeeded && back >= payment.captured_minor;
    // One that fails later leaves it as it is: the money is still to go back.
    let state = if all { State::Refunded } else { payment.state };
    query_file!("sql/count_refunded.sql", payment.order_id, amount_minor, state.as_str())
        .execute(connection)
        .await?;
    Ok(all)
}

async fn refund_to(
    connection: &mut PgConnection,
    refund: &Refund,
    state: RefundState,
    provider_ref: Option<&str>,
    look_in: Duration,
) -> sqlx::Result<()> {
    query_file!("sql/refund_to.sql", refund.refund_id, state.as_str(), provider_ref, ms(look_in))
        .execute(connection)
        .await?;
    Ok(())
}
