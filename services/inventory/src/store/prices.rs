//! Revisions of a sale's prices: on record in Postgres, and beside the stock in Redis.

use flashsale_failpoint::{AsStep as _, Step};
use flashsale_pg::statement;
use fred::types::Value;
use sqlx::{PgConnection, query_file, query_file_as, query_file_scalar};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Stock,
    postgres::away,
    record::{Record, millis},
    reply::Reply,
};
use crate::{
    domain::{Line, PriceRow, Priced, Refusal, Revision, StandingNext, StandingPrices, Straggler},
    steps,
};

/// How many skus one run of a script touches: bounded, because a run blocks the store for all
/// others.
const AT_ONCE: usize = 500;

/// The row of `price_revisions.sql`.
struct RevisionRow {
    revision: i64,
    effective_at: OffsetDateTime,
    switches_at: Option<OffsetDateTime>,
    replaced: bool,
}

impl From<RevisionRow> for Revision {
    fn from(row: RevisionRow) -> Self {
        Self {
            revision: row.revision,
            effective_ms: millis(row.effective_at),
            switches_ms: row.switches_at.map(millis),
            replaced: row.replaced,
        }
    }
}

/// The revisions that a stock is filled with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prices {
    /// The last one that has taken effect, if it is not the first.
    pub present: Option<Revision>,
    /// The one that comes next, with what it changes.
    pub next: Option<(Revision, Vec<PriceRow>)>,
}

impl Record {
    /// The revisions of a sale's prices after the first, by number.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn price_revisions(&self, sale_id: Uuid) -> Result<Vec<Revision>, Refusal> {
        let rows = statement!(
            steps::SQL_PRICE_REVISIONS,
            query_file_as!(RevisionRow, "sql/price_revisions.sql", sale_id)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(away)?;
        Ok(rows.into_iter().map(Revision::from).collect())
    }

    /// What these revisions change together, by sku.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn price_rows(
        &self,
        sale_id: Uuid,
        revisions: &[i64],
    ) -> Result<Vec<PriceRow>, Refusal> {
        statement!(
            steps::SQL_PRICE_ROWS,
            query_file_as!(PriceRow, "sql/price_rows.sql", sale_id, revisions)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(away)
    }

    /// What the lines of these orders cost in the revisions that they name.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn prices_of(&self, sale_id: Uuid, orders: &[Straggler]) -> Result<Priced, Refusal> {
        let lines = || orders.iter().flat_map(|order| &order.lines);
        let skus: Vec<String> = lines().map(|(Line { sku, .. }, _)| sku.clone()).collect();
        let revisions: Vec<i64> = lines().map(|(_, revision)| *revision).collect();
        let rows = statement!(
            steps::SQL_PRICES_OF,
            query_file!("sql/prices_of.sql", sale_id, &skus, &revisions)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(away)?;
        Ok(rows.into_iter().map(|row| ((row.sku, row.revision), row.price_minor)).collect())
    }
}

/// The revisions that a stock is filled with, in the transaction that reads the rest of it.
pub(super) async fn to_fill(
    connection: &mut PgConnection,
    sale_id: Uuid,
) -> Result<Prices, Refusal> {
    let rows = query_file_as!(RevisionRow, "sql/price_revisions.sql", sale_id)
        .fetch_all(&mut *connection)
        .await
        .map_err(away)?;
    if rows.is_empty() {
        return Ok(Prices::default());
    }
    let in_effect = query_file_scalar!("sql/prices_in_effect.sql", sale_id)
        .fetch_all(&mut *connection)
        .await
        .map_err(away)?;
    let mut prices = Prices::default();
    for revision in rows.into_iter().map(Revision::from) {
        if in_effect.contains(&revision.revision) {
            prices.present = Some(revision);
        } else if !revision.replaced && prices.next.is_none() {
            let rows =
                query_file_as!(PriceRow, "sql/price_rows.sql", sale_id, &[revision.revision])
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(away)?;
            prices.next = Some((revision, rows));
        }
    }
    Ok(prices)
}

impl Prices {
    /// The fields of the stock that the next revision stands in, with their values.
    pub(super) fn staged(&self) -> Vec<[Value; 2]> {
        let Some((revision, rows)) = &self.next else { return Vec::new() };
        rows.iter()
            .map(|row| [format!("n:{}:{}", revision.revision, row.sku).into(), staged(row).into()])
            .collect()
    }

    /// The fields and values of `meta`. An empty value stands for the store's present time: a
    /// revision that is not known to have taken effect before does with this stock.
    pub(super) fn fields(&self) -> Vec<Value> {
        let mut fields: Vec<Value> = Vec::new();
        if let Some(present) = &self.present {
            let since = present.switches_ms.map(|at_ms| at_ms.to_string()).unwrap_or_default();
            fields.extend(["rev".into(), present.revision.into(), "rev_ms".into(), since.into()]);
        }
        if let Some((next, rows)) = &self.next {
            fields.extend([
                "next_rev".into(),
                next.revision.into(),
                "next_ms".into(),
                next.switches_ms.unwrap_or(next.effective_ms).into(),
                format!("staged:{}", next.revision).into(),
                rows.len().to_string().into(),
            ]);
        }
        fields
    }
}

/// The value of a sku's field in the next revision.
fn staged(row: &PriceRow) -> String {
    let regular = row.regular_minor.map(|regular| regular.to_string()).unwrap_or_default();
    format!("{}|{}|{regular}|{}", row.price_minor, row.per_buyer_limit, row.revision)
}

/// The revisions beside a stock, and what else of them is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    pub standing: StandingPrices,
    /// Of those that are not wanted, the ones of which something is staged.
    pub leftovers: Vec<i64>,
}

impl Stock {
    /// Reads which revisions stand beside the stock, and which of the `unwanted` have left
    /// something there.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn prices(
        &self,
        sale_id: Uuid,
        unwanted: &[i64],
        epoch: i64,
    ) -> Result<Looked, Refusal> {
        let args = unwanted.iter().map(|revision| (*revision).into()).collect();
        let (standing, mut reply) = self.reprice(sale_id, steps::REPRICE_LOOK, args, epoch).await?;
        let mut leftovers = Vec::new();
        while reply.has_more() {
            leftovers.push(reply.int()?);
            reply.int()?;
        }
        Ok(Looked { standing, leftovers })
    }

    /// Puts rows beside the stock as one revision, from `effective_ms` on or from now if that is
    /// past. What stands there afterwards is to be looked at: another call may have been faster.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`]. Part of it may stand there then, unused.
    pub async fn stage_prices(
        &self,
        sale_id: Uuid,
        (revision, effective_ms): (i64, i64),
        rows: &[PriceRow],
        epoch: i64,
    ) -> Result<(), Refusal> {
        for some in rows.chunks(AT_ONCE) {
            let mut args: Vec<Value> = vec![revision.into()];
            args.extend(some.iter().flat_map(|row| [row.sku.clone().into(), staged(row).into()]));
            self.reprice(sale_id, steps::REPRICE_STAGE, args, epoch).await?;
        }
        let args = vec![revision.into(), rows.len().to_string().into(), effective_ms.into()];
        self.reprice(sale_id, steps::REPRICE_ARM, args, epoch).await?;
        Ok(())
    }

    /// Makes a revision that has taken effect the present one.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`]. Part of it may be moved then, which no reader sees.
    pub async fn promote_prices(
        &self,
        sale_id: Uuid,
        revision: i64,
        rows: &[PriceRow],
        epoch: i64,
    ) -> Result<(), Refusal> {
        self.by_skus(sale_id, steps::REPRICE_PROMOTE, revision, rows, epoch).await?;
        self.reprice(sale_id, steps::REPRICE_PROMOTED, vec![revision.into()], epoch).await?;
        Ok(())
    }

    /// Takes back a revision, unless it has taken effect.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn withdraw_prices(
        &self,
        sale_id: Uuid,
        revision: i64,
        epoch: i64,
    ) -> Result<(), Refusal> {
        self.reprice(sale_id, steps::REPRICE_WITHDRAW, vec![revision.into()], epoch).await?;
        Ok(())
    }

    /// Removes what was staged of a revision that is not armed.
    ///
    /// # Errors
    /// Those of every script, see [`Stock`].
    pub async fn clean_prices(
        &self,
        sale_id: Uuid,
        revision: i64,
        rows: &[PriceRow],
        epoch: i64,
    ) -> Result<(), Refusal> {
        self.by_skus(sale_id, steps::REPRICE_CLEAN, revision, rows, epoch).await
    }

    async fn by_skus(
        &self,
        sale_id: Uuid,
        step: Step,
        revision: i64,
        rows: &[PriceRow],
        epoch: i64,
    ) -> Result<(), Refusal> {
        for some in rows.chunks(AT_ONCE) {
            let mut args: Vec<Value> = vec![revision.into()];
            args.extend(some.iter().map(|row| Value::from(row.sku.clone())));
            self.reprice(sale_id, step, args, epoch).await?;
        }
        Ok(())
    }

    /// Runs a step of `reprice.lua`: what stands there afterwards, and the rest of the reply.
    async fn reprice(
        &self,
        sale_id: Uuid,
        step: Step,
        args: Vec<Value>,
        epoch: i64,
    ) -> Result<(StandingPrices, Reply), Refusal> {
        let mut all = vec![step.name().trim_start_matches("reprice/").into()];
        all.extend(args);
        let mut reply = self.run(&self.scripts.reprice, sale_id, epoch, all).step(step).await?;
        if reply.word != "PRICES" {
            return Err(reply.refusal());
        }
        let (revision, since, next) = (reply.int()?, reply.text()?, reply.text()?);
        let (at_ms, switched) = (reply.int()?, reply.int()? == 1);
        // How much of the revision of this step is staged.
        reply.int()?;
        let next = next.parse().ok().map(|revision| StandingNext { revision, at_ms, switched });
        let (since_ms, now_ms) = (since.parse().ok(), reply.now_ms);
        Ok((StandingPrices { revision, since_ms, next, now_ms }, reply))
    }
}
