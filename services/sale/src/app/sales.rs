//! Creates, changes and lists sales: applies the rules, records the result and tells the other
//! services.

use std::sync::Arc;

use flashsale_service::{
    caller,
    page::{self, Place},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    error::SaleError,
    propagation::Propagator,
    uploads::{Export, Readers},
};
use crate::{
    domain::{
        Change, Import, Imported, Item, ItemDraft, ItemSource, Kind, NewSale, NotChanged, Problems,
        Sale, SaleState, Settings, SettingsDraft, SkuConflict, Update, items, settings,
    },
    store::{Created, Past, Request, Store, Written},
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

/// A sale to be created from an export, or only to be previewed.
#[derive(Debug)]
pub struct ImportSale {
    /// What the shop decides; `None` if a preview is asked for without it.
    pub settings: Option<SettingsDraft>,
    /// The export.
    pub import: Import,
    /// Problems found while decoding.
    pub problems: Problems,
}

/// Creates, changes and lists sales.
#[derive(Debug, Clone)]
pub struct Sales {
    store: Store,
    propagator: Arc<Propagator>,
    readers: Readers,
}

impl Sales {
    /// Records in `store` and tells the others through `propagator`.
    pub fn new(store: Store, propagator: Arc<Propagator>) -> Self {
        Self { store, propagator, readers: Readers::new() }
    }

    /// The places of exports that are read.
    pub fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Creates a sale, as a draft.
    ///
    /// # Errors
    /// [`SaleError::Invalid`], [`SaleError::RequestIdReused`]; [`SaleError::Store`] when Postgres
    /// does not answer.
    pub async fn create(&self, request: &Request, asked: CreateSale) -> Result<Sale, SaleError> {
        if let Some(id) = self.replayed(request).await? {
            return self.get(id).await;
        }
        let mut problems = asked.problems;
        let now = flashsale_failpoint::now_utc();
        let settings = settings(&asked.settings, now, &mut problems);
        let items = items(&asked.items, asked.settings.currency, &mut problems);
        self.record(request, new_sale(settings, items, Vec::new(), problems)?).await
    }

    /// Creates a sale from an export. What the export comes to is told by the call that reads it,
    /// not by one that repeats its request.
    ///
    /// # Errors
    /// As [`Sales::create`]; [`SaleError::Reading`].
    pub async fn import(
        &self,
        request: &Request,
        asked: ImportSale,
    ) -> Result<(Sale, Option<Imported>), SaleError> {
        if let Some(id) = self.replayed(request).await? {
            return Ok((self.get(id).await?, None));
        }
        let export = self.readers.read(asked).await?;
        self.import_read(request, export).await
    }

    /// Creates a sale from an export that was read.
    ///
    /// # Errors
    /// As [`Sales::create`].
    pub async fn import_read(
        &self,
        request: &Request,
        export: Export,
    ) -> Result<(Sale, Option<Imported>), SaleError> {
        if let Some(id) = self.replayed(request).await? {
            return Ok((self.get(id).await?, None));
        }
        let Export { settings, mut imported, problems } = export;
        let items = imported.as_ref().map(Imported::items).unwrap_or_default();
        let sources = imported.as_mut().map(|imported| std::mem::take(&mut imported.sources));
        let sale = new_sale(settings, items, sources.unwrap_or_default(), problems)?;
        Ok((self.record(request, sale).await?, imported))
    }

    /// Tells what a sale of an export would be, and stores nothing.
    ///
    /// # Errors
    /// [`SaleError::Invalid`], [`SaleError::Reading`].
    pub async fn preview(&self, asked: ImportSale) -> Result<Imported, SaleError> {
        self.readers.read(asked).await?.preview()
    }

    /// Records a new sale, once. A repeated request is answered before its sale is made again,
    /// because the rules may refuse by now what they allowed then.
    async fn record(&self, request: &Request, sale: NewSale) -> Result<Sale, SaleError> {
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
    /// [`SaleError::NotFound`], [`SaleError::StateConflict`], [`SaleError::SkuConflict`],
    /// [`SaleError::RequestIdReused`]; [`SaleError::NotTold`] when the sale is open but the others do
    /// not know yet; [`SaleError::Store`] when Postgres does not answer.
    pub async fn start(
        &self,
        request: &Request,
        id: Uuid,
        allow_shared_skus: bool,
    ) -> Result<Sale, SaleError> {
        self.change(request, id, |sale, now| Ok(sale.start(now, allow_shared_skus)?)).await
    }

    /// Gives a sale its window; it will open by itself. What is `None` of the window stays.
    ///
    /// # Errors
    /// As [`Sales::start`]; [`SaleError::Invalid`].
    pub async fn schedule(
        &self,
        request: &Request,
        id: Uuid,
        window: (Option<OffsetDateTime>, Option<OffsetDateTime>),
        allow_shared_skus: bool,
    ) -> Result<Sale, SaleError> {
        let rule = |sale: &Sale, now| sale.schedule(window, now, allow_shared_skus).map(Some);
        self.change(request, id, rule).await
    }

    /// Changes what the shop has decided about a sale.
    ///
    /// # Errors
    /// As [`Sales::schedule`]; [`SaleError::VersionConflict`].
    pub async fn update(
        &self,
        request: &Request,
        id: Uuid,
        asked: &Update,
    ) -> Result<Sale, SaleError> {
        self.change(request, id, |sale, now| sale.update(asked, now).map(Some)).await
    }

    /// Holds up a sale.
    ///
    /// # Errors
    /// As [`Sales::start`].
    pub async fn pause(&self, request: &Request, id: Uuid) -> Result<Sale, SaleError> {
        self.change(request, id, |sale, now| Ok(sale.pause(now)?)).await
    }

    /// Calls off a sale that has not begun.
    ///
    /// # Errors
    /// As [`Sales::start`]; [`SaleError::StateConflict`] also when it turns out to have begun;
    /// [`SaleError::NotTold`] as long as that is not decided.
    pub async fn cancel(&self, request: &Request, id: Uuid) -> Result<Sale, SaleError> {
        let sale = self.change(request, id, |sale, _| Ok(sale.cancel()?)).await?;
        if sale.state == SaleState::Cancelled {
            return Ok(sale);
        }
        Err(SaleError::StateConflict { id, conflict: sale.begun() })
    }

    /// Ends a sale.
    ///
    /// # Errors
    /// As [`Sales::start`].
    pub async fn end(&self, request: &Request, id: Uuid) -> Result<Sale, SaleError> {
        self.change(request, id, |sale, _| Ok(sale.end()?)).await
    }

    /// Changes a sale by a rule, which is told the time by the record's clock.
    async fn change(
        &self,
        request: &Request,
        id: Uuid,
        rule: impl Fn(&Sale, OffsetDateTime) -> Result<Option<Change>, NotChanged>,
    ) -> Result<Sale, SaleError> {
        for _ in 0..MAX_ATTEMPTS {
            if self.replayed(request).await?.is_some() {
                return self.told(id).await;
            }
            let sale = self.get(id).await?;
            let now = self.store.now().await?;
            let change = rule(&sale, now).map_err(|why| not_changed(id, why))?;
            match self.store.change(&sale, change.as_ref(), Some(request)).await? {
                Written::Done => {
                    if let Some(Change { kind, state, .. }) = change {
                        let (kind, state) = (kind.as_str(), state.as_str());
                        tracing::info!(sale = %id, kind, state, "sale changed");
                    }
                    return self.told(id).await;
                }
                Written::Lost | Written::Taken => {}
                Written::Conflict(conflict) => {
                    // A shop does not learn the ids of others' sales.
                    let other = conflict.other.filter(|other| caller::reaches(*other));
                    let conflict = SkuConflict { other, ..conflict };
                    return Err(SaleError::SkuConflict { id, conflict });
                }
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

    /// A page of at most `size` changes of a sale from before version `before` on, newest first, and
    /// where the next one begins.
    ///
    /// # Errors
    /// [`SaleError::NotFound`]; [`SaleError::Store`] when Postgres does not answer.
    pub async fn history(
        &self,
        id: Uuid,
        size: usize,
        before: Option<i64>,
    ) -> Result<(Vec<Past>, Option<i64>), SaleError> {
        self.store.head(id).await?.ok_or(SaleError::NotFound(id))?;
        let past = self.store.history(id, before, page::one_more(size)).await?;
        Ok(page::cut(past, size, |last| last.version))
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

fn not_changed(id: Uuid, why: NotChanged) -> SaleError {
    match why {
        NotChanged::State(conflict) => SaleError::StateConflict { id, conflict },
        NotChanged::Invalid(problems) => SaleError::Invalid(problems),
        NotChanged::Version { seen, current } => SaleError::VersionConflict { id, seen, current },
    }
}

fn new_sale(
    settings: Option<Settings>,
    items: Vec<Item>,
    sources: Vec<ItemSource>,
    mut problems: Problems,
) -> Result<NewSale, SaleError> {
    match settings {
        Some(settings) if problems.is_empty() => {
            Ok(NewSale { id: Uuid::new_v4(), settings, items, sources })
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
