//! Lists of payments for operators, page by page.

use std::collections::HashMap;

use flashsale_pg::statement;
use sqlx::{PgConnection, query_file};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, payments::read};
use crate::{
    domain::{Payment, State},
    steps,
};

/// A payment in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    pub payment: Payment,
    /// Until when an instance works on it, if one does.
    pub lease_until: Option<OffsetDateTime>,
}

/// Which payments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Only this sale's.
    pub sale: Option<Uuid>,
    /// Only in these states.
    pub states: Vec<State>,
    /// Of those in [`State::Due`] only the ones that have been taken up, or have not.
    pub taken_up: Option<bool>,
    /// Only with as many failures in a row, or more.
    pub failures: i32,
}

/// The place of a payment in a list: when it was recorded, or is due, and its order.
pub type Place = (OffsetDateTime, Uuid);

impl Store {
    /// Payments newest first, `limit` of them behind `after`, each with its place.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn newest_payments(
        &self,
        wanted: &Wanted,
        after: Place,
        limit: i64,
    ) -> sqlx::Result<Vec<(Place, Listed)>> {
        let states = names(&wanted.states);
        let mut snapshot = self.snapshot().await?;
        let places: Vec<Place> = match wanted.sale {
            None => query_file!(
                "sql/list_payments.sql",
                &states[..],
                wanted.failures,
                wanted.taken_up,
                after.0,
                after.1,
                limit
            )
            .fetch_all(&mut *snapshot)
            .await?
            .into_iter()
            .map(|row| (row.at, row.order_id))
            .collect(),
            Some(sale) => query_file!(
                "sql/list_payments_of_sale.sql",
                sale,
                &states[..],
                wanted.failures,
                wanted.taken_up,
                after.0,
                after.1,
                limit
            )
            .fetch_all(&mut *snapshot)
            .await?
            .into_iter()
            .map(|row| (row.at, row.order_id))
            .collect(),
        };
        listed(&mut snapshot, places).await
    }

    /// Open payments that are due before `before`, the longest due first, `limit` of them behind
    /// `after`, each with its place.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn due_payments(
        &self,
        wanted: &Wanted,
        before: OffsetDateTime,
        after: Place,
        limit: i64,
    ) -> sqlx::Result<Vec<(Place, Listed)>> {
        let states = names(&wanted.states);
        let mut snapshot = self.snapshot().await?;
        let places = query_file!(
            "sql/list_due_payments.sql",
            wanted.sale,
            &states[..],
            wanted.failures,
            wanted.taken_up,
            after.0,
            after.1,
            before,
            limit
        )
        .fetch_all(&mut *snapshot)
        .await?
        .into_iter()
        .map(|row| (row.at, row.order_id))
        .collect();
        listed(&mut snapshot, places).await
    }

    /// One order's payment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn listed_payment(&self, order: Uuid) -> sqlx::Result<Option<Listed>> {
        let mut snapshot = self.snapshot().await?;
        let place = (OffsetDateTime::UNIX_EPOCH, order);
        Ok(listed(&mut snapshot, vec![place]).await?.pop().map(|(_, listed)| listed))
    }

    /// Has an open payment looked at now, or as soon as the provider is ready to be asked.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn wake_payment(&self, order: Uuid) -> sqlx::Result<()> {
        statement!(steps::SQL_WAKE_PAYMENT, query_file!("sql/wake_payment.sql", order))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A transaction in which all statements see one moment.
    pub(super) async fn snapshot(
        &self,
    ) -> sqlx::Result<sqlx::Transaction<'static, sqlx::Postgres>> {
        self.pool.reads().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }
}

fn names(states: &[State]) -> Vec<String> {
    states.iter().map(|state| state.as_str().to_owned()).collect()
}

/// The payments at these places, in their order.
async fn listed(
    connection: &mut PgConnection,
    places: Vec<Place>,
) -> sqlx::Result<Vec<(Place, Listed)>> {
    let orders: Vec<Uuid> = places.iter().map(|(_, order)| *order).collect();
    let leases: HashMap<Uuid, OffsetDateTime> = query_file!("sql/payment_leases.sql", &orders[..])
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| (row.order_id, row.lease_until))
        .collect();
    let mut payments = read(connection, &orders).await?;
    Ok(places
        .into_iter()
        .filter_map(|place| {
            let payment = payments.remove(&place.1)?;
            let lease_until = leases.get(&place.1).copied();
            Some((place, Listed { payment, lease_until }))
        })
        .collect())
}
