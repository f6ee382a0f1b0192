//! Exports: the results of a sale as a file, made as fast as its reader takes it.

use std::{collections::HashMap, sync::Arc};

use flashsale_catalogue::{Results, ResultsKind, StockFile};
use flashsale_service::page::Place;
use futures::{Stream, stream};
use iso_currency::Currency;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{error::SaleError, reports::Reports};
use crate::{
    domain::{Export, Problems, Sale, StateConflict, StockExport, UnitsOut, head, taken},
    peers::{inventory::Inventory, untold::Untold},
    store::{Snapshot, Store},
};

/// Exports that are written at once. Each may keep a connection to Postgres for as long as its
/// reader takes.
const EXPORTS_AT_ONCE: usize = 4;
/// The most bytes of a file in one part.
const PART_BYTES: usize = 64 * 1_024;
/// Orders that are read at once.
const PAGE: usize = 500;

/// A part of a file, in this order.
#[derive(Debug)]
pub enum Part {
    /// Its name and type.
    File { name: String, content_type: &'static str },
    /// Some of its bytes.
    Content(Vec<u8>),
    /// That it is whole.
    Summary(Summary),
}

/// What a whole file comes to.
#[derive(Debug)]
pub struct Summary {
    /// Rows, without a header.
    pub rows: usize,
    /// Units that were taken off the stock, or that are sold in the list.
    pub units: i64,
    /// Whether the sale was final when the file was begun.
    pub is_final: bool,
    /// When the record was read.
    pub read_at: OffsetDateTime,
    /// What is worth knowing.
    pub warnings: Vec<String>,
}

/// Writes exports.
#[derive(Debug)]
pub struct Exports {
    store: Store,
    reports: Arc<Reports>,
    inventory: Inventory,
    turns: Arc<Semaphore>,
}

impl Exports {
    /// Reads the record from `store`, whether a sale is final from `reports`, and what a sale holds
    /// that is not from `inventory`.
    pub fn new(store: Store, reports: Arc<Reports>, inventory: Inventory) -> Self {
        Self { store, reports, inventory, turns: Arc::new(Semaphore::new(EXPORTS_AT_ONCE)) }
    }

    /// The parts of a file. Everything that can be refused is refused before the first.
    ///
    /// # Errors
    /// [`SaleError::NotFound`], [`SaleError::Invalid`], [`SaleError::TooManyExports`];
    /// [`SaleError::StateConflict`] for a shop's stock before the sale is final;
    /// [`SaleError::UnitsUnknown`], [`SaleError::Reading`]; [`SaleError::Store`] when Postgres does
    /// not answer.
    pub async fn write(
        &self,
        id: Uuid,
        export: Export,
    ) -> Result<impl Stream<Item = Result<Part, SaleError>> + Send + use<>, SaleError> {
        let turn = Arc::clone(&self.turns)
            .try_acquire_owned()
            .map_err(|_| SaleError::TooManyExports(EXPORTS_AT_ONCE))?;
        let (name, extension, content_type) = export.file();
        let file = Part::File { name: format!("{name}-{id}.{extension}"), content_type };
        let rest = match export {
            Export::Stock(stock) => self.stock(id, stock).await?,
            Export::List(kind) => self.list(id, kind).await?,
        };
        let parts = Parts { first: Some(file), buffer: Vec::new(), at: 0, rest, _turn: turn };
        Ok(stream::try_unfold(parts, Parts::next))
    }

    /// A shop's stock less what the sale took.
    async fn stock(&self, id: Uuid, export: StockExport) -> Result<Rest, SaleError> {
        let report = self.reports.of(id).await?;
        let is_final = report.is_final();
        if !is_final && !export.not_final {
            let why = "its report is not final yet, and the stock of the shop would be overwritten with what may \
                       still change: wait until it is (GetSaleReport), or set not_final (--not-final)";
            let conflict = StateConflict { state: report.sale.state, why };
            return Err(SaleError::StateConflict { id, conflict });
        }
        // Asked before the record is read: what is settled meanwhile is counted twice rather than
        // not at all.
        let out = if is_final { HashMap::new() } else { self.out(id).await? };
        let mut snapshot = self.store.snapshot().await?;
        let items = snapshot.items(id).await?;
        let sources = snapshot.sources(id, export.shop.format().name()).await?;
        let read_at = snapshot.read_at;
        drop(snapshot);
        let sources = sources
            .into_iter()
            .map(|source| (source.sku, source.source_key.0.into_iter().collect()));
        let taken = taken(&items, &out, sources.collect());
        let writing = tokio::task::spawn_blocking(move || export.write(&taken));
        let written: Result<StockFile, Problems> =
            writing.await.map_err(|error| SaleError::Reading(error.to_string()))?;
        let StockFile { content, rows, units, warnings } = written.map_err(SaleError::Invalid)?;
        let summary = Summary { rows, units, is_final, read_at, warnings };
        Ok(Rest::Ready { content, summary })
    }

    /// What a sale holds beside what is recorded, by sku.
    async fn out(&self, id: Uuid) -> Result<HashMap<String, UnitsOut>, SaleError> {
        if !self.store.was_loaded(id).await? {
            return Ok(HashMap::new());
        }
        let unknown =
            |untold: Untold| SaleError::UnitsUnknown { id, peer: untold.peer, why: untold.why };
        self.inventory.units_by_sku(id).await.map_err(unknown)
    }

    /// A list of ours, of which the head is written.
    async fn list(&self, id: Uuid, kind: ResultsKind) -> Result<Rest, SaleError> {
        let sale: Sale = self.store.head(id).await?.ok_or(SaleError::NotFound(id))?;
        let snapshot = self.store.snapshot().await?;
        let results = Results::new(kind, &head(&sale, snapshot.read_at)).map_err(unwritten)?;
        Ok(Rest::Reading(Box::new(Reading {
            id,
            kind,
            currency: sale.settings.currency,
            is_final: sale.final_at.is_some(),
            snapshot,
            results,
            step: Step::Items,
        })))
    }
}

/// A row that could not be written: a bug.
fn unwritten(error: impl std::fmt::Display) -> SaleError {
    SaleError::Reading(error.to_string())
}

/// The parts that have not been read yet.
#[derive(Debug)]
struct Parts {
    first: Option<Part>,
    /// Bytes of the file, and how many of them have been read.
    buffer: Vec<u8>,
    at: usize,
    rest: Rest,
    _turn: OwnedSemaphorePermit,
}

/// What comes behind the buffer.
#[derive(Debug)]
enum Rest {
    /// The whole file.
    Ready { content: Vec<u8>, summary: Summary },
    /// What is yet to be read from the record.
    Reading(Box<Reading>),
    /// The summary alone.
    End(Summary),
    /// Nothing.
    Over,
}

#[derive(Debug)]
struct Reading {
    id: Uuid,
    kind: ResultsKind,
    currency: Currency,
    is_final: bool,
    snapshot: Snapshot,
    results: Results,
    step: Step,
}

/// What is read next.
#[derive(Debug)]
enum Step {
    Items,
    /// A page of orders, behind the last one that was read.
    Orders(Option<Place>),
    /// Nothing more.
    Over,
}

impl Parts {
    async fn next(mut self) -> Result<Option<(Part, Self)>, SaleError> {
        if let Some(first) = self.first.take() {
            return Ok(Some((first, self)));
        }
        loop {
            let end = self.buffer.len().min(self.at.saturating_add(PART_BYTES));
            if let Some(content) = self.buffer.get(self.at..end).filter(|part| !part.is_empty()) {
                let content = content.to_vec();
                self.at = end;
                return Ok(Some((Part::Content(content), self)));
            }
            self.at = 0;
            match std::mem::replace(&mut self.rest, Rest::Over) {
                Rest::Ready { content, summary } => {
                    (self.buffer, self.rest) = (content, Rest::End(summary));
                }
                Rest::Reading(mut reading) => {
                    self.buffer = reading.more().await?;
                    self.rest = match reading.step {
                        Step::Items | Step::Orders(_) => Rest::Reading(reading),
                        Step::Over => Rest::End(reading.summary()),
                    };
                }
                Rest::End(summary) => {
                    self.buffer.clear();
                    return Ok(Some((Part::Summary(summary), self)));
                }
                Rest::Over => return Ok(None),
            }
        }
    }
}

impl Reading {
    /// Reads on. Returns what was written of it.
    async fn more(&mut self) -> Result<Vec<u8>, SaleError> {
        match self.step {
            Step::Items => {
                if self.kind.has_items() {
                    for item in self.snapshot.items(self.id).await? {
                        self.results.item(&item.row(self.currency)).map_err(unwritten)?;
                    }
                }
                self.step = if self.kind.has_orders() { Step::Orders(None) } else { Step::Over };
            }
            Step::Orders(after) => self.step = self.orders(after).await?,
            Step::Over => {}
        }
        if matches!(self.step, Step::Over) {
            self.results.end();
        }
        Ok(self.results.take())
    }

    /// Writes a page of orders. Returns what to read next.
    async fn orders(&mut self, after: Option<Place>) -> Result<Step, SaleError> {
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let lines = self.snapshot.lines(self.id, after, limit).await?;
        let (mut last, mut orders) = (None, 0);
        for line in lines {
            let place = Place { at: line.placed_at, id: line.order_id };
            if last != Some(place) {
                (last, orders) = (Some(place), orders + 1);
            }
            self.results.line(&line.row()).map_err(unwritten)?;
        }
        Ok(if orders == PAGE { Step::Orders(last) } else { Step::Over })
    }

    fn summary(&self) -> Summary {
        Summary {
            rows: self.results.rows(),
            units: self.results.units(),
            is_final: self.is_final,
            read_at: self.snapshot.read_at,
            warnings: self.results.warnings(),
        }
    }
}
