//! Creates and changes sales, once per request id, each with a row of its history.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sqlx::{PgConnection, query_file};
use uuid::Uuid;

use super::{Store, StoreError, sources};
use crate::{
    domain::{
        Change, ChangeKind, Item, NewSale, PriceChange, Sale, SaleState, SkuConflict, must_be_told,
    },
    steps,
};

/// The most skus that a row of the history names.
const SKUS_NAMED: usize = 100;

/// A mutating request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: Uuid,
    /// A SHA-256 of its content, in hexadecimal.
    pub hash: String,
    /// The name of the caller.
    pub actor: String,
    /// Why, as the caller says it.
    pub reason: String,
}

/// The outcome of creating a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is recorded.
    New,
    /// The request id was recorded before; nothing changed.
    Taken,
}

/// The outcome of changing a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The change and the request are recorded.
    Done,
    /// The sale has changed since it was read; nothing changed.
    Lost,
    /// The request id was recorded meanwhile; nothing changed.
    Taken,
    /// Another sale offers one of its skus at the same time; nothing changed.
    Conflict(SkuConflict),
}

impl Store {
    /// The content hash and the sale of a recorded request.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn request(&self, id: Uuid) -> Result<Option<(String, Uuid)>, StoreError> {
        let row = query_file!("sql/read_request.sql", id).fetch_optional(self.pool.reads()).await?;
        Ok(row.map(|row| (row.content_hash, row.sale_id)))
    }

    /// Records a new sale, its items and the request: all or nothing.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn create(&self, sale: &NewSale, request: &Request) -> Result<Created, StoreError> {
        Ok(flashsale_pg::retry_conflicts(|| self.try_create(sale, request)).await?)
    }

    async fn try_create(&self, sale: &NewSale, request: &Request) -> sqlx::Result<Created> {
        let settings = &sale.settings;
        let state = SaleState::Draft;
        let mut tx = self.pool.begin().await?;
        query_file!(
            "sql/insert_sale.sql",
            sale.id,
            settings.name,
            settings.currency.code(),
            state.as_str(),
            settings.starts_at,
            settings.ends_at,
            ms(settings.hold),
            settings.room.map(|room| room.rate),
            settings.room.map(|room| ms(room.admission)),
            settings.room.map(|room| ms(room.pre_queue)),
            settings.payment_patience.map(ms),
            settings.expected_peak,
            must_be_told(None, state),
            ChangeKind::Create.as_str(),
            request.actor,
            request.id,
            request.reason,
        )
        .execute(&mut *tx)
        .await?;
        insert_items(&mut tx, sale.id, &sale.items).await?;
        if !sale.sources.is_empty() {
            sources::insert(&mut tx, sale).await?;
        }
        // Last, because it waits for a transaction that is recording the same id, and it references
        // the sale's row.
        if !record(&mut tx, request, sale.id).await? {
            tx.rollback().await?;
            return Ok(Created::Taken);
        }
        tx.commit(steps::COMMIT_CREATE).await?;
        Ok(Created::New)
    }

    /// Makes `sale` what `change` says, if it is still as it was read, and records the request that
    /// asked for it, if one did. Without a change only the request is recorded.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn change(
        &self,
        sale: &Sale,
        change: Option<&Change>,
        request: Option<&Request>,
    ) -> Result<Written, StoreError> {
        Ok(flashsale_pg::retry_conflicts(|| self.try_change(sale, change, request)).await?)
    }

    async fn try_change(
        &self,
        sale: &Sale,
        change: Option<&Change>,
        request: Option<&Request>,
    ) -> sqlx::Result<Written> {
        let mut tx = self.pool.begin().await?;
        if let Some(change) = change {
            let enters = sale.enters(change);
            if enters {
                query_file!("sql/lock_schedule.sql").fetch_one(&mut *tx).await?;
            }
            if !write(&mut tx, sale, change, request).await? {
                tx.rollback().await?;
                return Ok(Written::Lost);
            }
            if enters && let Some(conflict) = conflict(&mut tx, sale.id).await? {
                tx.rollback().await?;
                return Ok(Written::Conflict(conflict));
            }
        }
        if let Some(request) = request
            && !record(&mut tx, request, sale.id).await?
        {
            tx.rollback().await?;
            return Ok(Written::Taken);
        }
        tx.commit(steps::COMMIT_CHANGE).await?;
        Ok(Written::Done)
    }
}

/// Writes the change and its row of the history; false if the sale has changed since it was read.
async fn write(
    tx: &mut PgConnection,
    sale: &Sale,
    change: &Change,
    request: Option<&Request>,
) -> sqlx::Result<bool> {
    let settings = &change.settings;
    let skus = match (&change.items, &change.prices) {
        (Some(items), _) => changed_skus(&sale.items, items),
        (None, Some(prices)) => prices.skus.iter().map(String::as_str).collect(),
        (None, None) => Vec::new(),
    };
    let named: Vec<String> = skus.iter().take(SKUS_NAMED).map(|sku| (*sku).to_owned()).collect();
    let changed = query_file!(
        "sql/change_sale.sql",
        sale.id,
        sale.version,
        change.state.as_str(),
        settings.name,
        settings.currency.code(),
        settings.starts_at,
        settings.ends_at,
        ms(settings.hold),
        settings.room.map(|room| room.rate),
        settings.room.map(|room| ms(room.admission)),
        settings.room.map(|room| ms(room.pre_queue)),
        settings.payment_patience.map(ms),
        change.cancel_requested,
        change.allow_shared_skus,
        change.tell,
        change.kind.as_str(),
        request.map(|request| request.actor.as_str()).unwrap_or_default(),
        request.map(|request| request.id),
        request.map(|request| request.reason.as_str()).unwrap_or_default(),
        &named,
        i64::try_from(skus.len()).unwrap_or(i64::MAX),
        settings.expected_peak,
    )
    .execute(&mut *tx)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some(items) = &change.items {
        query_file!("sql/delete_items.sql", sale.id).execute(&mut *tx).await?;
        insert_items(tx, sale.id, items).await?;
    }
    if let Some(prices) = &change.prices {
        insert_prices(tx, sale.id, prices).await?;
    }
    Ok(true)
}

/// Records revisions of the sale's prices, and which ones they replace.
async fn insert_prices(
    tx: &mut PgConnection,
    sale: Uuid,
    change: &PriceChange,
) -> sqlx::Result<()> {
    let (mut numbers, mut times, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut revisions, mut skus) = (Vec::new(), Vec::new());
    let (mut prices, mut regular_prices, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    for new in change.revisions() {
        numbers.push(new.revision);
        times.push(new.effective_at);
        counts.push(i64::try_from(new.rows.len()).unwrap_or(i64::MAX));
        for (sku, price) in &new.rows {
            revisions.push(new.revision);
            skus.push(sku.as_str());
            prices.push(price.price_minor);
            regular_prices.push(price.regular_minor);
            limits.push(price.per_buyer_limit);
        }
    }
    query_file!("sql/insert_price_revisions.sql", sale, &numbers, &times, &counts)
        .execute(&mut *tx)
        .await?;
    query_file!(
        "sql/insert_prices.sql",
        sale,
        &revisions,
        &skus as _,
        &prices,
        &regular_prices as _,
        &limits
    )
    .execute(&mut *tx)
    .await?;
    query_file!("sql/replace_prices.sql", sale, &change.replaces, change.asked.revision)
        .execute(tx)
        .await?;
    Ok(())
}

/// The skus whose item is new, other than it was, or gone.
fn changed_skus<'a>(old: &'a [Item], new: &'a [Item]) -> Vec<&'a str> {
    let by_sku = |items: &'a [Item]| -> BTreeMap<&'a str, &'a Item> {
        items.iter().map(|item| (item.sku.as_str(), item)).collect()
    };
    let (old, new) = (by_sku(old), by_sku(new));
    let skus: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    skus.into_iter().filter(|sku| old.get(sku) != new.get(sku)).collect()
}

async fn insert_items(tx: &mut PgConnection, sale: Uuid, items: &[Item]) -> sqlx::Result<()> {
    let (mut skus, mut titles) = (Vec::new(), Vec::new());
    let (mut prices, mut regular_prices) = (Vec::new(), Vec::new());
    let (mut quantities, mut limits) = (Vec::new(), Vec::new());
    for item in items {
        skus.push(item.sku.clone());
        titles.push(item.title.clone());
        prices.push(item.price_minor);
        regular_prices.push(item.regular_minor);
        quantities.push(item.quantity);
        limits.push(item.per_buyer_limit);
    }
    query_file!(
        "sql/insert_items.sql",
        sale,
        &skus,
        &titles,
        &prices,
        &regular_prices as _,
        &quantities,
        &limits
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Another sale that offers one of the sale's skus at the same time.
async fn conflict(tx: &mut PgConnection, sale: Uuid) -> sqlx::Result<Option<SkuConflict>> {
    let found = query_file!("sql/schedule_conflict.sql", sale).fetch_optional(tx).await?;
    Ok(found.map(|row| SkuConflict {
        sku: row.sku,
        other: Some(row.sale_id),
        starts_at: row.starts_at,
        until: row.until,
    }))
}

/// Records what a request id did; false if it is taken.
async fn record(tx: &mut PgConnection, request: &Request, sale: Uuid) -> sqlx::Result<bool> {
    let recorded =
        query_file!("sql/insert_request.sql", request.id, request.hash, sale).execute(tx).await?;
    Ok(recorded.rows_affected() == 1)
}

fn ms(length: Duration) -> i64 {
    // At most a day: the rules say so.
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
