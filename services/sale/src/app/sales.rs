//! Creates, changes and lists sales: applies the rules, records the result and tells the other
//! services.

use std::sync::Arc;

use flashsale_service::page::{self, Place};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{error::SaleError, propagation::Propagator};
use crate::{
    domain::{
        Item, ItemDraft, Kind, NewSale, Problems, Sale, Settings, SettingsDraft, StateChange,
        StateConflict,
        export::{self, Rules},
        items, per_buyer_limit, quantity, settings,
    },
    store::{Created, Request, Store, Written},
};

/// How often a change is tried while concurrent changes win.
const MAX_ATTEMPTS: usize = 5;

/// A sale to be created.
#[derive(Debug)]
pub struct CreateSale {
    /// What the shop decides.
    pub settings: SettingsDraft,
    /// What it offers.
    pub items: Vec<ItemDraft>,
    /// Problems found while decoding.
    pub problems: Problems,
}

/// A sale to be created from an export.
#[derive(Debug)]
pub struct ImportSale {
    /// What the shop decides.
    pub settings: SettingsDraft,
    /// A file in Shopify's product CSV format.
    pub content: Vec<u8>,
    /// Units of each item, in place of the shop's own figures.
    pub quantity: Option<i64>,
    /// Units one buyer may hold and buy of each item; 0 means no limit.
    pub per_buyer_limit: i64,
    /// Problems found while decoding.
    pub problems: Problems,
}

/// Creates, changes and lists sales.
#[derive(Debug, Clone)]
pub struct Sales {
    store: Store,
    propagator: Arc<Propagator>,
}

impl Sales {
    /// Records in `store` and tells the others through `propagator`.
    pub fn new(store: Store, propagator: Arc<Propagator>) -> Self {
        Self { store, propagator }
    }

    /// Creates a sale, as a draft.
    ///
    /// # Errors
    /// [`SaleError::Invalid`], [`SaleError::RequestIdReused`]; [`SaleError::Store`] when Postgres
    /// does not answer.
    pub async fn create(&self, request: &Request, asked: CreateSale) -> Result<Sale, SaleError> {
        self.record(request, |now| {
            let mut problems = asked.problems;
            let settings = settings(&asked.settings, now, &mut problems);
            let items = items(&asked.items, asked.settings.currency, &mut problems);
            new_sale(settings, items, problems)
        })
        .await
    }

    /// Creates a sale from an export.
    ///
    /// # Errors
    /// As [`Sales::create`].
    pub async fn import(&self, request: &Request, asked: ImportSale) -> Result<Sale, SaleError> {
        self.record(request, |now| {
            let mut problems = asked.problems;
            let settings = settings(&asked.settings, now, &mut problems);
            if let Some(units) = asked.quantity {
                quantity("quantity", units, &mut problems);
            }
            per_buyer_limit("per_buyer_limit", asked.per_buyer_limit, &mut problems);
            let rules = Rules {
                currency: asked.settings.currency,
                quantity: asked.quantity,
                per_buyer_limit: asked.per_buyer_limit,
            };
            let items = export::read(&asked.content, &rules, &mut problems);
            new_sale(settings, items, problems)
        })
        .await
    }

    /// Records the sale that `build` makes of a request, once. A repeated request gets the same
    /// answer without being built again, because the rules may refuse by now what they allowed
    /// then.
    async fn record(
        &self,
        request: &Request,
        build: impl FnOnce(OffsetDateTime) -> Result<NewSale, SaleError>,
    ) -> Result<Sale, SaleError> {
        if let Some(id) = self.replayed(request).await? {
            return self.get(id).await;
        }
        let sale = build(flashsale_failpoint::now_utc())?;
        match self.store.create(&sale, request).await? {
            Created::New => {
                tracing::info!(sale = %sale.id, items = sale.items.len(), "sale created");
                self.get(sale.id).await
            }
            Created::Taken => match self.replayed(request).await? {
                Some(id) => self.get(id).await,
                None => Err(SaleError::Contended(sale.id)),
            },
        }
    }

    /// The sale of a request that was recorded before.
    async fn replayed(&self, request: &Request) -> Result<Option<Uuid>, SaleError> {
        match self.store.request(request.id).await? {
            Some((hash, id)) if hash == request.hash => Ok(Some(id)),
            Some(_) => Err(SaleError::RequestIdReused(request.id)),
            None => Ok(None),
        }
    }

    /// Opens a sale.
    ///
    /// # Errors
    /// [`SaleError::NotFound`], [`SaleError::StateConflict`], [`SaleError::RequestIdReused`];
    /// [`SaleError::NotTold`] when the sale is open but the others do not know yet;
    /// [`SaleError::Store`] when Postgres does not answer.
    pub async fn start(&self, request: &Request, id: Uuid) -> Result<Sale, SaleError> {
        self.change(request, id, |sale| sale.start(flashsale_failpoint::now_utc())).await
    }

    /// Ends a sale.
    ///
    /// # Errors
    /// As [`Sales::start`].
    pub async fn end(&self, request: &Request, id: Uuid) -> Result<Sale, SaleError> {
        self.change(request, id, |sale| Ok(sale.end())).await
    }

    async fn change(
        &self,
        request: &Request,
        id: Uuid,
        rule: impl Fn(&Sale) -> Result<StateChange, StateConflict>,
    ) -> Result<Sale, SaleError> {
        for _ in 0..MAX_ATTEMPTS {
            if self.replayed(request).await?.is_some() {
                return self.told(id).await;
            }
            let sale = self.store.head(id).await?.ok_or(SaleError::NotFound(id))?;
            let change =
                rule(&sale).map_err(|conflict| SaleError::StateConflict { id, conflict })?;
            match self.store.change(&sale, change, Some(request)).await? {
                Written::Done => {
                    if let StateChange::To { to, .. } = change {
                        tracing::info!(sale = %id, state = to.as_str(), "sale changed");
                    }
                    return self.told(id).await;
                }
                Written::Lost | Written::Taken => {}
            }
        }
        Err(SaleError::Contended(id))
    }

    /// The sale, once the other services know it.
    async fn told(&self, id: Uuid) -> Result<Sale, SaleError> {
        let sale = self.get(id).await?;
        if sale.is_propagated() {
            return Ok(sale);
        }
        self.propagator.tell(id).await?;
        self.get(id).await
    }

    /// A sale with its items.
    ///
    /// # Errors
    /// [`SaleError::NotFound`].
    pub async fn get(&self, id: Uuid) -> Result<Sale, SaleError> {
        self.store.get(id).await?.ok_or(SaleError::NotFound(id))
    }

    /// A page of at most `size` sales behind `after`, newest first, without their items, and where
    /// the next one begins.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(
        &self,
        size: usize,
        after: Option<Place>,
    ) -> Result<(Vec<Sale>, Option<Place>), SaleError> {
        let sales = self.store.list(after, page::one_more(size)).await?;
        Ok(page::cut(sales, size, |last| Place { at: last.created_at, id: last.id }))
    }
}

fn new_sale(
    settings: Option<Settings>,
    items: Vec<Item>,
    mut problems: Problems,
) -> Result<NewSale, SaleError> {
    match settings {
        Some(settings) if problems.is_empty() => {
            Ok(NewSale { id: Uuid::new_v4(), settings, items })
        }
        Some(_) => Err(SaleError::Invalid(problems)),
        None => {
            // A currency that could not be decoded has been reported. That there is none must be
            // reported in any case.
            if problems.is_empty() {
                problems.add(Kind::Argument, "settings.currency", "is missing");
            }
            Err(SaleError::Invalid(problems))
        }
    }
}
