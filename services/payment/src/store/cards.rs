//! The cards of a payment: refusals, other cards, and the buyer's turn.

use std::time::Duration;

use flashsale_pg::statement;
use sqlx::query_file;
use uuid::Uuid;

use super::{Store, ms, payments::lock};
use crate::{
    domain::{self, Action, CardRules, Decline, Intent, Payment, Retry, RetryRuling},
    steps,
};

/// What records a refusal.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// The provider's code.
    pub code: &'a str,
    /// What tells it from other refusals of the intent, if that is known.
    pub reference: Option<&'a str>,
    /// The number of the card, if the provider's answer was to its confirmation.
    pub card: Option<i32>,
    /// The number from which on no other card is taken.
    pub last_card: i32,
    /// The provider's id of the request, if it was one of ours.
    pub request_id: Option<&'a str>,
}

impl<'a> Refused<'a> {
    /// A refusal that the intent shows.
    pub fn seen(decline: &'a Decline, cards: CardRules) -> Self {
        Self {
            code: &decline.code,
            reference: Some(&decline.reference),
            card: None,
            last_card: cards.last(),
            request_id: None,
        }
    }
}

/// How much time buyers have.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// To authenticate, from when it first was their turn.
    pub to_authenticate: Duration,
    /// To name other cards, from when the first one was refused.
    pub to_name_cards: Duration,
}

impl Store {
    /// Records that the provider has refused a card of the payment whose intent this is; none where
    /// it has refused to make one. False when that was known, or the payment has ended.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn record_decline(
        &self,
        order: Uuid,
        intent: Option<&str>,
        refused: Refused<'_>,
    ) -> sqlx::Result<bool> {
        let Refused { code, reference, card, last_card, request_id } = refused;
        let done = statement!(
            steps::SQL_RECORD_DECLINE,
            query_file!(
                "sql/record_decline.sql",
                order,
                intent,
                code,
                reference,
                card,
                last_card,
                request_id
            )
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Has a payment whose last card was refused take no other one. No effect if another is tried
    /// by now.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn close_cards(&self, order: Uuid) -> sqlx::Result<()> {
        statement!(steps::SQL_CLOSE_CARDS, query_file!("sql/close_cards.sql", order))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Has another card tried, if the payment waits for one, and returns the payment. `window` is
    /// how long after the first refusal that is.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn retry(
        &self,
        retry: &Retry,
        window: Duration,
    ) -> sqlx::Result<Option<(Payment, RetryRuling)>> {
        let Retry { request_id, order_id, method } = retry;
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            let Some(payment) = lock(&mut transaction, *order_id).await? else { return Ok(None) };
            let before = query_file!("sql/retry_of_request.sql", order_id, request_id)
                .fetch_optional(&mut *transaction)
                .await?
                .and_then(|row| row.method);
            let in_time = payment
                .card_declined_at
                .is_some_and(|at| flashsale_failpoint::now_utc() < at + window);
            let ruling = domain::retry(&payment, before.as_deref(), method, in_time);
            let RetryRuling::Try(card) = ruling else { return Ok(Some((payment, ruling))) };
            query_file!("sql/insert_attempt.sql", order_id, card, request_id, method)
                .execute(&mut *transaction)
                .await?;
            let tried = query_file!("sql/try_card.sql", order_id, card, method)
                .execute(&mut *transaction)
                .await?
                .rows_affected();
            if tried != 1 {
                // The row is locked: only a rule that says otherwise than the statement can do this.
                return Err(sqlx::Error::RowNotFound);
            }
            let payment =
                lock(&mut transaction, *order_id).await?.ok_or(sqlx::Error::RowNotFound)?;
            transaction.commit(steps::COMMIT_RETRY).await?;
            Ok(Some((payment, ruling)))
        })
        .await
    }

    /// Records that it is the buyer's turn to do this, with as much time as `turn` gives them.
    /// False when that was known, or another card is tried by now.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn await_buyer(
        &self,
        payment: &Payment,
        intent: &Intent,
        action: Action,
        turn: Turn,
    ) -> sqlx::Result<bool> {
        let needs = intent.action.as_ref();
        let done = statement!(
            steps::SQL_AWAIT_BUYER,
            query_file!(
                "sql/await_buyer.sql",
                payment.order_id,
                intent.id,
                payment.card_attempt,
                action.as_str(),
                needs.map(|needs| needs.client_secret.as_str()),
                needs.and_then(|needs| needs.redirect_url.as_deref()),
                ms(turn.to_authenticate),
                ms(turn.to_name_cards)
            )
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
